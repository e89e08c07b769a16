"""Pictures of one frame after the first, which LTX-Video 0.9.5 and later and LTX-2 take as tokens of their own."""

from ...spacetime.grid import first_frame
from ...spacetime.model import Beside


def keyframes(known, factor: int) -> Beside | None:
    """channels [B, C + 1, T, H, W]: pictures, each encoded by itself, at their cells; and which of a cell's frames one
    is, from 1 on."""
    import torch

    cells = {} if known.pixels is None else pictures(known, factor)
    if not cells:
        return None
    channels, free = torch.zeros_like(torch.cat([known.cells, known.free], dim=1)), known.free.clone()
    for i, frame in enumerate(known.pixels.frames()):
        if cell := cells.get(i):
            channels[:, :-1, cell] = next(iter(known.pixels.encode([frame]))).to(channels)[:, :, 0]
            channels[:, -1, cell] = i - first_frame(cell, factor) + 1
            free[:, :, cell] = 1
    return Beside(channels, free=free if (free < 1).any() else None)


def pictures(known, factor: int) -> dict[int, int]:
    """frame → cell of the cells after the first of which one frame is known and no other."""
    whole, some = known.pixels.mask.flatten(1).amin(1) == 1, known.pixels.mask.flatten(1).amax(1) > 0
    found = {}
    for cell in range(1, known.cells.shape[2]):
        begin = first_frame(cell, factor)
        shown = some[begin : begin + factor].nonzero()[:, 0].tolist()
        if len(shown) == 1 and whole[begin + shown[0]] and not known.free[:, :, cell].any():
            found[begin + shown[0]] = cell
    return found
