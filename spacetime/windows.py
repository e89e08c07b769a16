"""A canvas longer or larger than the model was trained for, seen part by part; and a ring, seen past its seam.

In time there are two ways. Autoregressive: stretches are finished one after another, each knowing the last cells of
the one before. Overlapping: windows over the whole canvas take every step together and are blended where they overlap
(MultiDiffusion, Bar-Tal et al. 2023), as it is always done in space.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .grid import AUTO_CONTEXT
from .names import WINDOWS

LENIENCE = 1.25  # a canvas so much larger than what a model was trained for still does best whole
RING_PAD = 2  # latent frames that a ring is seen past its seam on each side


@dataclass(frozen=True)
class Windows:
    """How a canvas [T, H, W] is seen. `length` latent frames at a time, `shared` of them with the last window; in space
    `tile` cells a side, `lap` of them shared. A canvas that is no larger is seen whole."""

    autoregressive: bool
    length: int
    shared: int
    tile: int
    lap: int

    def stretches(self, count: int) -> int:
        """How many windows in time a canvas of `count` latent frames takes."""
        return 1 if count <= self.length else 1 + math.ceil((count - self.length) / (self.length - self.shared))

    def described(self, shape: tuple[int, int, int]) -> str:
        """In words for the user; '' where the canvas [T, H, W] is seen whole."""
        count, rows, columns = shape
        said = []
        if count > self.length:
            order = "one after another" if self.autoregressive else "blended at every step"
            said.append(
                f"{self.stretches(count)} windows of {self.length} latent frames, {self.shared} shared, {order}"
            )
        if max(rows, columns) > self.tile:
            tiles = len(_starts(rows, self.tile, self.lap)) * len(_starts(columns, self.tile, self.lap))
            said.append(f"{tiles} tiles of {self.tile}×{self.tile} cells, {self.lap} shared, blended at every step")
        return "; ".join(said)


WHOLE = Windows(autoregressive=False, length=2**30, shared=1, tile=2**30, lap=1)


def choose(
    shape: tuple[int, int, int], trained: tuple[int, int, int], patch: tuple[int, int, int], per_token_time: bool,
    mode: str = "auto", length: int = 0, shared: int = 0,
) -> Windows:  # fmt: skip
    """Windows for a canvas [T, H, W] and a model trained up to `trained` [T, H, W].

    length, shared: latent frames; 0 chooses. auto: whole where it fits, else autoregressive where the model can know
    cells clean (per_token_time), else overlapping. Raises ValueError where the numbers can't be.
    """
    if mode not in WINDOWS:
        raise ValueError(f"windows {mode!r} can't be; one of {', '.join(WINDOWS)}")
    if length and length <= shared:
        raise ValueError(f"windows of {length} latent frames can't share {shared}; share fewer")
    most = trained[0]
    whole = mode == "whole" or (mode == "auto" and shape[0] <= most * LENIENCE and not length)
    length = shape[0] if whole else length or most
    shared = min(shared or AUTO_CONTEXT, length - 1)
    side = max(trained[1:])
    tile = max(shape[1:]) if mode == "whole" or max(shape[1:]) <= side * LENIENCE else side
    lap = max(tile // 4 // patch[1] * patch[1], patch[1])
    autoregressive = mode == "autoregressive" or (mode != "overlapping" and per_token_time)
    return Windows(autoregressive, length, shared, tile, lap)


@dataclass(frozen=True)
class Stretch:
    """Latent frames `first` to `last` - 1, sampled together; those before `keep` only lead in and are thrown away."""

    first: int
    last: int
    keep: int


def stretches(windows: Windows, count: int, known: list[bool]) -> Iterator[Stretch]:
    """The stretches of a canvas of `count` latent frames in the order in which they are sampled.

    known: which latent frames have known cells. The first stretch begins at the first of them, and the others go on
    from there to the end, then to the beginning.
    """
    if count <= windows.length or not windows.autoregressive:
        yield Stretch(0, count, 0)
        return
    begin = next((i for i, is_known in enumerate(known) if is_known), 0)
    begin = 0 if begin < windows.length else min(begin, count - windows.length)
    end = begin + windows.length
    yield Stretch(begin, end, begin)
    while end < count:
        first, end = end - windows.shared, min(end - windows.shared + windows.length, count)
        first = min(first, count - windows.length)  # the last one is as long as the others and knows more
        yield Stretch(first, end, first)
    while begin > 0:
        last = begin + windows.shared
        first = max(0, last - windows.length)
        # what begins a window, a model takes for a frame of its own: amid a canvas that cell is only a lead-in
        keep = first + 1 if first else 0
        yield Stretch(first, last, keep)
        begin = keep


@dataclass(frozen=True)
class View:
    """Part of a canvas as the model is shown it. Indices along T, H and W; they may wrap.

    weight [t, h, w]: how much its prediction counts in each cell, among others that see it; None = it alone, all of it.
    """

    frames: Tensor
    rows: Tensor
    columns: Tensor
    weight: Tensor | None = None

    def of(self, x: Tensor | None) -> Tensor | None:
        """x [B, C, T, H, W] → [B, C, t, h, w]."""
        if x is None or self.weight is None:
            return x
        return x.index_select(2, self.frames).index_select(3, self.rows).index_select(4, self.columns)

    def add(self, total: Tensor, part: Tensor) -> None:
        """total [B, C, T, H, W] += part [B, C, t, h, w], cell by cell."""
        places = torch.meshgrid(self.frames, self.rows, self.columns, indexing="ij")
        flat = (places[0] * total.shape[3] + places[1]) * total.shape[4] + places[2]
        total.flatten(2).index_add_(2, flat.flatten(), part.flatten(2))


def views(windows: Windows, shape: tuple[int, int, int], ring: bool, step: int, device: torch.device) -> list[View]:
    """The views of a canvas [T, H, W] at one step. ring: time has no beginning; each step cuts it elsewhere."""
    frames = _ring(windows, shape[0], step) if ring else _line(windows, shape[0])
    rows, columns = (_tiles(size, windows.tile, windows.lap) for size in shape[1:])
    alone = len(frames) * len(rows) * len(columns) == 1 and not ring
    found = []
    for t, t_weight in frames:
        for h, h_weight in rows:
            for w, w_weight in columns:
                weight = t_weight[:, None, None] * h_weight[:, None] * w_weight
                found.append(View(*(i.to(device) for i in (t, h, w)), None if alone else weight.to(device)))
    return found


def _line(windows: Windows, count: int) -> list[tuple[Tensor, Tensor]]:
    """Windows in time. The first cell of one amid the canvas is seen but doesn't count: the model takes it for a frame
    of its own."""
    found = []
    starts = [0] if windows.autoregressive else _starts(count, windows.length, windows.shared)
    length = count if windows.autoregressive else min(count, windows.length)
    for start in starts:
        weight = torch.ones(length)
        if start:
            weight[: windows.shared] = torch.arange(windows.shared) / windows.shared
        if start + length < count:
            weight[length - windows.shared :] = 1 - torch.arange(windows.shared) / windows.shared
        found.append((torch.arange(start, start + length), weight))
    return found


def _ring(windows: Windows, count: int, step: int) -> list[tuple[Tensor, Tensor]]:
    pad = min(RING_PAD, count)
    around = count + 2 * pad
    begin = step * (1 + count // 2)
    if around <= max(windows.length, math.ceil(windows.length * LENIENCE)):
        weight = torch.zeros(around)
        weight[pad : pad + count] = 1
        return [((torch.arange(around) + begin - pad) % count, weight)]
    length, shared = min(windows.length, around), min(windows.shared, windows.length - 1)
    pieces = math.ceil(count / (length - shared))
    weight = torch.cat([torch.arange(shared) / shared, torch.ones(length - shared)])
    starts = [begin + round(i * count / pieces) for i in range(pieces)]
    return [((torch.arange(length) + start) % count, weight) for start in starts]


def _tiles(size: int, tile: int, lap: int) -> list[tuple[Tensor, Tensor]]:
    length, found = min(size, tile), []
    for start in _starts(size, length, lap):
        weight, ramp = torch.ones(length), (torch.arange(lap) + 0.5) / lap
        if start:
            weight[:lap] = ramp
        if start + length < size:
            weight[length - lap :] = ramp.flip(0)
        found.append((torch.arange(start, start + length), weight))
    return found


def _starts(size: int, length: int, shared: int) -> list[int]:
    """Where windows of `length` begin so that they cover `size` and share at least `shared`; the last lies flush."""
    return [0] if size <= length else [*range(0, size - length, length - shared), size - length]
