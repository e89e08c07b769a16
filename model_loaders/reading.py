"""From bytes of files to tensors.

With plain reads, not mapped: a file that is cut short or replaced while in use is an error, not the end of the process.
A few threads read them before they are needed: one alone is slower than the memory, and than a disk that likes to be
asked for several things at once.
"""

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from mmap import PAGESIZE
from pathlib import Path
from queue import SimpleQueue

from .checkpoint import CheckpointError
from .gguf import is_packed, unpacked
from .single_file import Piece

THREADS = min(4, os.cpu_count() or 1)
BATCH = 8 << 20  # bytes that a thread reads before it hands them over: biases are not worth a word each
STEP = 1 << 20  # bytes of memory that are made ready and filled at a time: they are in the processor's cache then
MADV_POPULATE_WRITE = 23  # Linux 5.14
TORCH_NAMES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"},
    **{"I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}


def read(piece: Piece, open_file, dtype, device, data=None):
    """The tensor itself, in `dtype` on `device`. data: its bytes, where they have been read."""
    import torch

    first = torch.float32 if piece.changes else dtype  # LoRAs are added in full precision, then rounded once
    data = raw(piece, open_file) if data is None else data
    if is_packed(piece.dtype):
        tensor = unpacked(data.to(device), piece.dtype, piece.shape).to(first)
    else:
        tensor = data.view(getattr(torch, TORCH_NAMES[piece.dtype])).reshape(piece.shape).to(device, first)
    if piece.scale is not None:
        scale = read(piece.scale, open_file, torch.float32, device)
        tensor = (tensor.float() * scale.reshape(-1, *[1] * (tensor.ndim - 1))).to(first)
    for change in piece.changes:
        tensor = change(tensor)
    return tensor.to(dtype)


def raw(piece: Piece, open_file):
    """The tensor's bytes [n]. `open_file`: the piece's file, opened for reading bytes."""
    import torch

    data = torch.empty(sum(end - begin for begin, end in piece.spans), dtype=torch.uint8)
    view, at = memoryview(data.numpy()), 0
    for begin, end in piece.spans:
        open_file.seek(begin)
        for step in range(begin, end, STEP):
            size = min(STEP, end - step)
            _populate(data.data_ptr() + at, size)
            if open_file.readinto(view[at : at + size]) != size:
                raise CheckpointError(
                    f"{piece.file.name} was cut short while it was read; is it still being downloaded?"
                )
            at += size
    return data


def _populate(address: int, size: int):
    """All pages of new memory at once. Otherwise each of 4 KB is a fault in the midst of reading: two threads read a
    gigabyte from the page cache in 0.33 s so, and in 0.26 s when it is there before them."""
    first, end = address + PAGESIZE - 1 & -PAGESIZE, address + size & -PAGESIZE
    if end - first >= 64 << 10 and (madvise := _madvise()):
        madvise(first, end - first, MADV_POPULATE_WRITE)  # an older kernel says no, and they come one by one


@cache
def _madvise():
    import ctypes

    if sys.platform != "linux":
        return None
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return madvise


def raws(pieces: Iterable[Piece], files: set[Path]) -> Iterator:
    """`raw` of each piece in its turn, no more than THREADS batches of them read before they are asked for.

    files: those that the pieces lie in. Raises what reading raises, at the piece that couldn't be read.
    """
    with ExitStack() as stack:
        hands: SimpleQueue = SimpleQueue()  # a thread seeks in files of its own
        for _ in range(THREADS):
            hands.put({file: stack.enter_context(file.open("rb")) for file in files})

        def read(batch: list[Piece]) -> list:
            hand = hands.get()
            try:
                return [raw(piece, hand[piece.file]) for piece in batch]
            finally:
                hands.put(hand)

        from concurrent.futures import ThreadPoolExecutor  # it takes 8 ms

        pool = ThreadPoolExecutor(THREADS)
        stack.callback(pool.shutdown, cancel_futures=True)
        due: deque = deque()
        for batch in batches(pieces):
            due.append(pool.submit(read, batch))
            if len(due) > THREADS:
                yield from due.popleft().result()
        while due:
            yield from due.popleft().result()


def batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """In their order, no more of them at a time than the first that makes up BATCH bytes."""
    batch, size = [], 0
    for piece in pieces:
        batch.append(piece)
        size += sum(end - begin for begin, end in piece.spans)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
