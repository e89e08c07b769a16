"""The grid of a video: pixels and frames snapped to what a VAE and a transformer admit. Plans need it without torch."""

import math
from dataclasses import dataclass
from fractions import Fraction

ASPECTS = {"16:9": (16, 9), "9:16": (9, 16), "1:1": (1, 1), "4:3": (4, 3), "3:4": (3, 4), "21:9": (21, 9)}
CUSTOM = "custom"
AUTO_CONTEXT = 2  # latent frames, besides a lone first one, that a model sees of a clip it goes on from


@dataclass(frozen=True)
class Admits:
    """What a model and its VAE admit.

    time_factor, space_factor: pixels per latent cell; the first latent frame holds one frame, the others `time_factor`.
    patch (t, h, w): latent cells per token. max_cells (T, H, W): the longest latent grid the model has positions for.
    """

    channels: int
    time_factor: int = 4
    space_factor: int = 8
    patch: tuple[int, int, int] = (1, 2, 2)
    max_cells: tuple[int, int, int] = (1024, 2048, 2048)


@dataclass(frozen=True)
class Grid:
    batch: int
    channels: int
    frames: int
    height: int
    width: int
    fps: float
    shape: tuple[int, int, int, int, int]  # B, C, T, H, W
    tokens: int
    snapped: tuple[str, ...]  # what was changed, in words

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def plan(
    admits: Admits, *, aspect="custom", size=0, width=0, height=0, seconds=0.0, fps=8.0, frames=0, batch_size=1
) -> Grid:
    """The nearest grid the model admits.

    aspect and size (the short side), or aspect 'custom' and exact width and height; frames, or 0 for seconds × fps.
    """
    for name, value in {
        "size": size,
        "width": width,
        "height": height,
        "seconds": seconds,
        "fps": fps,
        "frames": frames,
    }.items():
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{name} {value} can't be; it must be a number of 0 or more")
    if fps <= 0:
        raise ValueError(f"fps {fps:g} can't be; usual are 8 (pocket), 16 (Wan), 24")
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} can't be; at least 1")

    asked_width, asked_height = pixels(aspect, size, width, height)
    step_h, step_w = admits.space_factor * admits.patch[1], admits.space_factor * admits.patch[2]
    new_height, new_width = snap(asked_height, step_h), snap(asked_width, step_w)
    asked_frames = frames or max(1, round(seconds * fps))
    new_frames = snap_frames(asked_frames, admits.time_factor * admits.patch[0])

    snapped = []
    if (new_width, new_height) != (asked_width, asked_height):
        snapped.append(f"{asked_width}×{asked_height} → {new_width}×{new_height} (sides in steps of {step_w}×{step_h})")
    if new_frames != asked_frames:
        snapped.append(f"{asked_frames} frames → {new_frames} ({admits.time_factor * admits.patch[0]}k+1)")

    cells = (
        (new_frames - 1) // admits.time_factor + 1,
        new_height // admits.space_factor,
        new_width // admits.space_factor,
    )
    for name, count, most in zip(
        ("latent frames", "latent rows", "latent columns"), cells, admits.max_cells, strict=True
    ):
        if count > most:
            raise ValueError(
                f"{new_width}×{new_height}×{new_frames} has {count} {name}; this model has positions for {most}"
            )
    tokens = math.prod(math.ceil(count / side) for count, side in zip(cells, admits.patch, strict=True))
    shape = (batch_size, admits.channels, *cells)
    return Grid(
        batch_size, admits.channels, new_frames, new_height, new_width, float(fps), shape, tokens, tuple(snapped)
    )


def pixels(aspect: str, size: int, width: int, height: int) -> tuple[int, int]:
    """(width, height) asked for, before snapping."""
    if aspect == CUSTOM:
        if width < 1 or height < 1:
            raise ValueError(f"{width}×{height} can't be; aspect 'custom' takes width and height as they are")
        return width, height
    if aspect not in ASPECTS:
        raise ValueError(f"aspect {aspect!r} can't be; one of {', '.join(ASPECTS)}, {CUSTOM}")
    if size < 1:
        raise ValueError(f"size {size} can't be; it is the short side in pixels")
    w, h = ASPECTS[aspect]
    return round(size * Fraction(w, min(w, h))), round(size * Fraction(h, min(w, h)))


def snap(value: int, step: int) -> int:
    """The nearest multiple of step, at least one; halves go up."""
    return max(step, (2 * value + step) // (2 * step) * step)


def snap_frames(frames: int, step: int) -> int:
    """The nearest step·k+1; halves go up. Causal video VAEs hold the first frame alone."""
    return 1 + (2 * (frames - 1) + step) // (2 * step) * step


def frames_of(latent_frames: int, time_factor: int) -> int:
    """Pixel frames that many latent frames decode to."""
    return (latent_frames - 1) * time_factor + 1


def first_frame(latent_frame: int, time_factor: int) -> int:
    """The first pixel frame of a latent frame: the first one holds a single frame, every other `time_factor`."""
    return max(0, frames_of(latent_frame, time_factor))


def cell_of(frame: int, time_factor: int) -> int:
    """The latent frame that holds a pixel frame."""
    return -(-frame // time_factor)


def context_cells(frames: float, time_factor: int) -> int:
    """Latent frames that so many frames of context fill; 0 frames is the automatic choice."""
    return max(1, round(frames / time_factor)) if frames else AUTO_CONTEXT
