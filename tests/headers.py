"""Model files that are all header: the right names and shapes, and a hole in the disk where the weights would be."""

import json
import struct
from math import prod

SIZES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1, "I8": 1, "I64": 8}


def shapes(state):
    return {key: tuple(value.shape) for key, value in state.items()}


def write_header(path, tensors, dtype="BF16", more=()):
    """A safetensors file of `tensors`: key → shape. `more`: (key, dtype, shape) of tensors in another number format."""
    header, at = {}, 0
    for key, kind, shape in [*((key, dtype, shape) for key, shape in tensors.items()), *more]:
        end = at + SIZES[kind] * prod(shape)
        header[key] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    return path


def gguf_text(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf(tensors, settings=b"", count=0, version=3, kind=12):
    """A GGUF file's header and a hole behind it. kind 12 is Q4_K: 144 bytes for 256 numbers."""
    table, at = b"", 0
    for key, shape in tensors.items():
        dims = shape if len(shape) < 5 else (prod(shape),)
        table += gguf_text(key) + struct.pack(f"<I{len(dims)}Q", len(dims), *reversed(dims))
        table += struct.pack("<IQ", kind, at)
        at += -(-prod(shape) // 256) * 144
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), count) + settings + table
    head += bytes(-len(head) % 32)
    return head + bytes(min(at, 1 << 20)), at


def write_gguf(path, tensors, **options):
    folded = {key: shape for key, shape in tensors.items() if len(shape) > 4}
    settings = gguf_text("general.architecture") + struct.pack("<I", 8) + gguf_text("wan")
    settings += gguf_text("tokens") + struct.pack("<IIQ", 9, 8, 2) + gguf_text("a") + gguf_text("b")
    for key, shape in folded.items():
        settings += gguf_text(f"comfy.gguf.orig_shape.{key}") + struct.pack("<IIQ", 9, 5, len(shape))
        settings += struct.pack(f"<{len(shape)}i", *shape)
    data, at = gguf(tensors, settings, 2 + len(folded), **options)
    with path.open("wb") as file:
        file.write(data)
        file.truncate(len(data) + at)
    return path
