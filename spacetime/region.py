"""Which pixels of a clip are made anew: masks, 1 = anew, in space and over a span of seconds."""

import torch
from torch import Tensor


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


def during(free: Tensor, frames: int, start: float, end: float, rate: float) -> Tensor:
    """free [1 or F, height, width] → [F, height, width], 0 outside the span."""
    first, last = round(start * rate), round(end * rate) if end else frames
    if not 0 <= first < last <= frames:
        seconds = frames / rate
        raise ValueError(f"{start:g}–{end:g} s is no span of a clip of {seconds:g} s; start before end, both inside it")
    free = free.expand(frames, -1, -1).clone()
    free[:first], free[last:] = 0, 0
    return free
