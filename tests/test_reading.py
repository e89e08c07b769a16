"""Bytes that threads read ahead come in their order, whole, and not all at once."""

import ctypes
import mmap
import os
import platform
import random
import sys

import pytest
from spacetime_nodes.model_loaders import reading
from spacetime_nodes.model_loaders.checkpoint import CheckpointError
from spacetime_nodes.model_loaders.reading import BATCH, STEP, THREADS, raw, raws
from spacetime_nodes.model_loaders.single_file import Piece


def cut(path, size: int, largest: int) -> list[Piece]:
    """Pieces of up to `largest` bytes that make up the file."""
    chance, at, pieces = random.Random(0), 0, []
    while at < size:
        end = min(size, at + chance.randint(1, largest))
        pieces.append(Piece(path, "U8", (end - at,), ((at, end),)))
        at = end
    return pieces


@pytest.fixture
def files(tmp_path):
    contents = {tmp_path / name: os.urandom(3 * BATCH) for name in "ab"}
    for path, content in contents.items():
        path.write_bytes(content)
    return contents


def test_every_byte_comes_in_its_turn(files):
    pieces = [piece for path, content in files.items() for piece in cut(path, len(content), BATCH // 5)]
    random.Random(1).shuffle(pieces)
    read = list(raws(pieces, set(files)))
    assert len(read) == len(pieces) > 20
    for piece, data in zip(pieces, read, strict=True):
        begin, end = piece.spans[0]
        assert data.numpy().tobytes() == files[piece.file][begin:end]


def test_no_more_than_a_few_batches_are_read_ahead(files):
    path, content = next(iter(files.items()))
    asked = []
    pieces = cut(path, len(content), BATCH // 50) * 8
    stream = raws((asked.append(piece) or piece for piece in pieces), {path})
    next(stream)
    size = sum(piece.shape[0] for piece in asked)
    assert size < (THREADS + 2) * 1.1 * BATCH < 24 * BATCH
    stream.close()
    assert len(asked) < len(pieces)


def test_a_file_cut_short_is_told_at_its_piece(files):
    path, content = next(iter(files.items()))
    pieces = cut(path, len(content), BATCH // 3)
    with path.open("r+b") as file:
        file.truncate(2 * BATCH)
    stream, read = raws(pieces, {path}), []
    with pytest.raises(CheckpointError, match="was cut short while it was read"):
        read.extend(stream)
    assert 0 < sum(map(len, read)) <= 2 * BATCH


NEW = sys.platform == "linux" and tuple(map(int, platform.release().split(".")[:2])) >= (5, 14)


@pytest.mark.skipif(not NEW, reason="Linux from 5.14 on")
def test_new_memory_is_there_before_it_is_filled():
    size = 64 << 20
    new = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # what an allocator has may have been used

    def resident() -> int:
        return int(open("/proc/self/statm").read().split()[1]) * mmap.PAGESIZE

    before = resident()
    reading._populate(ctypes.addressof(ctypes.c_char.from_buffer(new)), size)
    assert 0.98 * size < resident() - before < 1.1 * size


@pytest.mark.parametrize("madvise", [None, lambda *wanted: -1])
def test_where_memory_cannot_be_made_ready_the_bytes_are_the_same(files, madvise, monkeypatch):
    monkeypatch.setattr(reading, "_madvise", lambda: madvise)
    path, content = next(iter(files.items()))
    with path.open("rb") as file:
        for spans in [((5, 3 * STEP + 9),), ((2 * STEP, 3 * STEP), (0, STEP + 1))]:
            data = raw(Piece(path, "U8", (), spans), file)
            assert data.numpy().tobytes() == b"".join(content[begin:end] for begin, end in spans)
