"""The canvas: how large, how long, and which cells are known. Every verb is one node here."""

from ..media.fit import FITS
from ..model_loaders.checkpoint import weight_bytes
from ..spacetime import cost
from ..spacetime.grid import ASPECTS, CUSTOM, Admits, context_cells, frames_of, plan
from . import runtime

MAX_SIDE = 16384
LATENT = ("LATENT", {"tooltip": "From Spacetime Grid, or from another node of this shelf: they chain."})
SIZE_OF = ("LATENT", {"tooltip": "From Spacetime Grid: the size and the frame rate. Its length doesn't count here."})
VAE = ("SPACETIME_VAE", {"tooltip": "From Load VAE: turns the frames into cells."})
CONTEXT = (
    "FLOAT",
    {
        "default": 0.0,
        "min": 0.0,
        "max": 60.0,
        "step": 0.1,
        "tooltip": "Seconds of the clip that the model sees at the join. 0 takes two latent frames, about a second.",
    },
)
FIT = (
    list(FITS),
    {
        "default": FITS[0],
        "tooltip": "For footage of another shape. cover fills the frame and crops, contain shows all of it on a "
        "blurred copy of itself, stretch bends it.",
    },
)


def footage(name: str, kind: str) -> tuple:
    return (kind, {"tooltip": f"{name}. Brought to the canvas's size and frame rate, which is said."})


class SpacetimeGrid:
    TITLE = "Spacetime Grid"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "An empty video to fill: a grid of latent cells in space and time. Snaps to what the model and its VAE admit, "
        "and says what it snapped, how many tokens that makes and how much memory they take. One frame is an image."
    )
    RETURN_TYPES = ("LATENT", "INT", "INT", "INT")
    RETURN_NAMES = ("latent", "width", "height", "frames")
    OUTPUT_TOOLTIPS = (
        "The empty grid, for the sampler.",
        "Width in pixels, snapped.",
        "Height in pixels, snapped.",
        "Number of frames, snapped.",
    )
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "dit": ("SPACETIME_DIT", {"tooltip": "From Load DiT: how it cuts the grid into tokens."}),
                "vae": (
                    "SPACETIME_VAE",
                    {"tooltip": "From Load VAE: how many pixels and frames one latent cell holds."},
                ),
                "aspect": (
                    [*ASPECTS, CUSTOM],
                    {"default": "1:1", "tooltip": "Width to height. custom takes width and height below."},
                ),
                "size": (
                    "INT",
                    {
                        "default": 64,
                        "min": 16,
                        "max": MAX_SIDE,
                        "step": 8,
                        "tooltip": "The short side in pixels. pocket: 48 to 128. Wan: 480, 720.",
                    },
                ),
                "width": (
                    "INT",
                    {
                        "default": 64,
                        "min": 16,
                        "max": MAX_SIDE,
                        "step": 8,
                        "tooltip": "Width in pixels, with aspect custom.",
                    },
                ),
                "height": (
                    "INT",
                    {
                        "default": 64,
                        "min": 16,
                        "max": MAX_SIDE,
                        "step": 8,
                        "tooltip": "Height in pixels, with aspect custom.",
                    },
                ),
                "seconds": (
                    "FLOAT",
                    {
                        "default": 2.0,
                        "min": 0.0,
                        "max": 600.0,
                        "step": 0.1,
                        "tooltip": "Length. Used while frames is 0.",
                    },
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": 8.0,
                        "min": 0.1,
                        "max": 240.0,
                        "step": 0.1,
                        "tooltip": "Frames per second. pocket was trained at 8, Wan at 16 or 24.",
                    },
                ),
                "frames": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 16384,
                        "tooltip": "Exact number of frames; 1 makes an image; 0 takes seconds × fps.",
                    },
                ),
                "batch_size": (
                    "INT",
                    {"default": 1, "min": 1, "max": 64, "tooltip": "How many videos at once, each from its own noise."},
                ),
            }
        }

    def run(self, dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size=1):
        from ..spacetime.canvas import empty

        grid, report = self._plan(dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size)
        for line in grid.snapped:
            runtime.notice(line)
        size = f"{grid.width}×{grid.height}, {grid.frames} frames, {grid.seconds:.2f} s"
        text = f"{size}\n{grid.tokens:,} tokens, about {report['memory']}"
        return shown("\n".join([text, *grid.snapped]), empty(grid), grid.width, grid.height, grid.frames)

    def plan(self, dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size=1):
        grid, report = self._plan(dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size)
        latent = {key: report[key] for key in ("shape", "frames", "width", "height", "fps", "tokens")}
        return {"result": (latent, grid.width, grid.height, grid.frames), "report": report}

    def _plan(self, dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size):
        model, autoencoder = dit.config, vae.config
        if model.channels != autoencoder.channels:
            raise ValueError(
                f"this DiT denoises {model.channels} channels, the VAE has {autoencoder.channels}: load the DiT's own"
            )
        admits = Admits(
            autoencoder.channels, autoencoder.time_factor, autoencoder.space_factor, model.patch, model.max_cells
        )
        grid = plan(
            admits,
            aspect=aspect,
            size=size,
            width=width,
            height=height,
            seconds=seconds,
            fps=fps,
            frames=frames,
            batch_size=batch_size,
        )
        value = 4 if dit.dtype == "float32" or dit.device == "cpu" else 2  # auto may turn out to be a GPU's bfloat16
        sampling = cost.sampling_bytes(grid.shape, grid.tokens, model.width, model.ffn, value, model.per_token_time)
        decoding = cost.decoding_bytes(
            grid.height, grid.width, min(autoencoder.time_factor, grid.frames), autoencoder.width, autoencoder.patch
        )
        if "cuda" not in (dit.device, vae.device):  # a GPU's memory isn't this machine's
            cost.refuse_if_impossible(max(sampling, decoding), f"{grid.width}×{grid.height}×{grid.frames}")
        weights = sum(weight_bytes(part.folder, part.dtype, part.device) for part in (dit, vae))
        needed = weights + max(sampling, decoding)
        report = {
            **{"width": grid.width, "height": grid.height, "frames": grid.frames},
            **{"fps": grid.fps, "seconds": grid.seconds, "shape": list(grid.shape), "tokens": grid.tokens},
            **{"snapped": list(grid.snapped), "memory": cost.readable(needed), "memory_bytes": needed},
            **{"weights_bytes": weights, "sampling_bytes": sampling, "decoding_bytes": decoding},
        }
        return grid, report


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
        frames = spans_of(latent, vae.config.time_factor)[-1].last
        first = frame_at(time, rate_of(latent), frames, clip.frame_count)
        placed, known = place(latent, clip, first, encoder_of(vae), strength)
        if clip.frame_count not in (1, len(known)):
            runtime.notice(
                f"{clip.frame_count} frames → {len(known)} ({known.start}–{known.stop - 1}): only whole latent frames "
                f"of {vae.config.time_factor} can be known; the rest is made anew"
            )
        return shown(f"frames {known.start}–{known.stop - 1} of {frames} are known", placed)

    def plan(self, vae, latent, time, fit, strength, images=None, video=None):
        return (latent,)


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
                "seconds": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.1,
                        "max": 600.0,
                        "step": 0.1,
                        "tooltip": "New video in each direction, rounded to whole latent frames.",
                    },
                ),
                "context": CONTEXT,
                "fit": FIT,
            },
            "optional": {
                "video": footage("The clip", "VIDEO"),
                "images": footage("The clip as images, at the canvas's frame rate", "IMAGE"),
                "clip": footage("The clip as a latent", "LATENT"),
            },
        }

    def run(self, vae, latent, direction, seconds, context, fit, video=None, images=None, clip=None):
        from ..spacetime.canvas import extend

        source, rate = on_canvas(vae, latent, fit, images=images, video=video, latent_clip=clip), rate_of(latent)
        new = seconds * rate
        forward, backward = (new if direction in way else 0 for way in (("forward", "both"), ("backward", "both")))
        extended = extend(source, forward, backward, encoder_of(vae), sized_as(latent), context * rate)
        return shown(told(extended, rate), extended)

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
                "seconds": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.1,
                        "max": 600.0,
                        "step": 0.1,
                        "tooltip": "New video between the clips, rounded to whole latent frames.",
                    },
                ),
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
        return shown(told(joined, rate), joined)

    def plan(self, vae, latent, seconds, context, fit, first=None, second=None):
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
                "video": footage("The clip", "VIDEO"),
                "images": footage("The clip as images, at the canvas's frame rate", "IMAGE"),
                "clip": footage("The clip as a latent", "LATENT"),
            },
        }

    def run(self, vae, latent, strength, fit, video=None, images=None, clip=None):
        from ..spacetime.canvas import restyle

        source = on_canvas(vae, latent, fit, images=images, video=video, latent_clip=clip)
        made = restyle(source, strength, encoder_of(vae))
        return shown(whole_told(vae, made, source), as_batch(made, latent))


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
                "feather": (
                    "INT",
                    {"default": 2, "min": 0, "max": 256, "tooltip": "Pixels inside its border over which it blends."},
                ),
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

    def run(
        self, vae, latent, x, y, width, height, start, end, feather, left, top, right, bottom, fit,
        video=None, images=None, mask=None,
    ):  # fmt: skip
        from ..media.fit import bordered
        from ..spacetime.canvas import inpaint

        sides, rate = (left, top, right, bottom), rate_of(latent)
        clip = on_canvas(vae, latent, fit, images=images, video=video)
        if any(sides):
            if mask is not None:
                raise ValueError("a mask and new picture around the clip are two steps; take one node for each")
            step = vae.config.space_factor * 2
            if any(side % step for side in sides):
                raise ValueError(f"left, top, right and bottom {sides} must be multiples of {step} for this VAE")
            clip = bordered(clip, *sides)
            free = border(clip, *sides)
        elif mask is not None:
            free = fitted_mask(mask, clip)
        else:
            free = box(clip, x, y, width, height)
        free = during(free, clip, start, end, rate)
        made = inpaint(clip, free, encoder_of(vae), feather)
        share = float((made["noise_mask"] > 0).float().mean())
        text = f"{whole_told(vae, made, clip)}; {share:.0%} of the cells are made anew"
        return shown(text, as_batch(made, latent))


def box(clip, x: float, y: float, width: float, height: float):
    """[1, height, width], 1 inside a box given in shares of the picture."""
    import torch

    free = torch.zeros(1, clip.height, clip.width)
    rows, columns = (
        slice(round(low * size), max(round(low * size) + 1, round((low + extent) * size)))
        for low, extent, size in ((y, height, clip.height), (x, width, clip.width))
    )
    free[:, rows, columns] = 1
    return free


def border(clip, left: int, top: int, right: int, bottom: int):
    """[1, height, width], 1 in the strips that were added around a clip."""
    import torch

    free = torch.ones(1, clip.height, clip.width)
    free[:, top : clip.height - bottom, left : clip.width - right] = 0
    return free


def fitted_mask(mask, clip):
    """MASK [N, h, w] → [1 or F, height, width]; another size is stretched and said, another number refused."""
    from torch.nn.functional import interpolate

    if len(mask) not in (1, clip.frame_count):
        raise ValueError(f"{len(mask)} masks for {clip.frame_count} frames; one, or one a frame, would be right")
    if mask.shape[1:] != (clip.height, clip.width):
        runtime.notice(f"the mask: {mask.shape[2]}×{mask.shape[1]} → {clip.width}×{clip.height}")
        mask = interpolate(mask[:, None].float(), size=(clip.height, clip.width), mode="nearest-exact")[:, 0]
    return (mask > 0.5).float()


def during(free, clip, start: float, end: float, rate: float):
    """free [1 or F, height, width] → [F, height, width], 0 outside the span."""
    first, last = round(start * rate), round(end * rate) if end else clip.frame_count
    if not 0 <= first < last <= clip.frame_count:
        seconds = clip.frame_count / rate
        raise ValueError(f"{start:g}–{end:g} s is no span of a clip of {seconds:g} s; start before end, both inside it")
    free = free.expand(clip.frame_count, -1, -1).clone()
    free[:first], free[last:] = 0, 0
    return free


def as_batch(made: dict, latent: dict) -> dict:
    """A canvas made from one clip, once for each video of the grid's batch and at its frame rate."""
    return {"fps": rate_of(latent), **made, "samples": made["samples"].repeat(len(latent["samples"]), 1, 1, 1, 1)}


def whole_told(vae, latent: dict, clip) -> str:
    """How many frames the canvas has; a notice for those of the clip that it can't hold."""
    frames = frames_of(latent["samples"].shape[2], vae.config.time_factor)
    if frames < clip.frame_count:
        runtime.notice(f"{clip.frame_count} frames → {frames} ({vae.config.time_factor}k+1)")
    return f"{frames} frames"


def shown(text: str, *outputs) -> dict:
    """Outputs, and a text that the editor shows on the node."""
    runtime.show(text)
    return {"ui": {"text": [text]}, "result": outputs}


def rate_of(latent: dict) -> float:
    rate = latent.get("fps")
    if not rate:
        raise ValueError("this latent says no frame rate; start from Spacetime Grid")
    return rate


def frame_at(time: str, rate: float, frames: int, count: int) -> int:
    """ "start", "end" or seconds → the frame at which `count` frames begin on a canvas of `frames`."""
    word = time.strip().lower()
    if word in ("start", "end"):
        return 0 if word == "start" else frames - count
    try:
        return round(float(word.removesuffix("s")) * rate)
    except (ValueError, OverflowError):
        raise ValueError(f"time {time!r} can't be; start, end, or seconds such as 1.5") from None


def on_canvas(vae, latent: dict, fit: str, images=None, video=None, latent_clip=None):
    """The one clip that is wired, as a VIDEO of the canvas's size and rate."""
    from ..media.fit import fitted
    from ..media.video import StreamVideo, as_stream
    from .decode import as_video, checked

    rate, samples = rate_of(latent), checked(vae, latent)
    given = [one for one in (images, video, latent_clip) if one is not None]
    if len(given) != 1:
        raise ValueError(f"{len(given) or 'no'} clips are wired; wire exactly one: images or a video")
    if images is not None:
        clip = StreamVideo(
            lambda: (images[i : i + 1, ..., :3] for i in range(len(images))),
            width=images.shape[2],
            height=images.shape[1],
            frame_count=len(images),
            fps=rate,
        )
    elif video is not None:
        clip = as_stream(video)
    else:
        clip = as_video(vae, latent_clip, latent_clip.get("fps") or rate)[0]
    if getattr(getattr(clip, "facts", None), "has_audio", False) or clip.audio is not None:
        runtime.notice("the clip's sound isn't carried into the new video")
    factor = vae.config.space_factor
    clip, said = fitted(clip, samples.shape[4] * factor, samples.shape[3] * factor, rate, fit)
    for line in said:
        runtime.notice(f"the clip: {line}")
    return clip


def encoder_of(vae):
    """The VAE as the canvas asks for it, interruptible between latent frames."""
    from ..spacetime.canvas import Encoder
    from .decode import interruptible

    return Encoder(vae.config.time_factor, lambda frames: interruptible(vae.encode_stream(frames)))


def sized_as(latent: dict):
    """latent frames → an empty canvas of this one's size and rate."""
    from ..spacetime.canvas import cells

    samples, _ = cells(latent)
    kept = {key: value for key, value in latent.items() if key not in ("noise_mask", "timeline")}
    return lambda latent_frames: {
        **kept, "samples": samples.new_zeros(*samples.shape[:2], latent_frames, *samples.shape[3:])
    }  # fmt: skip


def planned(vae, latent: dict | None, seconds: float, stretches: int, joins: int, context: float) -> dict:
    """The canvas that will be sampled, if the clips are long enough: new stretches, and context at each join."""
    if latent is None:  # from a node that only the run itself can tell about
        return (None,)
    factor, rate, (batch, channels, latent_frames, *size) = vae.config.time_factor, latent["fps"], latent["shape"]
    cells = 1 + stretches * round(seconds * rate / factor) + joins * context_cells(context * rate, factor)
    tokens = latent["tokens"] // latent_frames * cells
    canvas = {"frames": frames_of(cells, factor), "shape": [batch, channels, cells, *size], "tokens": tokens}
    return {"result": ({**latent, **canvas},), "report": {"canvas frames": canvas["frames"], "tokens": tokens}}


def told(latent: dict, rate: float) -> str:
    from ..spacetime.timeline import frame_count

    new = sum(span.frame_count for span in latent["timeline"] if not span.source)
    total = frame_count(latent["timeline"])
    return f"{total} frames, {total / rate:.2f} s; {new} of them new"


NODES = [
    SpacetimeGrid,
    SpacetimePlaceFrames,
    SpacetimeExtend,
    SpacetimeConnect,
    SpacetimeRestyle,
    SpacetimeMaskRegion,
]
