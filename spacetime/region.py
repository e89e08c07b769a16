"""Which pixels of a clip are made anew: masks, 1 = anew, in space and over a span of seconds."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Region:
    """How far each pixel of a clip is made anew, 0..1, frame by frame. What many frames share is held once.

    pictures [k, height, width]; of [F]: which of them is each frame's.
    """

    pictures: Tensor
    of: Tensor

    @classmethod
    def of_frames(cls, free: Tensor, frames: int) -> "Region":
        """free [1 or F, height, width]: one picture for all frames, or one a frame."""
        return cls(free, torch.arange(frames) if len(free) > 1 else torch.zeros(frames, dtype=torch.long))

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, at):
        """Of a frame its picture [height, width]; of a slice of frames their part."""
        return Region(self.pictures, self.of[at]) if isinstance(at, slice) else self.pictures[self.of[at]]

    def stacked(self) -> Tensor:
        """[F, height, width]"""
        return self.pictures[self.of]

    def map(self, change: Callable[[Tensor], Tensor]) -> "Region":
        """With other pictures; change: [k, height, width] → the same of another size or content."""
        return Region(change(self.pictures), self.of)

    def any(self) -> bool:
        return bool((self.pictures[self.of.unique()] > 0).any())


def box(picture_width: int, picture_height: int, x: float, y: float, width: float, height: float) -> Tensor:
    """[1, height, width], 1 inside a box given in shares of the picture."""
    free = torch.zeros(1, picture_height, picture_width)
    rows, columns = (
        slice(round(low * size), max(round(low * size) + 1, round((low + extent) * size)))
        for low, extent, size in ((y, height, picture_height), (x, width, picture_width))
    )
    free[:, rows, columns] = 1
    return free


def border(width: int, height: int, left: int, top: int, right: int, bottom: int) -> Tensor:
    """[1, height, width], 1 in the strips that were added around a clip."""
    free = torch.ones(1, height, width)
    free[:, top : height - bottom, left : width - right] = 0
    return free


def during(free: Tensor, frames: int, start: float, end: float, rate: float) -> Region:
    """free [1 or F, height, width] → a region of F frames, 0 outside the span.

    Raises ValueError where the span isn't one of the clip's.
    """
    first, last = round(start * rate), round(end * rate) if end else frames
    if not 0 <= first < last <= frames:
        seconds = frames / rate
        raise ValueError(f"{start:g}–{end:g} s is no span of a clip of {seconds:g} s; start before end, both inside it")
    region = Region.of_frames(free, frames)
    if last - first < frames:
        region.of[:first], region.of[last:] = len(free), len(free)
        region = Region(torch.cat([free, torch.zeros_like(free[:1])]), region.of)
    return region
