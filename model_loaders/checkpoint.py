"""Reads safetensors headers and configs with the distrust a downloaded file deserves. What they are: identify.py.

No torch and no weights here. Every way in which a checkpoint can be wrong ends in one `CheckpointError` that says
what was found and what would be right.
"""

import json
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

# bits per element, as in safetensors' own table (safetensors 0.8, tensor.rs)
DTYPE_BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64},
    **{"C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
MAX_HEADER = 100_000_000  # bytes; safetensors' own limit
WEIGHT_FILES = ("diffusion_pytorch_model", "model")  # diffusers', transformers'
VARIANTS = "bf16", "fp16"  # that a folder may hold alone
# a shard's name; the variant stands before or after its number
SHARD = re.compile(r"({0})(?:\.({1}))?-(\d{{5}})-of-(\d{{5}})(?:\.({1}))?\.safetensors".format(
    "|".join(WEIGHT_FILES), "|".join(VARIANTS)
))  # fmt: skip


class CheckpointError(ValueError):
    """A model file or folder that can't be used, in one line."""


@dataclass(frozen=True)
class TensorInfo:
    dtype: str
    shape: tuple[int, ...]
    begin: int = 0  # its first byte in the file


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Names, dtypes and shapes of a safetensors file's tensors, after checking that its bytes can hold them."""
    path = Path(path)
    if path.suffix.lower() == ".gguf":
        from .gguf import read_gguf_header

        return read_gguf_header(path)
    if path.is_dir():
        raise CheckpointError(f"{path.name} is a folder named like a file; rename it without .safetensors")
    if not path.is_file():
        raise FileNotFoundError(f"{path} isn't there")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
        if not_safetensors := foreign_format(start, size):
            raise CheckpointError(f"{path.name} {not_safetensors}")
        length = int.from_bytes(start[:8], "little")
        if length < 2 or length > MAX_HEADER:
            raise CheckpointError(f"{path.name} isn't a safetensors file (its header would be {length} bytes long)")
        if 8 + length > size:
            raise CheckpointError(
                f"{path.name} is truncated: {size} bytes, its header alone takes {8 + length}; download it again"
            )
        file.seek(8)
        header = _parse_header(file.read(length), path.name)
    return _check_tensors(header, size - 8 - length, 8 + length, path.name)


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself beside its tensors: texts. For files whose header has been read."""
    with Path(path).open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata = header.get("__metadata__")
    return metadata if isinstance(metadata, dict) else {}


def foreign_format(start: bytes, size: int) -> str | None:
    """What a file is that isn't safetensors, from its first bytes; None when it may be safetensors."""
    text = start.lstrip().lower()
    if size == 0:
        return "is empty (0 bytes); download it again"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; fetch them with `git lfs pull` or download the file itself"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "is a web page, not weights: the download gave an HTML page (often a login or licence page)"
    if start.startswith(b"GGUF"):
        return "is a GGUF file; give it the ending .gguf"
    may_be_length = start[8:9] == b"{"  # these first bytes are also the lengths of safetensors headers: 640, 896, …
    if start.startswith(b"PK\x03\x04") or (
        start.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")) and not may_be_length
    ):
        return "is a pickle (.pt, .bin, .ckpt): it can run code and is never loaded; get the safetensors version"
    if not may_be_length and start.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ")):
        return "is a compressed archive; unpack it first"
    if size < 10:
        return f"isn't a safetensors file ({size} bytes)"
    if text.startswith((b"{", b"[")) and start[8:9] != b"{":
        return "is a JSON text, not weights"
    return None


def _parse_header(data: bytes, name: str) -> dict:
    def no_duplicates(pairs):
        found = {}
        for key, value in pairs:
            if key in found:
                raise CheckpointError(f"{name} is damaged: its header names {key!r} twice")
            found[key] = value
        return found

    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=no_duplicates)
    except CheckpointError:
        raise
    except (ValueError, RecursionError):
        raise CheckpointError(f"{name} isn't a safetensors file (its header is no JSON); download it again") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{name} isn't a safetensors file (its header is a {type(header).__name__}, not a table)")
    header.pop("__metadata__", None)
    return header


def _check_tensors(header: dict, data_bytes: int, data_begin: int, name: str) -> dict[str, TensorInfo]:
    """The ranges must cover the data exactly, in any order: no overlap, no hole, no bytes beyond the end."""
    if not header:
        raise CheckpointError(f"{name} holds no tensors")
    tensors, ranges = {}, []
    for key, entry in header.items():
        try:
            dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            whole = isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
        except (TypeError, KeyError, ValueError):
            whole = False
        if not whole:
            raise CheckpointError(f"{name} is damaged: the entry of tensor {key!r} isn't dtype, shape and data_offsets")
        if dtype not in DTYPE_BITS:
            raise CheckpointError(f"{name}: tensor {key!r} has the unknown dtype {dtype!r}")
        if (prod(shape) * DTYPE_BITS[dtype] + 7) // 8 != end - begin:
            raise CheckpointError(
                f"{name} is damaged: tensor {key!r} ({dtype} {list(shape)}) claims {end - begin} bytes"
            )
        tensors[key] = TensorInfo(dtype, shape, data_begin + begin)
        ranges.append((begin, end))
    position = 0
    for begin, end in sorted(ranges):
        if begin != position:
            raise CheckpointError(
                f"{name} is damaged: its tensors {'overlap' if begin < position else 'leave a hole'} at byte {begin}"
            )
        position = end
    if position > data_bytes:
        raise CheckpointError(
            f"{name} is truncated: {data_bytes} of {position} bytes of weights are there; download it again"
        )
    if position < data_bytes:
        raise CheckpointError(f"{name} is damaged: {data_bytes - position} bytes follow its last tensor")
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one component's folder: one, or the shards its index names; those of a variant
    (`model.bf16.safetensors`) where there are no others."""
    for stem in (*WEIGHT_FILES, *(f"{stem}.{variant}" for variant in VARIANTS for stem in WEIGHT_FILES)):
        plain, dot, variant = stem.partition(".")  # diffusers has put the variant in three places
        ends = ("{}.safetensors.index", ".safetensors{}.index", ".safetensors.index{}")
        names = (f"{plain}{end.format(dot + variant)}.json" for end in ends)
        if index := next((folder / name for name in names if (folder / name).is_file()), None):
            return _shards(index)
        if (folder / f"{stem}.safetensors").exists():
            return [folder / f"{stem}.safetensors"]
    if shards := _unlisted(folder):
        return shards
    pickles = [file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in folder.glob(pattern)]
    if pickles:
        raise CheckpointError(
            f"{folder} holds only pickles ({pickles[0]}), which are never loaded: get the safetensors version"
        )
    raise CheckpointError(
        f"{folder} holds no weights (looked for {' and '.join(f'{stem}.safetensors' for stem in WEIGHT_FILES)})"
    )


def _unlisted(folder: Path) -> list[Path]:
    """Shards without their index, of the first set that is whole by their names; none where there is no shard."""
    sets: dict[tuple, dict[int, Path]] = {}
    for path in sorted(folder.glob("*-of-*.safetensors")):
        if match := SHARD.fullmatch(path.name):
            stem, variant, number, count, later = match.groups()
            rank = ("", *VARIANTS).index(variant or later or ""), WEIGHT_FILES.index(stem)
            sets.setdefault((*rank, int(count)), {})[int(number)] = path
    lacking = []
    for (*_, count), shards in sorted(sets.items()):
        missing = [number for number in range(1, count + 1) if number not in shards]
        if not missing:
            return [shards[number] for number in range(1, count + 1)]
        name = re.sub(r"\d{5}(?=-of-)", f"{missing[0]:05}", next(iter(shards.values())).name)
        lacking.append(f"{folder} lacks the shard {name} ({count - len(missing)} of {count} are there); download it")
    if lacking:
        raise CheckpointError(lacking[0])
    return []


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise CheckpointError(f"{index.name} has no weight_map")
    shards = []
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index.name} points outside its own folder: {name!r}")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent} lacks the shard {name}; download it")
        shards.append(index.parent / name)
    return shards


def parse_json(path: Path):
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} isn't there") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no valid JSON ({error})") from None


def read_json(path: Path) -> dict:
    value = parse_json(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, not a table of settings")
    return value
