"""Which cells are known. A LATENT in, the sampler's two tensors out; every verb is a function that makes a LATENT."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from . import timeline
from .grid import context_cells, first_frame, frames_of
from .names import CONTROL, FACE, REFERENCES
from .pixels import Shown
from .region import Region
from .timeline import Source, Span

RUN_UP = 16  # latent frames of its end that a ring is decoded after: then no pixel tells where it began
# what builders add to an empty grid
CANVAS_KEYS = ("noise_mask", "timeline", "ring", "denoise", "shown", "heard", CONTROL, FACE, REFERENCES)
WARM_UP = 3  # latent frames of held picture before a clip that begins later than 0: so far a causal VAE looks back


def empty(grid) -> dict:
    """A LATENT of which every cell is free."""
    return {"samples": torch.zeros(grid.shape), "fps": grid.fps}


def cells(latent: dict) -> tuple[Tensor, Tensor | None]:
    """samples [B, C, T, H, W] and how free each cell is [B, 1, T, H, W] (1 = free, 0 = known); None = all free.

    A latent of image nodes, [B, C, H, W], counts as one frame; a mask of another size is stretched over the grid.
    """
    if not isinstance(latent, dict) or not isinstance(latent.get("samples"), Tensor):
        raise TypeError(f"a LATENT is a dict with a tensor 'samples'; found {type(latent).__name__}")
    samples = latent["samples"]
    if samples.ndim == 4:
        samples = samples.unsqueeze(2)
    if samples.ndim != 5:
        raise ValueError(
            f"this LATENT has the shape {list(samples.shape)}; a video's is [batch, channels, frames, rows, columns]"
        )
    mask = latent.get("noise_mask")
    if mask is None:
        return samples.float(), None
    if mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])  # ComfyUI's [N, H, W] and [N, 1, H, W]: N masks in time
    if mask.shape[1] != 1:
        raise ValueError(f"noise_mask has the shape {list(mask.shape)}; a video's is [batch, 1, frames, rows, columns]")
    size = samples.shape[2:]
    if mask.shape[2:] != size:
        mask = torch.nn.functional.interpolate(mask.float(), size=size, mode="nearest-exact")
    return samples.float(), mask.float().clamp(0, 1).expand(samples.shape[0], 1, *size)


@dataclass(frozen=True)
class Encoder:
    """What placing pixels on a canvas asks of a VAE. `stream`: chunks [n, height, width, 3] in 0..1, time_factor·k + 1
    frames in all → raw latents [1, C, 1, H, W], one a latent frame. space_factor: pixels a side of a cell."""

    time_factor: int
    stream: Callable[[Iterable[Tensor]], Iterator[Tensor]]
    space_factor: int = 8


def spans_of(latent: dict, time_factor: int) -> tuple[Span, ...]:
    """The timeline that Decode follows; without one, or after another pack has cut the latent, the canvas as it is."""
    latent_frames = cells(latent)[0].shape[2]
    frames = latent_frames * time_factor if latent.get("ring") else frames_of(latent_frames, time_factor)
    spans = latent.get("timeline")
    return spans if spans and spans[-1].last == frames else timeline.whole(frames)


def seconds_of(latent: dict, factor: int) -> list[float]:
    """The second of the video in which each latent frame's middle lies."""
    latent_frames, rate = cells(latent)[0].shape[2], latent.get("fps")
    if not rate:
        raise ValueError("this latent says no frame rate, so a storyboard has no seconds; start from Spacetime Grid")
    if latent.get("ring"):
        return [(i * factor + (factor - 1) / 2) / rate for i in range(latent_frames)]
    times = timeline.times(spans_of(latent, factor), rate)
    middles = [[0], *([(i - 1) * factor + 1, i * factor] for i in range(1, latent_frames))]
    return [sum(times[i] for i in ends) / len(ends) for ends in middles]


def place(latent: dict, clip: Source, first: int, encoder: Encoder, strength: float = 1.0) -> tuple[dict, range]:
    """A copy of `latent` in which `clip`, of the canvas's size, is known from frame `first` on; and its known frames.

    A latent frame after the first holds `time_factor` frames, and only those that the clip covers wholly become known.
    A clip of one frame, an image, is held over the latent frame it falls into. strength 1 keeps the cells as they are,
    0 leaves them free; in between they are partly known and the video shows them as decoded.
    Raises ValueError where the clip leaves the canvas, covers no latent frame, or meets cells that are known already,
    and on a ring.
    """
    samples, free = cells(latent)
    factor, count = encoder.time_factor, clip.frame_count
    if latent.get("ring"):
        raise ValueError("a loop made anew has no known frames; give Loop the clip or the image to close instead")
    frames = frames_of(samples.shape[2], factor)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength:g} can't be; it goes from 0 (free) to 1 (kept)")
    if first < 0 or first + count > frames:
        raise ValueError(f"frames {first}–{first + count - 1} don't lie on a canvas of {frames} (0–{frames - 1})")
    held = count == 1
    begin = first and -(-(first + factor - 1) // factor)  # the first latent frame that begins at `first` or later
    end = (first + count - 1) // factor + 1
    if held:
        begin = -(-first // factor)
        end = begin + 1
    if begin >= end:
        raise ValueError(
            f"{count} frames from frame {first} on cover no whole latent frame: it holds {factor} frames, from "
            f"{factor}k+1 on; start at {begin * factor - factor + 1} or take more frames"
        )
    free = torch.ones(samples.shape[0], 1, *samples.shape[2:]) if free is None else free.clone()
    if (free[:, :, begin:end] < 1).any():
        raise ValueError(f"frames {first}–{first + count - 1} overlap what is known already; place them elsewhere")

    start = first_frame(begin, factor)
    known = range(start, first_frame(end, factor))
    parts = list(encoder.stream(_padded(clip, start - first, len(known), begin, factor, held)))[-(end - begin) :]
    samples = samples.clone()
    samples[:, :, begin:end] = torch.cat(parts, dim=2)
    free[:, :, begin:end] = 1 - strength
    placed = {**latent, "samples": samples, "noise_mask": free, "encoder": encoder}
    if strength == 1:
        shown = range(first, first + 1) if held else known
        source = clip if len(shown) == count else Part(clip, shown.start - first, shown.stop - first)
        placed["shown"] = (*latent.get("shown", ()), Shown(shown.start, source))
        placed["timeline"] = timeline.with_source(spans_of(latent, factor), shown.start, shown.stop, source)
    return placed, known


def _padded(clip: Source, skip: int, count: int, begin: int, factor: int, held: bool) -> Iterator[Tensor]:
    """`count` frames of the clip after `skip`, behind a warm-up of their first unless they begin at 0."""
    skip = max(skip, 0)  # a held image is spread over its latent frame, which begins before it
    first = next(iter(clip.part(skip, skip + 1)))
    if begin:
        yield first.expand(1 + (min(begin, WARM_UP) - 1) * factor, -1, -1, -1)
    if held:
        yield first.expand(count, -1, -1, -1)
    else:
        yield from clip.part(skip, skip + count)


@dataclass(frozen=True)
class Part:
    """Frames `first` to `last` - 1 of a source."""

    source: Source
    first: int
    last: int

    @property
    def frame_count(self) -> int:
        return self.last - self.first

    @property
    def fps(self) -> Fraction:
        return self.source.fps

    def get_audio(self) -> dict | None:
        sound = self.source.get_audio()
        if sound is None:
            return None
        begin, end = (round(frame / self.fps * sound["sample_rate"]) for frame in (self.first, self.last))
        waveform = sound["waveform"][..., begin:end]
        return {**sound, "waveform": waveform} if waveform.shape[-1] else None

    def frames(self) -> Iterator[Tensor]:
        return self.source.part(self.first, self.last)

    def part(self, first: int, last: int) -> Iterator[Tensor]:
        return self.source.part(self.first + first, self.first + last)


def extend(
    clip: Source, forward: int, backward: int, encoder: Encoder, empty_of: Callable[[int], dict], context: int = 0
) -> dict:
    """A canvas that goes on from `clip` by so many frames each way (rounded to whole latent frames).

    The model sees `context` frames of the clip at the join (0: AUTO_CONTEXT latent frames), the video shows all of it.
    empty_of: latent frames → an empty LATENT of the clip's size.
    """
    factor, count = encoder.time_factor, clip.frame_count
    after, before = round(forward / factor), round(backward / factor)
    if after < 1 and before < 1:
        raise ValueError(f"nothing to extend by: at least {factor} frames, one latent frame, forward or backward")
    seen = context_cells(context, factor)
    if not before:
        seen = min(seen, (count - 1) // factor)
        kept = seen * factor + 1  # the first latent frame holds one frame alone
        latent, _ = place(empty_of(seen + 1 + after), Part(clip, count - kept, count), 0, encoder)
        return {**latent, "timeline": (Span(0, kept, clip), Span(kept, kept + after * factor))}
    if count < factor:
        raise ValueError(f"a clip of {count} frames is too short to extend backward; at least {factor} frames")
    new = 1 + before * factor  # the clip then begins with a latent frame
    seen = min(max(seen, 1), count // factor)
    if not after:
        latent, _ = place(empty_of(1 + before + seen), Part(clip, 0, seen * factor), new, encoder)
        return {**latent, "timeline": (Span(0, new), Span(new, new + seen * factor, clip))}
    # both ways: the model sees the beginning and the end of the clip; what lies between them it need not see
    head, tail = seen, min(seen, (count - seen * factor) // factor)
    kept = (head + tail) * factor
    latent, _ = place(empty_of(1 + before + head + tail + after), Part(clip, 0, head * factor), new, encoder)
    if tail:
        latent, _ = place(latent, Part(clip, count - tail * factor, count), new + head * factor, encoder)
    end = new + kept
    return {**latent, "timeline": (Span(0, new), Span(new, end, clip), Span(end, end + after * factor))}


def ring(latent: dict) -> dict:
    """A canvas of the same length whose end leads to its beginning: without the first latent frame, the one that holds
    a single frame and would be shown twice. Raises ValueError for an image, and where cells are known already."""
    samples, free = cells(latent)
    if samples.shape[2] < 3:
        raise ValueError(f"{samples.shape[2]} latent frames are too short for a loop; at least 3, about a second")
    if free is not None and (free < 1).any():
        raise ValueError("a loop made anew has no known frames; give Loop the clip to close instead")
    kept = {key: value for key, value in latent.items() if key not in CANVAS_KEYS}
    return {**kept, "samples": samples[:, :, 1:].clone(), "ring": True}


def unrolled(latent: dict) -> tuple[Tensor, int]:
    """What a causal VAE decodes of a ring [B, C, T, H, W]: its end once more as a run-up; and the run-up's length."""
    samples, _ = cells(latent)
    count = samples.shape[2]
    return samples[:, :, torch.arange(-RUN_UP, count) % count], RUN_UP


def close(clip: Source, new: int, encoder: Encoder, empty_of: Callable[[int], dict], context: int = 0) -> dict:
    """A canvas on which `new` frames (rounded to whole latent frames) lead from the clip's end to its beginning.

    An image becomes a clip that leaves it and comes back.
    """
    factor = encoder.time_factor
    beginning = clip if clip.frame_count >= factor else Held(clip, factor)
    latent = connect(clip, beginning, new, encoder, empty_of, context)
    *kept, last = latent["timeline"]
    return {**latent, "timeline": (*kept, replace(last, source=beginning, shown=False))}


@dataclass(frozen=True)
class Held:
    """The first frame of a source, so many times."""

    source: Source
    frame_count: int

    @property
    def fps(self) -> Fraction:
        return self.source.fps

    def get_audio(self) -> None:
        return None

    def frames(self) -> Iterator[Tensor]:
        return self.part(0, self.frame_count)

    def part(self, first: int, last: int) -> Iterator[Tensor]:
        yield next(iter(self.source.part(0, 1))).expand(last - first, -1, -1, -1)


def restyle(clip: Source, strength: float, encoder: Encoder, free: Region | None = None, feather: int = 0) -> dict:
    """The clip as a canvas that is sampled from a noise level, not from noise alone (SDEdit, Meng et al. 2022).

    strength 0 leaves the clip as it is, bit for bit, 1 nothing of it. free: only where it is above 0; None =
    everywhere. Frames beyond the last whole latent frame are left out.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength:g} can't be; it goes from 0 (the clip) to 1 (all new)")
    count = whole_frames(clip.frame_count, encoder.time_factor)
    samples = torch.cat(list(encoder.stream(clip.part(0, count))), dim=2)
    made = {"samples": samples, "denoise": strength, "heard": Part(clip, 0, count)}
    if strength == 0:
        kept = Span(0, count, Part(clip, 0, count))
        return {**made, "noise_mask": torch.zeros(1, 1, *samples.shape[2:]), "timeline": (kept,)}
    if free is None:
        return made
    free = _region(free, count)
    pixels = {"encoder": encoder, "shown": (Shown(0, Part(clip, 0, count), free),)}
    return {**made, **pixels, **_kept_outside(samples, clip, free, encoder.time_factor, feather)}


def whole_frames(count: int, factor: int) -> int:
    """The most of `count` frames that a causal VAE takes: factor·k + 1."""
    return (count - 1) // factor * factor + 1


def inpaint(clip: Source, free: Region, encoder: Encoder, feather: int = 0) -> dict:
    """The clip as a canvas of which the pixels where `free` is above 0 are made anew.

    The VAE sees the hole filled smoothly from around it, so that nothing of what stood there shows through. A cell is
    free where any of its pixels is. Within `feather` pixels of its border the hole blends into the clip; pixels outside
    come out bit for bit.
    """
    count = whole_frames(clip.frame_count, encoder.time_factor)
    free = _region(free, count)

    def filled() -> Iterator[Tensor]:
        at = 0
        for chunk in clip.part(0, count):
            known = 1 - free[at : at + len(chunk)].stacked()[:, None]
            picture = timeline.spread(chunk.permute(0, 3, 1, 2) * known, known)
            yield torch.where(known > 0, chunk.permute(0, 3, 1, 2), picture).permute(0, 2, 3, 1)
            at += len(chunk)

    samples = torch.cat(list(encoder.stream(filled())), dim=2)
    pixels = {"encoder": encoder, "shown": (Shown(0, Part(clip, 0, count), free),)}
    return {"samples": samples, **pixels, **_kept_outside(samples, clip, free, encoder.time_factor, feather)}


def _region(free: Region, count: int) -> Region:
    """Of the first `count` frames, 1 where a pixel is made anew."""
    free = free[:count].map(lambda pictures: (pictures > 0).float())
    if not free.any():
        raise ValueError(
            "the region to make anew is empty; a box inside the picture and a span inside the clip would do"
        )
    return free


def _kept_outside(samples: Tensor, clip: Source, free: Region, factor: int, feather: int) -> dict:
    """The mask of cells and the timeline that keep every pixel of the clip where `free` is 0."""
    space, count = free.pictures.shape[-1] // samples.shape[-1], len(free)
    by_cell = free.map(lambda pictures: max_pool2d(pictures[:, None], space)[:, 0]).stacked()  # F H W
    groups = torch.cat([by_cell[:1], by_cell[1:].unflatten(0, (-1, factor)).amax(1)]) if count > 1 else by_cell

    def feathered(pictures: Tensor) -> Tensor:  # a box blur is a half at the border and whole `feather` pixels inside
        padded = pad(pictures[:, None], [feather] * 4, mode="replicate")
        return (2 * avg_pool2d(padded, 2 * feather + 1, stride=1)[:, 0] - 1).clamp(0, 1) * pictures

    free = free.map(feathered) if feather else free
    return {"noise_mask": groups[None, None], "timeline": (Span(0, count, Part(clip, 0, count), free),)}


def connect(
    left: Source, right: Source, between: int, encoder: Encoder, empty_of: Callable[[int], dict], context: int = 0
) -> dict:
    """A canvas on which `between` new frames (rounded to whole latent frames) lead from `left` to `right`."""
    factor = encoder.time_factor
    new = max(1, round(between / factor))
    seen = context_cells(context, factor)
    head = min(seen, (left.frame_count - 1) // factor)
    tail = min(seen, right.frame_count // factor)
    if not tail:
        raise ValueError(f"the clip to lead to has {right.frame_count} frames; at least {factor}, one latent frame")
    kept, end = head * factor + 1, (head + new) * factor + 1
    latent = empty_of(head + 1 + new + tail)
    latent, _ = place(latent, Part(left, left.frame_count - kept, left.frame_count), 0, encoder)
    latent, _ = place(latent, Part(right, 0, tail * factor), end, encoder)
    spans = (Span(0, kept, left), Span(kept, end), Span(end, end + tail * factor, right))
    return {**latent, "timeline": spans}
