"""Where a DiT's weights stay while it denoises and how they are kept, and what that takes: by headers, no torch."""

import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path

from .checkpoint import CheckpointError
from .devices import GPUS
from .gguf import is_packed
from .single_file import Source, pieces

AUTO, FITS, BLOCK, LEAF, DISK = MEMORY = ("auto", "fits", "block offload", "leaf offload", "disk offload")
AS_DTYPE, FP8, INT8 = WEIGHTS = ("as dtype", "fp8", "int8 (quanto)")
QUANTO = ("optimum.quanto", "optimum-quanto")  # the module, the package
ONE_MEMORY = ("cpu", "mps")  # devices that compute in the computer's own memory
# diffusers' layerwise casting leaves these in the dtype, by name and by its transformers' own lists
PRECISE = re.compile(r"norm|(pos|patch)_embed|(x|context|condition)_embedder|scale_shift|^proj_(in|out)\.")


@dataclass(frozen=True)
class Footprint:
    """Bytes while the DiT denoises, without activations. On a CPU `device` is the computer's memory, `computer` 0."""

    weights: int  # all of them, as they are kept
    device: int
    computer: int = 0  # beside the device
    disk: int = 0


def footprint(source: Source, dtype="auto", device="auto", memory=FITS, weights=AS_DTYPE) -> Footprint:
    """What a DiT's weights take with these choices, by its headers alone. dtype auto is float32 on a CPU, else as
    stored; memory auto counts as fits, for what is free is known only when it is loaded."""
    return footprints(source, dtype, device, weights)[FITS if memory == AUTO else memory]


def footprints(source: Source, dtype="auto", device="auto", weights=AS_DTYPE) -> dict[str, Footprint]:
    """`footprint` with every choice of memory."""
    found = pieces(source)
    if weights == FP8 and any(piece.scale for piece in found.values()):
        precise = {key for key, piece in found.items() if not piece.scale or piece.changes}  # left as they are
    else:
        precise = {key for key in found if PRECISE.search(key)}
    sizes = {key: kept_bytes(key, piece, dtype, device, weights, key in precise) for key, piece in found.items()}
    total, blocks, rest = sum(sizes.values()), {}, 0
    for key, size in sizes.items():
        if name := block_of(key):
            blocks[name] = blocks.get(name, 0) + size
        else:
            rest += size
    block, one = max(blocks.values(), default=0), device in ONE_MEMORY
    loose = sum(size for key, size in sizes.items() if len(found[key].shape) < 2) // max(1, len(blocks))
    whole = Footprint(total, total)
    by_block = Footprint(total, min(total, rest + 2 * block), total)  # one computes while the next one comes
    by_leaf = Footprint(total, min(total, max(sizes.values()) + loose), total)
    return {
        FITS: whole,
        BLOCK: whole if one else by_block,
        LEAF: whole if one else by_leaf,
        DISK: Footprint(total, rest + block, 0 if one else block, total),
    }


def kept_bytes(key: str, piece, dtype: str, device: str, weights: str, precise: bool) -> int:
    """Of one tensor. precise: what fp8 leaves alone."""
    stored, count = sum(end - begin for begin, end in piece.spans), prod(piece.shape)
    matrix = len(piece.shape) > 1
    if matrix and is_packed(piece.dtype) and not piece.changes:
        return stored  # GGUF's stay as they are, but where a LoRA changes them
    asked = {"float32": 4, "bfloat16": 2, "float16": 2}.get(dtype) or {"cpu": 4, **dict.fromkeys(GPUS, 2)}.get(device)
    plain = count * (asked or max(stored // max(count, 1), 2))  # fp8 files are computed with in half precision
    if weights == AS_DTYPE or not matrix:
        return plain
    if weights == FP8:
        return plain if precise else count
    return count + 4 * piece.shape[0] if block_of(key) else plain  # int8, and a factor a row


def block_of(key: str) -> str:
    """The repeated block a tensor belongs to, 'blocks.7'; '' where it belongs to none."""
    match = re.match(r"[^.]+\.\d+(?=\.)", key)
    return match.group() if match else ""


def ways(one_memory: bool) -> tuple[str, ...]:
    """Those that save something on a device, the fastest first. one_memory: it has none of its own."""
    return (FITS, DISK) if one_memory else (FITS, BLOCK, LEAF, DISK)


def choose(sizes: dict[str, Footprint], needed: int, free: int, computer: int, one_memory: bool) -> str:
    """What `auto` takes: the fastest of those whose weights and `needed` bytes beside fit into `free` of the device.

    sizes: each choice's; computer: free bytes of the computer's memory; one_memory: the device has none of its own.
    """
    for way in ways(one_memory):
        if sizes[way].device + needed <= free and sizes[way].computer <= computer:
            return way
    return DISK


def disk_free(scratch) -> tuple[Path, int | None]:
    """(the folder that disk offload fills, bytes free there; None where nobody can tell)."""
    folder = Path(scratch or tempfile.gettempdir())
    try:
        return folder, shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free
    except (OSError, StopIteration):
        return folder, None


def check(memory: str, weights: str):
    """Raises ValueError where the two don't go together, CheckpointError where a package is missing."""
    if weights != INT8:
        return
    module, package = QUANTO
    if not find_spec(module.partition(".")[0]) or not find_spec(module):
        raise CheckpointError(f"weights {weights!r} need the package {package}: pip install {package}")
    if memory not in (AUTO, FITS):
        raise ValueError(f"weights {weights!r} can't move as {memory!r} does; take memory 'fits' or weights 'fp8'")
