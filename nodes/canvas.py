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


def planned(vae, latent: dict, seconds: float, stretches: int, joins: int, context: float) -> dict:
    """The canvas that will be sampled, if the clips are long enough: new stretches, and context at each join."""
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


NODES = [SpacetimeGrid, SpacetimePlaceFrames, SpacetimeExtend, SpacetimeConnect]
