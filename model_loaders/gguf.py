"""GGUF: names, kinds and shapes of a file's tensors, with the distrust a downloaded file deserves, and the numbers that
its blocks hold.

The layout is ggml's (docs/gguf.md, versions 2 and 3): magic, version, two counts, metadata, tensor table, data.
"""

import struct
from dataclasses import replace
from math import prod
from pathlib import Path

from .checkpoint import CheckpointError, TensorInfo, foreign_format

# number → (name, elements in a block, bytes of a block), from ggml.h
TYPES = {
    **{0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 28: ("F64", 1, 8)},
    **{24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8)},
    **{2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34)},
    **{10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176)},
    **{14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136)},
}
SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # metadata type → bytes
STRING, ARRAY = 8, 9
MOST_ENTRIES = 2_000_000  # of a list, such as a tokenizer's words
LONGEST_NAME = 65_535
FOLDED = "comfy.gguf.orig_shape."
ALIGNMENT, UINT32 = "general.alignment", 4


def bits(dtype: str) -> float | None:
    """Bits per element of a kind of GGUF tensor."""
    return next((8 * size / block for name, block, size in TYPES.values() if name == dtype), None)


def is_packed(dtype: str) -> bool:
    """Several numbers in one block of bytes, with common factors."""
    return any(name == dtype and block > 1 for name, block, _ in TYPES.values())


def packed_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    block, size = next((block, size) for name, block, size in TYPES.values() if name == dtype)
    return -(-prod(shape) // block) * size


def quantisation(dtype: str) -> int:
    """ggml's number for it."""
    return next(number for number, (name, *_) in TYPES.items() if name == dtype)


def read_gguf_header(path: Path) -> dict[str, TensorInfo]:
    size = path.stat().st_size if path.is_file() else 0
    if not path.is_file():
        raise FileNotFoundError(f"{path} isn't there")
    with path.open("rb") as file:
        start = file.read(512)
        if not start.startswith(b"GGUF"):
            what = foreign_format(start, size) or "isn't a GGUF file"
            raise CheckpointError(f"{path.name} {what}")
        file.seek(4)
        try:
            return _Reader(file, size, path.name).tensors()
        except struct.error:
            raise CheckpointError(f"{path.name} is truncated in its header; download it again") from None


class _Reader:
    def __init__(self, file, size: int, name: str):
        self.file, self.size, self.name = file, size, name

    def number(self, kind: str) -> int:
        return struct.unpack(kind, self.file.read(struct.calcsize(kind)))[0]

    def count(self, what: str, most: int) -> int:
        n = self.number("<Q")
        if n > most or n > self.size:
            raise CheckpointError(f"{self.name} is damaged: its header tells of {n} {what}")
        return n

    def skip(self, amount: int):
        if self.file.tell() + amount > self.size:
            raise struct.error
        self.file.seek(amount, 1)

    def skip_value(self, kind: int, depth: int = 0):
        if kind in SCALARS:
            self.skip(SCALARS[kind])
        elif kind == STRING:
            self.skip(self.count("bytes in a text", self.size))
        elif kind == ARRAY and depth < 4:
            of = self.number("<I")
            n = self.count("entries in a list", MOST_ENTRIES)
            if of in SCALARS:
                self.skip(n * SCALARS[of])
            else:
                for _ in range(n):
                    self.skip_value(of, depth + 1)
        else:
            raise CheckpointError(f"{self.name} is damaged: its header holds a value of the unknown kind {kind}")

    def name_text(self) -> str:
        length = self.count("bytes in a name", LONGEST_NAME)
        data = self.file.read(length)
        if len(data) < length:
            raise struct.error
        return data.decode("utf-8", "replace")

    def shape(self) -> tuple[int, ...]:
        of, n = self.number("<I"), self.count("entries in a shape", 8)
        if of not in (4, 5):
            raise CheckpointError(f"{self.name} is damaged: a shape in its header isn't of whole numbers")
        return tuple(self.number("<i") for _ in range(n))

    def tensors(self) -> dict[str, TensorInfo]:
        version = self.number("<I")
        if version not in (2, 3):
            raise CheckpointError(f"{self.name} is a GGUF file of version {version}; versions 2 and 3 are read")
        tensors = self.count("tensors", 1_000_000)
        alignment = 32
        shapes = {}  # of tensors that were folded because ggml knows four dimensions: a patch embedding has five
        for _ in range(self.count("settings", 100_000)):
            key, kind = self.name_text(), self.number("<I")
            if key.startswith(FOLDED) and kind == ARRAY:
                shapes[key.removeprefix(FOLDED)] = self.shape()
            elif key == ALIGNMENT and kind == UINT32:
                alignment = max(1, self.number("<I"))
            else:
                self.skip_value(kind)
        found, end = {}, 0
        for _ in range(tensors):
            key, rank = self.name_text(), self.number("<I")
            if rank > 8:
                raise CheckpointError(f"{self.name} is damaged: tensor {key!r} has {rank} dimensions")
            shape = tuple(reversed(struct.unpack(f"<{rank}Q", self.file.read(8 * rank))))  # ggml counts from the inside
            kind, begin = self.number("<I"), self.number("<Q")
            if kind not in TYPES:
                raise CheckpointError(f"{self.name}: tensor {key!r} has the unknown kind {kind}")
            if key in found:
                raise CheckpointError(f"{self.name} is damaged: its header names {key!r} twice")
            dtype, block, block_bytes = TYPES[kind]
            unfolded = shapes.get(key, ())
            found[key] = TensorInfo(dtype, unfolded if prod(unfolded) == prod(shape) else shape, begin)
            end = max(end, begin + -(-prod(shape) // block) * block_bytes)
        if not found:
            raise CheckpointError(f"{self.name} holds no tensors")
        data = -(-self.file.tell() // alignment) * alignment
        if data + end > self.size:
            raise CheckpointError(
                f"{self.name} is truncated: {self.size} bytes, its weights reach to {data + end}; download it again"
            )
        return {key: replace(info, begin=data + info.begin) for key, info in found.items()}


def unpacked(data, dtype: str, shape: tuple[int, ...]):
    """A tensor's blocks as bytes [n] → float32 of its shape, by diffusers' functions."""
    import torch
    from diffusers.quantizers.gguf.utils import GGML_QUANT_SIZES, dequantize_functions

    kind = quantisation(dtype)
    block, size = GGML_QUANT_SIZES[kind]
    return dequantize_functions[kind](data.view(-1, size), block, size, dtype=torch.float32).reshape(shape)
