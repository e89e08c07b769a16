"""From a folder or a file to a module with its weights: built empty, then each tensor read once and put in place."""

import re
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from . import memory
from .checkpoint import CheckpointError, TensorInfo
from .empty import empty
from .fingerprints import PREFIXES
from .identify import identify
from .moves import Moves, quantise
from .offload import AS_DTYPE, DISK, FITS, FP8, INT8, block_of
from .packed import pack
from .reading import raws, read
from .single_file import Piece, Source, pieces

DTYPES = ("auto", "float32", "bfloat16", "float16")
WRAPPERS = {"model", "language_model", "text_model", "vision_model"}
# what the reading part's keys begin with in a model that also sees, by the transformers that saved it
READING_PREFIXES = ("model.language_model.", "language_model.model.", "model.")
# what transformers' files hold beside their layers: rotary tables, Cosmos' training loss, factors of quantised weights,
# LTX-2's connectors and what projects the text to them, the blur in what reads Wan Animate's faces
SPARE = re.compile(r"freqs|rope|pos_emb|logvar|accum_|scale|embeddings_connector|text_embedding_projection|\.kernel$")


def build(make, source: Path | Source, dtype, device, storage=AS_DTYPE, way=FITS, scratch=None, tell=None):
    """`make()` builds the module; its weights come from a folder's safetensors or from a single file.

    storage: one of offload.WEIGHTS; way: one of offload.MEMORY but auto; scratch: the folder for disk offload; tell: a
    function that takes one line for the user, about weights that the module has no place for.
    """
    import torch

    source = source if isinstance(source, Source) else Source(str(source), Path(source), {})
    found = pieces(source)
    module = empty(make, source, found).eval().requires_grad_(False)
    found = _fitting(module, found, source, tell)
    keep = _kept_in_float32(module, dtype)
    readers = pack(module, found, keep, dtype, storage)
    if storage == FP8 and not readers:
        module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    fp8 = {key for key, value in module.state_dict().items() if value.dtype == torch.float8_e4m3fn}
    place = memory.reading_place(device) if way == FITS else torch.device("cpu")
    moves = Moves(module, way, device, dtype, scratch)
    with ExitStack() as stack:
        files = {file: stack.enter_context(file.open("rb")) for file in {piece.file for piece in found.values()}}
        parts = _parts(found, by_block=way == DISK or storage == INT8)
        plain = (found[key] for _, keys in parts for key in keys if key not in readers)
        data = stack.enter_context(closing(raws(plain, set(files))))
        for part, keys in parts:
            for key in keys:
                piece, wanted = found[key], torch.float32 if keep & set(key.split(".")) else dtype
                if key in readers:
                    tensor = readers[key](piece, files[piece.file], place)
                else:
                    tensor = read(piece, files[piece.file], wanted, place, next(data))
                _put(module, key, tensor.to(torch.float8_e4m3fn) if key in fp8 else tensor)
            if part and storage == INT8:
                quantise(module.get_submodule(part))
            moves.block(part)
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    module.requires_grad_(False)
    return memory.settle(module, device) if way == FITS else memory.hold(module, device, moves.all())


def _put(module, key: str, tensor):
    """In the place of the empty one; its shape is known to fit."""
    import torch

    owner, _, name = key.rpartition(".")
    owner = module.get_submodule(owner)
    if name in owner._buffers:
        owner._buffers[name] = tensor
    else:
        parameter = isinstance(tensor, torch.nn.Parameter)
        owner._parameters[name] = tensor if parameter else torch.nn.Parameter(tensor, requires_grad=False)


def _parts(found: dict[str, Piece], by_block: bool):
    """(name, keys) of what is read at a time, in the order of the files; '' is what belongs to no block, the last."""
    order = sorted(found, key=lambda key: (str(found[key].file), found[key].spans))
    if not by_block:
        return [("", order)]
    blocks: dict[str, list] = {}
    for key in order:
        blocks.setdefault(block_of(key), []).append(key)
    return sorted(blocks.items(), key=lambda part: not part[0])


def _kept_in_float32(module, dtype) -> set[str]:
    """Layers that their library loads in float32 whatever the dtype; `.to(dtype)` would round these too.

    diffusers means its list for every dtype, transformers for float16 only, and a second, strict one for every dtype.
    """
    import torch

    names = set(getattr(module, "_keep_in_fp32_modules", None) or ())
    strict = getattr(module, "_keep_in_fp32_modules_strict", None)
    if strict is None and not hasattr(module, "_keep_in_fp32_modules_strict"):
        return names
    return set(strict or ()) | (names if dtype == torch.float16 else set())


def _fitting(module, found: dict[str, Piece], source: Source, tell=None) -> dict[str, Piece]:
    """Of what the files hold, what the module asks for. Right keys, right shapes, before any weight is read."""
    wanted = module.state_dict()
    first = next(iter(wanted))
    if prefix := next((prefix for prefix in READING_PREFIXES if prefix + first in found), ""):
        found = {key.removeprefix(prefix): piece for key, piece in found.items() if key.startswith(prefix)}
    found = _by_other_names(wanted, found)
    tied = set(getattr(module, "_tied_weights_keys", None) or ())
    missing = [key for key in wanted if key not in found and key not in tied]
    if missing:
        what = identify({key: TensorInfo(piece.dtype, piece.shape) for key, piece in found.items()})
        raise CheckpointError(
            f"{source.name} lacks {len(missing)} of {len(wanted)} tensors of its config ({missing[0]!r}); "
            f"the file is {source.identity or what}"
        )
    fitting = {key: found[key] for key in wanted if key in found}
    if tell and (unread := _unread(found, fitting)):
        tell(
            f"{source.name} holds {len(unread)} weights that {source.class_name} has no place for ({unread[0]}): made "
            "for more than this version gives it, its videos may not be as meant"
        )
    for key, piece in fitting.items():
        shape = tuple(wanted[key].shape)
        if shape != piece.shape and _plain(shape) == _plain(piece.shape):  # a 1×1 convolution as a matrix, [1, C, 1, 1]
            fitting[key] = piece = replace(piece, shape=shape)
        if shape != piece.shape:
            raise CheckpointError(
                f"{source.name}: {key} is {list(piece.shape)} in the file, but its config asks for {list(shape)}"
            )
    return fitting


def _unread(found: dict[str, Piece], fitting: dict[str, Piece]) -> list[str]:
    """The keys of layers that nothing takes. Tables, statistics, scales and other components' layers don't count."""
    taken = set(map(id, fitting.values()))
    return [
        key
        for key, piece in found.items()
        if id(piece) not in taken
        and len(piece.shape) > 1
        and not key.startswith(PREFIXES[1:])
        and not SPARE.search(key)
    ]


def _by_other_names(wanted: dict, found: dict[str, Piece]) -> dict[str, Piece]:
    """Under the module's keys also what the files call otherwise: these words have come, gone and moved between
    versions of transformers. A name that would fit two tensors fits none."""

    def bare(key: str) -> str:
        return ".".join(word for word in key.split(".") if word not in WRAPPERS)

    names = Counter(map(bare, found))
    pieces = {bare(key): piece for key, piece in found.items() if names[bare(key)] == 1}
    return {**{key: pieces[bare(key)] for key in wanted if bare(key) in pieces}, **found}


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
