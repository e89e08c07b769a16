"""Linear layers whose weights stay in memory as their file has them: GGUF's blocks, fp8 with a factor beside."""

from functools import cache

from .gguf import is_packed, quantisation
from .offload import FP8
from .reading import TORCH_NAMES, raw, read
from .single_file import Piece


def pack(module, found: dict[str, Piece], keep: set[str], dtype, weights: str) -> dict:
    """Puts such layers into an empty module. Returns what reads their tensors: key → (piece, file, device) → tensor.

    keep: layers that are computed in float32; small ones, they are unpacked while they are read.
    """
    import torch

    readers = {}
    for name, layer in list(module.named_modules()):
        key = f"{name}.weight"
        piece = found.get(key)
        if piece is None or not isinstance(layer, torch.nn.Linear) or keep & set(name.split(".")):
            continue
        if piece.changes:  # by a LoRA: unpacked while it is read, and held in the dtype
            continue
        if is_packed(piece.dtype):
            new, readers[key] = _gguf(layer, piece, dtype), _read_blocks
        elif weights == FP8 and piece.scale is not None and piece.dtype.startswith("F8"):
            new, readers[key], readers[f"{name}.factor"] = _scaled()(layer, piece), _read_bytes, _read_factor
            found[f"{name}.factor"] = piece.scale
        else:
            continue
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, new.requires_grad_(False))
    return readers


def _gguf(layer, piece: Piece, dtype):
    import torch
    from diffusers.quantizers.gguf.utils import GGUFLinear, dequantize_functions

    if quantisation(piece.dtype) not in dequantize_functions:
        from .checkpoint import CheckpointError

        known = ", ".join(sorted(kind.name for kind in dequantize_functions))
        raise CheckpointError(f"{piece.file.name} holds {piece.dtype} weights; these kinds are read: {known}")
    new = GGUFLinear(layer.in_features, layer.out_features, layer.bias is not None, dtype, "meta")
    new.weight = _blocks(torch.empty(sum(b - a for a, b in piece.spans), dtype=torch.uint8, device="meta"), piece)
    return new


def _blocks(data, piece: Piece):
    from diffusers.quantizers.gguf.utils import GGUFParameter
    from gguf import GGMLQuantizationType

    return GGUFParameter(data.view(piece.shape[0], -1), quant_type=GGMLQuantizationType(quantisation(piece.dtype)))


def _read_blocks(piece: Piece, file, device):
    return _blocks(raw(piece, file).to(device), piece)


def _read_bytes(piece: Piece, file, device):
    return raw(piece, file).to(device).view(piece.shape)


def _read_factor(piece: Piece, file, device):
    import torch

    return read(piece, file, torch.float32, device)


@cache
def _scaled():
    import torch

    class ScaledLinear(torch.nn.Linear):
        """Computes with the same numbers as a layer whose weights were multiplied by their factor when they were read.

        The weights are held as bytes, so that nothing takes their format for the one the model computes in.
        """

        def __init__(self, layer, piece: Piece):
            super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
            self.format = getattr(torch, TORCH_NAMES[piece.dtype])
            data = torch.empty(piece.shape, dtype=torch.uint8, device="meta")
            self.weight = torch.nn.Parameter(data, requires_grad=False)
            self.register_buffer("factor", torch.empty(piece.scale.shape, device="meta"))

        def forward(self, x):
            weight = self.weight.view(self.format).float() * self.factor.reshape(-1, 1)
            return torch.nn.functional.linear(x, weight.to(x.dtype), self.bias)

    return ScaledLinear
