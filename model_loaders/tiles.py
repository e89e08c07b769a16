"""Pictures too large for a VAE that streams: tile by tile, each through the whole clip, put together from the disk.

What such a VAE remembers of earlier frames is half of what it holds, and is a tile's own: so one tile is seen through
to the end before the next. Their pixels wait in files without a name, which go whatever happens.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from math import prod

from ..spacetime.cost import readable

SHARED = 4  # neighbours share at least a quarter of a tile


def spans(size: int, tile: int, scale: int = 1) -> list:
    """(begin, end, weight [(end - begin)·scale]) of tiles along a side of `size` cells; the weights add up to 1."""
    import torch

    from ..spacetime.views import tiles

    total, found = torch.zeros(size * scale), tiles(size * scale, tile * scale, tile // SHARED * scale)
    for at, weight in found:
        total[at] += weight
    return [(int(at[0]) // scale, int(at[-1]) // scale + 1, weight / total[at]) for at, weight in found]


def decoded(decode: Callable, latent, tile: int, scale: int, folder) -> Iterator:
    """latent [1, C, T, H, W]; decode(part of it) → chunks [n, h·scale, w·scale, 3] → the same of the whole picture.

    tile: cells a side; folder: for the files. Raises OSError in one line where the disk is full.
    """
    import torch

    height, width = latent.shape[3] * scale, latent.shape[4] * scale
    places = _places(latent.shape[3:], tile, scale)
    with ExitStack() as stack:
        files = [stack.enter_context(_file(folder)) for _ in places]
        for (top, bottom, _, left, right, _), file in zip(places, files, strict=True):
            counts = []
            for chunk in decode(latent[..., top:bottom, left:right]):
                counts.append(len(chunk))
                _write(file, chunk, folder)
            file.seek(0)
        for count in counts:
            whole = torch.zeros(count, height, width, 3)
            for (top, bottom, rows, left, right, columns), file in zip(places, files, strict=True):
                part = _read(file, count, (bottom - top) * scale, (right - left) * scale)
                part *= rows[:, None, None] * columns[:, None]
                whole[:, top * scale : bottom * scale, left * scale : right * scale] += part
            yield whole


def encoded(encode: Callable, frames: Iterable, tile: int, scale: int, folder) -> Iterator:
    """frames: chunks [n, H, W, 3]; encode(such chunks) → latents [1, C, 1, h, w] → the same of the whole picture."""
    import torch

    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[1:3]
    places = _places((height // scale, width // scale), tile, 1)
    with ExitStack() as stack:
        files, counts = [stack.enter_context(_file(folder)) for _ in places], []
        for chunk in chain([first], frames):
            counts.append(len(chunk))
            for (top, bottom, _, left, right, _), file in zip(places, files, strict=True):
                _write(file, chunk[:, top * scale : bottom * scale, left * scale : right * scale], folder)

        whole = None
        for (top, bottom, rows, left, right, columns), file in zip(places, files, strict=True):
            file.seek(0)
            sides = (bottom - top) * scale, (right - left) * scale
            part = torch.cat(list(encode(_read(file, count, *sides) for count in counts)), 2)
            if whole is None:
                whole = part.new_zeros(*part.shape[:3], height // scale, width // scale)
            whole[..., top:bottom, left:right] += part * rows[:, None] * columns
        yield from whole.split(1, dim=2)


def _places(cells, tile: int, scale: int) -> list[tuple]:
    rows, columns = (spans(size, tile, scale) for size in cells)
    return [(*row, *column) for row in rows for column in columns]


def _file(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


def _write(file, chunk, folder):
    try:
        chunk.float().contiguous().numpy().tofile(file)
    except OSError as error:
        size = readable(chunk.numel() * 4)
        raise OSError(f"tiles wait in {folder}, which takes no {size} more ({error}); make room there") from error


def _read(file, *shape: int):
    """A chunk of `shape` frames, height, width."""
    import numpy as np
    import torch

    return torch.from_numpy(np.fromfile(file, np.float32, prod(shape) * 3).reshape(*shape, 3))
