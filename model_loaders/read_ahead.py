"""Bytes of tensors, read by a few threads before they are needed: one alone is slower than the memory, and than a disk
that likes to be asked for several things at once."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from .single_file import Piece, raw

THREADS = min(4, os.cpu_count() or 1)
BATCH = 8 << 20  # bytes that a thread reads before it hands them over: biases are not worth a word each


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
