"""The builders: which cells of the canvas are known. Every verb is one node here."""

from . import runtime
from .footage import (
    CONTEXT,
    FEATHER,
    FIT,
    LATENT,
    SIZE_OF,
    VAE,
    as_batch,
    as_long_as_the_grid,
    brought,
    check_unguided,
    encoder_of,
    fitted_mask,
    footage,
    frame_at,
    new_seconds,
    on_canvas,
    one_clip,
    planned,
    rate_of,
    ring_planned,
    seconds_in,
    sized_as,
    told,
    whole_told,
    wired,
)
from .grid import MAX_SIDE


class SpacetimePlaceFrames:
    TITLE = "Place Frames"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Puts an image or a clip on the canvas at a time: animate an image, lead from a first to a last frame, set "
        "keyframes. Chain one node for each. What is placed at full strength is in the video bit for bit."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The canvas with these frames known, for the sampler.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "start, end, or seconds from the beginning such as 1.5."
        return {
            "required": {
                "vae": VAE,
                "latent": LATENT,
                "time": ("STRING", {"default": "start", "tooltip": tip}),
                "fit": FIT,
                "strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "display": "slider",
                        "tooltip": "1 keeps the frames as they are, less lets the model change them, 0 ignores them.",
                    },
                ),
            },
            "optional": {
                "images": footage("An image, or several as a clip at the canvas's frame rate", "IMAGE"),
                "video": footage("A clip, instead of images", "VIDEO"),
            },
        }

    def run(self, vae, latent, time, fit, strength, images=None, video=None):
        from ..spacetime.canvas import place, spans_of

        clip = on_canvas(vae, latent, fit, images=images, video=video)
        spans = spans_of(latent, vae.config.time_factor)
        frames, first = spans[-1].last, frame_at(time, rate_of(latent), spans, clip.frame_count)
        placed, known = place(latent, clip, first, encoder_of(vae), strength)
        if clip.frame_count not in (1, len(known)):
            runtime.notice(
                f"{clip.frame_count} frames → {len(known)} ({known.start}–{known.stop - 1}): only whole latent frames "
                f"of {vae.config.time_factor} can be known; the rest is made anew"
            )
        return runtime.shown(f"frames {known.start}–{known.stop - 1} of {frames} are known", placed)

    def plan(self, vae, latent, time, fit, strength, images=None, video=None):
        seconds_in(time)
        return (latent and {**latent, "known": True},)


class SpacetimeExtend:
    TITLE = "Extend"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Goes on from a clip, forward, backward or both ways. The model sees the part next to the join; the video "
        "shows the whole clip, every frame as it was."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The canvas around the join, for the sampler. Decode puts the clip back.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "vae": VAE,
                "latent": SIZE_OF,
                "direction": (
                    ["forward", "backward", "both"],
                    {"default": "forward", "tooltip": "Where the new frames go: after the clip, before it, or both."},
                ),
                "seconds": new_seconds("New video in each direction, rounded to whole latent frames."),
                "context": CONTEXT,
                "fit": FIT,
            },
            "optional": one_clip(),
        }

    def run(self, vae, latent, direction, seconds, context, fit, video=None, images=None, clip=None):
        from ..spacetime.canvas import extend

        source, rate = on_canvas(vae, latent, fit, images=images, video=video, latent_clip=clip), rate_of(latent)
        new = seconds * rate
        forward, backward = (new if direction in way else 0 for way in (("forward", "both"), ("backward", "both")))
        extended = extend(source, forward, backward, encoder_of(vae), sized_as(latent), context * rate)
        return runtime.shown(told(extended, rate), extended)

    def plan(self, vae, latent, direction, seconds, context, fit, video=None, images=None, clip=None):
        ways = 2 if direction == "both" else 1
        return planned(vae, latent, seconds, ways, ways, context)


class SpacetimeConnect:
    TITLE = "Connect"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Makes the video that leads from one clip to another. Both are shown whole, every frame as it was; between "
        "them the model finds a way."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The canvas between the clips, for the sampler. Decode puts the clips back.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "vae": VAE,
                "latent": SIZE_OF,
                "seconds": new_seconds("New video between the clips, rounded to whole latent frames."),
                "context": CONTEXT,
                "fit": FIT,
                "first": footage("The clip to come from", "VIDEO"),
                "second": footage("The clip to lead to", "VIDEO"),
            }
        }

    def run(self, vae, latent, seconds, context, fit, first, second):
        from ..spacetime.canvas import connect

        left, right = (on_canvas(vae, latent, fit, video=clip) for clip in (first, second))
        rate = rate_of(latent)
        joined = connect(left, right, seconds * rate, encoder_of(vae), sized_as(latent), context * rate)
        return runtime.shown(told(joined, rate), joined)

    def plan(self, vae, latent, seconds, context, fit, first=None, second=None):
        return planned(vae, latent, seconds, 1, 2, context)


class SpacetimeLoop:
    TITLE = "Loop"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "A video whose end leads to its beginning. Without a clip, a new one: time is a ring, which the model sees cut "
        "elsewhere at every step. With a clip, new video that leads from its end back to its beginning."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The canvas that closes the circle, for the sampler.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "vae": VAE,
                "latent": (
                    "LATENT",
                    {"tooltip": "From Spacetime Grid: size and frame rate, of a new loop the length."},
                ),
                "seconds": new_seconds("With a clip: new video that closes it, rounded to whole latent frames."),
                "context": CONTEXT,
                "fit": FIT,
            },
            "optional": one_clip(
                "The clip to close. Leave all three open for a new loop",
                "The clip as images, or one image to leave and come back to",
            ),
        }

    def run(self, vae, latent, seconds, context, fit, video=None, images=None, clip=None):
        from ..spacetime.canvas import close, ring

        rate = rate_of(latent)
        if video is None and images is None and clip is None:
            check_unguided(latent)
            made = ring(latent)
            return runtime.shown(f"{made['samples'].shape[2] * vae.config.time_factor} frames, a ring", made)
        source = on_canvas(vae, latent, fit, images=images, video=video, latent_clip=clip)
        closed = close(source, seconds * rate, encoder_of(vae), sized_as(latent), context * rate)
        return runtime.shown(told(closed, rate), closed)

    def plan(self, vae, latent, seconds, context, fit, video=None, images=None, clip=None):
        if video is None and images is None and clip is None:
            return (ring_planned(latent),)
        return planned(vae, latent, seconds, 1, 2, context)


class SpacetimeRestyle:
    TITLE = "Restyle"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Makes a clip anew after another prompt and keeps its course: the clip is noised as far as strength says and "
        "denoised from there (SDEdit, Meng et al. 2022)."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The clip as a canvas, for the sampler, whose denoise it turns down.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "vae": VAE,
                "latent": SIZE_OF,
                "strength": (
                    "FLOAT",
                    {
                        "default": 0.7,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "display": "slider",
                        "tooltip": "0 leaves the clip as it is, 1 keeps nothing of it.",
                    },
                ),
                "fit": FIT,
            },
            "optional": {
                **one_clip(),
                "mask": ("MASK", {"tooltip": "1 is restyled, 0 stays as it was. One for all frames, or one a frame."}),
                "feather": FEATHER,
            },
        }

    def plan(self, vae, latent, strength, fit, video=None, images=None, clip=None, mask=None, feather=2):
        return (as_long_as_the_grid(latent, denoise=strength),)

    def run(self, vae, latent, strength, fit, video=None, images=None, clip=None, mask=None, feather=2):
        from ..spacetime.canvas import restyle
        from ..spacetime.region import Region

        source = wired(vae, latent, images, video, clip)
        clip = brought(vae, latent, fit, source)
        free = None
        if mask is not None:
            free = Region.of_frames(fitted_mask(mask, source, clip, fit), clip.frame_count)
        made = restyle(clip, strength, encoder_of(vae), free, feather)
        return runtime.shown(whole_told(vae, made, clip), as_batch(made, latent))


class SpacetimeMaskRegion:
    TITLE = "Mask Region"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Makes part of a clip anew: a box or a mask over a span of seconds, or new picture around it on chosen sides. "
        "Every other pixel of the clip comes out as it was."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The clip with a hole in it, for the sampler. Decode puts the rest of the clip back.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        def part(default: float, what: str) -> tuple:
            tip = f"{what} of the box, as a share of the picture. Unused with a mask or with new picture around."
            return ("FLOAT", {"default": default, "min": 0.0, "max": 1.0, "step": 0.01, "tooltip": tip})

        def side(name: str) -> tuple:
            tip = (
                f"Pixels of new picture to the {name}; the canvas grows by them."
                if name in ("left", "right")
                else (f"Pixels of new picture {name} the clip; the canvas grows by them.")
            )
            return ("INT", {"default": 0, "min": 0, "max": MAX_SIDE, "step": 16, "tooltip": tip})

        seconds = {"default": 0.0, "min": 0.0, "max": 600.0, "step": 0.1}
        return {
            "required": {
                "vae": VAE,
                "latent": SIZE_OF,
                "x": part(0.25, "Left edge"),
                "y": part(0.25, "Upper edge"),
                "width": part(0.5, "Width"),
                "height": part(0.5, "Height"),
                "start": ("FLOAT", {**seconds, "tooltip": "Second at which the region begins to be made anew."}),
                "end": ("FLOAT", {**seconds, "tooltip": "Second at which that ends. 0 is the clip's end."}),
                "feather": FEATHER,
                "left": side("left"),
                "top": side("above"),
                "right": side("right"),
                "bottom": side("below"),
                "fit": FIT,
            },
            "optional": {
                "video": footage("The clip", "VIDEO"),
                "images": footage("The clip as images, at the canvas's frame rate", "IMAGE"),
                "mask": (
                    "MASK",
                    {"tooltip": "Instead of the box: 1 is made anew. One for all frames, or one a frame."},
                ),
            },
        }

    def plan(
        self, vae, latent, x, y, width, height, start, end, feather, left, top, right, bottom, fit,
        video=None, images=None, mask=None,
    ):  # fmt: skip
        if end and start >= end:
            raise ValueError(f"{start:g}–{end:g} s is no span; it must start before it ends")
        if vae is None:  # from a node that only the run itself can tell about
            return (None,)
        check_sides(vae, left, top, right, bottom)
        return (as_long_as_the_grid(latent, (top + bottom, left + right), vae),)

    def run(
        self, vae, latent, x, y, width, height, start, end, feather, left, top, right, bottom, fit,
        video=None, images=None, mask=None,
    ):  # fmt: skip
        from ..media.fit import bordered
        from ..spacetime.canvas import inpaint
        from ..spacetime.region import border, box, during

        sides, rate = (left, top, right, bottom), rate_of(latent)
        source = wired(vae, latent, images, video)
        clip = brought(vae, latent, fit, source)
        if any(sides):
            if mask is not None:
                raise ValueError("a mask and new picture around the clip are two steps; take one node for each")
            check_sides(vae, *sides)
            clip = bordered(clip, *sides)
            free = border(clip.width, clip.height, *sides)
        elif mask is not None:
            free = fitted_mask(mask, source, clip, fit)
        else:
            free = box(clip.width, clip.height, x, y, width, height)
        free = during(free, clip.frame_count, start, end, rate)
        made = inpaint(clip, free, encoder_of(vae), feather)
        share = float((made["noise_mask"] > 0).float().mean())
        text = f"{whole_told(vae, made, clip)}; {share:.0%} of the cells are made anew"
        return runtime.shown(text, as_batch(made, latent))


def check_sides(vae, *sides: int):
    step = vae.config.space_factor * 2
    if any(side % step for side in sides):
        raise ValueError(f"left, top, right and bottom {sides} must be multiples of {step} for this VAE")


NODES = [
    SpacetimePlaceFrames,
    SpacetimeExtend,
    SpacetimeConnect,
    SpacetimeLoop,
    SpacetimeRestyle,
    SpacetimeMaskRegion,
]
