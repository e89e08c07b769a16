"""What the builders of a canvas share: their sockets, the clips wired to them, and what they say of the result."""

import math

from ..media.fit import FITS
from ..spacetime.grid import context_cells, frames_of
from ..spacetime.names import CONTROL, REFERENCES
from . import runtime

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
FEATHER = (
    "INT",
    {"default": 2, "min": 0, "max": 256, "tooltip": "Pixels inside the region's border over which it blends."},
)


def footage(name: str, kind: str) -> tuple:
    return (kind, {"tooltip": f"{name}. Brought to the canvas's size and frame rate, which is said."})


def one_clip(video: str = "The clip", images: str = "The clip as images, at the canvas's frame rate") -> dict:
    """Optional sockets of which one is wired; `on_canvas` takes them."""
    return {
        "video": footage(video, "VIDEO"),
        "images": footage(images, "IMAGE"),
        "clip": footage("The clip as a latent", "LATENT"),
    }


def new_seconds(tip: str) -> tuple:
    return ("FLOAT", {"default": 1.0, "min": 0.1, "max": 600.0, "step": 0.1, "tooltip": tip})


def as_batch(made: dict, latent: dict) -> dict:
    """A canvas made from one clip, once for each video of the grid's batch and at its frame rate."""
    return {**kept(latent), **made, "samples": made["samples"].repeat(len(latent["samples"]), 1, 1, 1, 1)}


def kept(latent: dict) -> dict:
    """What a new canvas takes over: the frame rate, and the keys of other packs."""
    from ..spacetime.canvas import CANVAS_KEYS

    rate_of(latent)
    check_unguided(latent)
    return {key: value for key, value in latent.items() if key not in CANVAS_KEYS}


def check_unguided(latent: dict):
    """Raises ValueError where a canvas follows something that the one to be made of it wouldn't."""
    for name, node in ((CONTROL, "Control Video"), (REFERENCES, "Reference Images")):
        if name in latent:
            raise ValueError(f"{node} belongs to the canvas that is sampled: wire it after this node, not before")


def whole_told(vae, latent: dict, clip) -> str:
    """How many frames the canvas has; a notice for those of the clip that it can't hold."""
    frames = frames_of(latent["samples"].shape[2], vae.config.time_factor)
    if frames < clip.frame_count:
        runtime.notice(f"{clip.frame_count} frames → {frames} ({vae.config.time_factor}k+1)")
    return f"{frames} frames"


def rate_of(latent: dict) -> float:
    rate = latent.get("fps")
    if not rate:
        raise ValueError("this latent says no frame rate; start from Spacetime Grid")
    return rate


def seconds_in(time: str) -> float | None:
    """ "start" or seconds → seconds; "end" → None."""
    word = time.strip().lower()
    try:
        seconds = {"start": 0.0, "end": None}[word] if word in ("start", "end") else float(word.removesuffix("s"))
    except ValueError:
        seconds = math.nan
    if seconds is not None and not math.isfinite(seconds):
        raise ValueError(f"time {time!r} can't be; start, end, or seconds such as 1.5")
    return seconds


def frame_at(time: str, rate: float, spans, count: int) -> int:
    """ "start", "end" or seconds of the finished video → the canvas frame at which `count` frames begin."""
    from ..spacetime.timeline import canvas_frame, frame_count

    seconds = seconds_in(time)
    return canvas_frame(spans, frame_count(spans) - count if seconds is None else round(seconds * rate))


def on_canvas(vae, latent: dict, fit: str, images=None, video=None, latent_clip=None):
    """The one clip that is wired, as a VIDEO of the canvas's size and rate."""
    return brought(vae, latent, fit, wired(vae, latent, images, video, latent_clip))


def wired(vae, latent: dict, images=None, video=None, latent_clip=None):
    """The one clip that is wired, as a VIDEO of its own size and rate; of images, the canvas's rate."""
    from ..media.video import StreamVideo, as_stream
    from .decode import as_video, with_sound

    rate = rate_of(latent)
    given = [one for one in (images, video, latent_clip) if one is not None]
    if len(given) != 1:
        raise ValueError(f"{len(given) or 'no'} clips are wired; wire exactly one: images or a video")
    if images is not None:
        return StreamVideo(
            lambda: (images[i : i + 1, ..., :3] for i in range(len(images))),
            width=images.shape[2],
            height=images.shape[1],
            frame_count=len(images),
            fps=rate,
        )
    if video is not None:
        return as_stream(video)
    videos = with_sound(as_video(vae, latent_clip, latent_clip.get("fps") or rate), vae, latent_clip)
    if len(videos) > 1:
        runtime.notice(f"the clip is a latent of {len(videos)} videos; only the first is used")
    return videos[0]


def brought(vae, latent: dict, fit: str, clip):
    """A VIDEO at the canvas's size and rate; what that changed is said."""
    from ..media.fit import fitted
    from .decode import checked

    rate, samples, factor = rate_of(latent), checked(vae, latent), vae.config.space_factor
    clip, said = fitted(clip, samples.shape[4] * factor, samples.shape[3] * factor, rate, fit)
    for line in said:
        runtime.notice(f"the clip: {line}")
    return clip


def at_rate(latent: dict, clip):
    """A VIDEO of its own size at the canvas's rate; what that changed is said."""
    from ..media.fit import FITS, fitted

    clip, said = fitted(clip, clip.width, clip.height, rate_of(latent), FITS[0])
    for line in said:
        runtime.notice(f"the face: {line}")
    return clip


def encoder_of(vae):
    """The VAE as the canvas asks for it."""
    from ..spacetime.canvas import Encoder

    facts = vae.config
    return Encoder(facts.time_factor, vae.encode_stream, facts.space_factor)


def sized_as(latent: dict):
    """latent frames → an empty canvas of this one's size and rate."""
    from ..spacetime.canvas import cells

    samples, _ = cells(latent)
    return lambda latent_frames: {
        **kept(latent), "samples": samples.new_zeros(*samples.shape[:2], latent_frames, *samples.shape[3:])
    }  # fmt: skip


def planned(vae, latent: dict | None, seconds: float, stretches: int, joins: int, context: float) -> dict:
    """The canvas that will be sampled, if the clips are long enough: new stretches, and context at each join."""
    if latent is None or vae is None:  # from a node that only the run itself can tell about
        return (None,)
    check_unguided(latent)
    factor, rate, (batch, channels, latent_frames, *size) = vae.config.time_factor, latent["fps"], latent["shape"]
    cells = 1 + stretches * round(seconds * rate / factor) + joins * context_cells(context * rate, factor)
    tokens = latent["tokens"] // latent_frames * cells
    canvas = {"frames": frames_of(cells, factor), "shape": [batch, channels, cells, *size], "tokens": tokens}
    canvas["known"] = True
    return {"result": ({**latent, **canvas},), "report": {"canvas frames": canvas["frames"], "tokens": tokens}}


def ring_planned(latent: dict | None) -> dict | None:
    """The canvas of a new loop, whose first latent frame is left out."""
    if latent is None or latent["shape"][2] < 3:
        return latent
    check_unguided(latent)
    batch, channels, cells, *size = latent["shape"]
    tokens = latent["tokens"] // cells * (cells - 1)
    return {**latent, "shape": [batch, channels, cells - 1, *size], "tokens": tokens, "ring": True}


def as_long_as_the_grid(latent: dict | None, grown: tuple[int, int] = (0, 0), vae=None, **more) -> dict | None:
    """The canvas of a clip that only the run itself opens, for a plan. grown: pixels added to height and width."""
    if latent is None:
        return None
    check_unguided(latent)
    batch, channels, cells, *size = latent["shape"]
    size = [side + more // vae.config.space_factor if more else side for side, more in zip(size, grown, strict=True)]
    return {**latent, "shape": [batch, channels, cells, *size], "known": True, "assumed": True, **more}


def told(latent: dict, rate: float) -> str:
    from ..spacetime.timeline import frame_count

    new = sum(span.frame_count for span in latent["timeline"] if not span.source)
    total = frame_count(latent["timeline"])
    return f"{total} frames, {total / rate:.2f} s; {new} of them new"


def fitted_mask(mask, source, clip, fit: str):
    """MASK [N, h, w] drawn over the frames of `source`, brought to the `clip` made of it: [1 or F, height, width].

    A mask of the canvas's own size lies on the canvas already. Raises ValueError where the masks aren't one a frame.
    """
    from torch.nn.functional import interpolate

    from ..media.fit import resized

    if len(mask) not in (1, clip.frame_count, source.frame_count):
        counts = " or ".join(str(count) for count in dict.fromkeys((source.frame_count, clip.frame_count)))
        raise ValueError(f"{len(mask)} masks for {counts} frames; one, or one a frame, would be right")
    if len(mask) not in (1, clip.frame_count):  # the frames of the source that the clip still shows
        last = source.frame_count - 1
        mask = mask[[min(int(i / clip.fps * source.fps), last) for i in range(clip.frame_count)]]
    size, drawn, over = tuple(mask.shape[1:]), (source.height, source.width), (clip.height, clip.width)
    if size != over:
        if size != drawn:
            runtime.notice(f"the mask: {size[1]}×{size[0]} → {source.width}×{source.height}")
            mask = interpolate(mask[:, None].float(), size=drawn, mode="nearest-exact")[:, 0]
        mask = resized(mask[..., None].float(), clip.width, clip.height, fit, behind=False)[..., 0]
    return (mask > 0.5).float()
