"""What a finished video shows when: stretches of the canvas, and between them the user's own frames, bit for bit.

The model only sees the canvas. A source stands for the known cells made from it, and may be longer than they are: of a
long clip the model sees the last second, the video shows the whole.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from .region import Region

FADE = 8  # frames over which what the VAE lost at a join fades out
COARSE = 8  # pixels a side over which that loss is averaged: colour is handed on, edges that move away aren't
MOST_LOST = 0.12  # of 0..1: where more differs, something stands elsewhere, and handing it on would draw its ghost
STILL, NEAR = 0.03, 5  # where the picture within so many pixels changes by less, detail is handed on too


class Source(Protocol):
    frame_count: int
    fps: Fraction

    def frames(self) -> Iterator[Tensor]:
        """Chunks [n, height, width, 3] in 0..1."""
        ...

    def part(self, first: int, last: int) -> Iterator[Tensor]:
        """Frames `first` to `last` - 1."""
        ...

    def get_audio(self) -> dict | None:
        """ComfyUI's: {"waveform": [1, channels, samples], "sample_rate"}."""
        ...


@dataclass(frozen=True)
class Span:
    """Canvas frames `first` to `last` - 1; where there is a source, the video shows its frames instead.

    free: how far each pixel is the canvas's after all: 0 the source's, 1 the canvas's.
    shown: False for a source that only says where the video leads, such as a loop's own beginning.
    """

    first: int
    last: int
    source: Source | None = None
    free: Region | None = None
    shown: bool = True

    @property
    def frame_count(self) -> int:
        if not self.shown:
            return 0
        return self.source.frame_count if self.source else self.last - self.first


def frame_count(spans: Iterable[Span]) -> int:
    return sum(span.frame_count for span in spans)


def whole(frames: int) -> tuple[Span, ...]:
    """A canvas of so many frames, all shown as decoded."""
    return (Span(0, frames),)


def canvas_frame(spans: Iterable[Span], frame: int) -> int:
    """The canvas frame that the video shows as its frame `frame`.

    Raises ValueError where the video has no such frame, and within a source of which the canvas holds a part only.
    """
    spans, begin = tuple(spans), 0
    for span in spans:
        end = begin + span.frame_count
        if begin <= frame < end:
            if span.source and span.frame_count != span.last - span.first:
                raise ValueError(f"frame {frame} lies in the clip, which the video shows as frames {begin}–{end - 1}")
            return span.first + frame - begin
        begin = end
    raise ValueError(f"frame {frame} doesn't lie in a video of {begin} frames (0–{begin - 1})")


def times(spans: Iterable[Span], rate: float) -> list[float]:
    """The second of the video at which each canvas frame stands.

    Of a source longer than its part of the canvas, that part counts as the source's beginning.
    """
    found: list[float] = []
    begin = 0
    for span in spans:
        last = max(span.frame_count - 1, 0)
        found += [(begin + min(index, last)) / rate for index in range(span.last - span.first)]
        begin += span.frame_count
    return found


def with_source(spans: tuple[Span, ...], first: int, last: int, source: Source) -> tuple[Span, ...]:
    """`spans` with canvas frames `first` to `last` - 1 given over to a source.

    Raises ValueError where another source stands there already.
    """
    cut: list[Span] = []
    for span in spans:
        if span.last <= first or span.first >= last:
            cut.append(span)
            continue
        if span.source:
            raise ValueError(f"frames {first}–{last - 1} overlap {span.first}–{span.last - 1}, which are already known")
        if span.first < first:
            cut.append(Span(span.first, first))
        if span.first <= first:
            cut.append(Span(first, last, source))
        if span.last > last:
            cut.append(Span(last, span.last))
    return tuple(cut)


def assemble(canvas: Iterable[Tensor], spans: tuple[Span, ...], fade: int = FADE) -> Iterator[Tensor]:
    """Decoded canvas chunks [n, height, width, 3] → the video, chunk by chunk; at most `fade` frames are held back.

    Free frames next to a source take on what the VAE lost of it (`Loss`), fading out over `fade` frames.
    """
    frames = (frame for chunk in canvas for frame in chunk)
    lost = None  # at the last join
    for at, span in enumerate(spans):
        following = spans[at + 1].source if at + 1 < len(spans) else None
        if span.free is not None:
            for decoded, kept, free in zip(frames, _frames_of(span.source), span.free, strict=False):
                yield _composite(decoded, kept, free)[None]
            lost = None
        elif not span.shown:
            return
        elif span.source:
            lost = yield from _shown(span, frames)
        else:
            held: deque[tuple[int, Tensor]] = deque()  # decoded; what comes next tells how they are mended
            for index in range(span.last - span.first):
                held.append((index, next(frames)))
                if following is None or len(held) > fade:
                    index, frame = held.popleft()
                    yield _mended(frame, (lost, index), fade=fade)[None]
            if not held:
                continue
            # the source's first frame, as decoded, says what the VAE loses there
            decoded = next(frames)
            frames = _chain(decoded, frames)
            before = Loss.of(next(following.frames())[0], decoded)
            for index, frame in held:
                yield _mended(frame, (lost, index), (before, span.last - span.first - 1 - index), fade=fade)[None]


def _shown(span: Span, frames: Iterator[Tensor]):
    """Yields the source, walks the canvas past it, and returns what was lost at its last frame."""
    decoded = None
    for _ in range(span.last - span.first):
        decoded = next(frames)
    chunk = None
    for chunk in span.source.frames():
        yield chunk
    return None if chunk is None or decoded is None else Loss.of(chunk[-1], decoded)


def _frames_of(source: Source) -> Iterator[Tensor]:
    return (frame for chunk in source.frames() for frame in chunk)


def _composite(decoded: Tensor, kept: Tensor, free: Tensor) -> Tensor:
    """Kept pixels bit for bit; the others as decoded, given what the VAE lost of colour and light around them."""
    known = (free == 0).float()
    lost = ((kept - decoded) * known[..., None]).permute(2, 0, 1)[None]
    blocks, weight = (avg_pool2d(x, COARSE, ceil_mode=True, count_include_pad=False) for x in (lost, known[None, None]))
    lost = interpolate(spread(blocks, weight), size=decoded.shape[:2], mode="bilinear")[0].permute(1, 2, 0)
    mixed = torch.lerp(kept, (decoded + lost).clamp(0, 1), free[..., None])
    return torch.where(known[..., None] > 0, kept, mixed)


def spread(values: Tensor, weight: Tensor) -> Tensor:
    """Fills what is unknown from around it, coarse to fine (push-pull, Gortler et al. 1996).

    values [n, c, h, w], already times weight [n, 1, h, w], which is 0 where nothing is known and 1 where all is.
    """
    if max(values.shape[-2:]) == 1 or weight.min() >= 1:
        return values / weight.clamp(min=1e-6)
    half = [avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (values, weight)]
    return values + (1 - weight) * interpolate(spread(*half), size=values.shape[-2:], mode="bilinear")


@dataclass(frozen=True)
class Loss:
    """What the VAE lost of a source's frame at a join; all are [height, width, 3].

    coarse: colour and light, averaged over blocks, 0 where something stands elsewhere, and smooth between them.
    detail: the rest of it, for where the picture stands still.
    """

    decoded: Tensor
    coarse: Tensor
    detail: Tensor

    @classmethod
    def of(cls, shown: Tensor, decoded: Tensor) -> "Loss":
        planes = (shown - decoded).permute(2, 0, 1)[None]
        blocks = avg_pool2d(planes, COARSE, ceil_mode=True, count_include_pad=False)
        blocks = blocks * (blocks.abs().amax(1, keepdim=True) <= MOST_LOST)
        coarse = interpolate(blocks, size=planes.shape[-2:], mode="bilinear")
        detail = (planes - coarse) * (_around(planes) <= MOST_LOST)
        return cls(decoded, *(x[0].permute(1, 2, 0) for x in (coarse, detail)))

    def mend(self, frame: Tensor) -> Tensor:
        """What to add to a decoded frame so that it goes on from the source."""
        moved = _around((frame - self.decoded).permute(2, 0, 1)[None])[0, 0]
        return self.coarse + self.detail * (1 - moved / STILL).clamp(min=0)[..., None]


def _mended(frame: Tensor, *joins: tuple[Loss | None, int], fade: int) -> Tensor:
    """joins: what was lost there, and how many frames from it, counted from 0. Between two that are near, each counts
    less."""
    parts = [(1 - (distance + 1) / (fade + 1), lost) for lost, distance in joins if lost and distance < fade]
    if not parts:
        return frame
    most = max(1.0, sum(weight for weight, _ in parts))
    return (frame + sum(weight / most * lost.mend(frame) for weight, lost in parts)).clamp(0, 1)


def _around(planes: Tensor) -> Tensor:
    """How far planes [1, 3, h, w] are from 0 within NEAR pixels, on average: [1, 1, h, w]."""
    return avg_pool2d(planes.abs().amax(1, keepdim=True), NEAR, 1, NEAR // 2, count_include_pad=False)


def _chain(first: Tensor, rest: Iterator[Tensor]) -> Iterator[Tensor]:
    yield first
    yield from rest
