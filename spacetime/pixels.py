"""Known cells as pixels, for models that were trained to take them so: blanks in middle gray, encoded as one video."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from .grid import frames_of
from .region import Region

GRAY = 0.5  # 0 in the -1..1 of every VAE


@dataclass(frozen=True)
class Shown:
    """From canvas frame `first` on a source's frames are known; free: but for these pixels."""

    first: int
    source: object
    free: Region | None = None


@dataclass(frozen=True)
class Pixels:
    """What is known of a canvas of F frames.

    frames: chunks [1, height, width, 3] in 0..1, gray where nothing is known; holes: for each, where that is,
    [height or 1, width or 1, 1]; mask [F, H, W]: 1 where a cell's frame is known; encode: such chunks → raw latents
    [1, C, 1, H, W].
    """

    frames: Callable[[], Iterator[Tensor]]
    holes: Callable[[], Iterator[Tensor]]
    mask: Tensor
    encode: Callable[[Iterable[Tensor]], Iterator[Tensor]]


def pixels_of(latent: dict, free: Tensor | None) -> Pixels | None:
    """None where pixels haven't come with the latent, or no longer are those of its known cells [B, 1, T, H, W]."""
    encoder, shown = latent.get("encoder"), latent.get("shown", ())
    if encoder is None or latent.get("ring"):
        return None
    frames, (height, width) = frames_of(latent["samples"].shape[2], encoder.time_factor), latent["samples"].shape[3:]
    mask = torch.zeros(frames, height, width)
    for part in shown:
        if part.first + part.source.frame_count > frames:
            return None
        region = 1.0 if part.free is None else _uncovered(part.free, width)
        mask[part.first : part.first + part.source.frame_count] = region
    known = torch.zeros_like(mask[:1]) if free is None else (free[0, 0] == 0).float()
    by_cell = [mask[:1].expand(encoder.time_factor, -1, -1)[None], mask[1:].unflatten(0, (-1, encoder.time_factor))]
    by_cell = torch.cat(by_cell if frames > 1 else by_cell[:1])  # T, time_factor, H, W
    if (by_cell.amin(1) > known).any() or (by_cell.amax(1) < known).any():  # another node has cut or filled it since
        return None
    size = height * encoder.space_factor, width * encoder.space_factor
    return Pixels(lambda: drawn(shown, frames, size), lambda: _holes(shown, frames), mask, encoder.stream)


def _uncovered(free: Region, width: int) -> Tensor:
    """[F, H, W], 1 where no pixel of a cell is made anew; width: of the picture in cells."""
    return 1 - free.map(lambda pictures: max_pool2d(pictures[:, None], pictures.shape[-1] // width)[:, 0]).stacked()


def drawn(shown: Iterable[Shown], count: int, size: tuple[int, int], blank: float = GRAY) -> Iterator[Tensor]:
    """`count` frames of a canvas of `size` (height, width), one a chunk, `blank` where nothing is shown."""
    blank, at = torch.full((1, *size, 3), blank), 0
    for part in sorted(shown, key=lambda part: part.first):
        for _ in range(at, part.first):
            yield blank
        at = part.first
        for frame in (frame[None] for chunk in part.source.frames() for frame in chunk):
            yield frame if part.free is None else torch.where(part.free[at - part.first][..., None] > 0, GRAY, frame)
            at += 1
    for _ in range(at, count):
        yield blank


def _holes(shown: Iterable[Shown], count: int) -> Iterator[Tensor]:
    known = {part.first + i: (part, i) for part in shown for i in range(part.source.frame_count)}
    whole, none = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    for at in range(count):
        part, i = known.get(at, (None, 0))
        yield whole if part is None else none if part.free is None else part.free[i][..., None]
