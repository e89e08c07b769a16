"""What the model is shown of a canvas at one step, and how its predictions become one: windows, tiles and rings."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .windows import RING_PAD, Windows, window_starts


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


def views(
    windows: Windows, shape: tuple[int, int, int], ring: bool, step: int, device: torch.device, intro: int = 0
) -> list[View]:
    """The views of a canvas [T, H, W] at one step. ring: time has no beginning; each step cuts it elsewhere. intro:
    the first latent frames, which are no part of the video and which every view begins with."""
    frames = _ring(windows, shape[0] - intro, step) if ring else _line(windows, shape[0] - intro)
    if intro:
        ahead = torch.arange(intro)
        frames = [(torch.cat([ahead, i + intro]), torch.cat([torch.ones(intro), weight])) for i, weight in frames]
    rows, columns = (tiles(size, windows.tile, windows.lap) for size in shape[1:])
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
    begins = [0] if windows.autoregressive else window_starts(count, windows.length, windows.shared)
    length = count if windows.autoregressive else min(count, windows.length)
    for start in begins:
        weight = torch.ones(length)
        if start:
            weight[: windows.shared] = torch.arange(windows.shared) / windows.shared
        if start + length < count:
            weight[length - windows.shared :] = 1 - torch.arange(windows.shared) / windows.shared
        found.append((torch.arange(start, start + length), weight))
    return found


def _ring(windows: Windows, count: int, step: int) -> list[tuple[Tensor, Tensor]]:
    pad, begin, (pieces, length) = min(RING_PAD, count), step * (1 + count // 2), windows.around(count)
    if length == count + 2 * pad:
        weight = torch.zeros(length)
        weight[pad : pad + count] = 1
        return [((torch.arange(length) + begin - pad) % count, weight)]
    shared = min(windows.shared, windows.length - 1)
    weight = torch.cat([torch.arange(shared) / shared, torch.ones(length - shared)])
    begins = [begin + round(i * count / pieces) for i in range(pieces)]
    return [((torch.arange(length) + start) % count, weight) for start in begins]


def tiles(size: int, tile: int, lap: int) -> list[tuple[Tensor, Tensor]]:
    """Along a side of `size`: where each tile lies, and how much it counts there beside its neighbours."""
    length, found = min(size, tile), []
    for start in window_starts(size, length, lap):
        weight, ramp = torch.ones(length), (torch.arange(lap) + 0.5) / lap
        if start:
            weight[:lap] = ramp
        if start + length < size:
            weight[length - lap :] = ramp.flip(0)
        found.append((torch.arange(start, start + length), weight))
    return found
