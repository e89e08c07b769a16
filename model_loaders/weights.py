"""From a folder to a module with its weights: built empty, then each tensor read once and put in place."""

from pathlib import Path

from . import memory
from .checkpoint import CheckpointError, identify, read_header, weight_files

DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICES = ("auto", "cuda", "mps", "cpu")


def pick_device(name: str):
    """'auto' is CUDA, then MPS, then CPU; in ComfyUI, where ComfyUI computes."""
    import torch

    if name == "auto" and (device := memory.chosen_device()) is not None:
        return device
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there.get(name):
        raise ValueError(f"device {name!r} isn't on this machine; here: {', '.join(d for d in there if there[d])}")
    return torch.device(name)


def pick_dtype(name: str, device, precise: bool = False):
    """'auto' is float32 on a CPU and for `precise` parts (VAEs), bfloat16 elsewhere."""
    import torch

    if name == "auto":
        return torch.float32 if precise or device.type == "cpu" else torch.bfloat16
    return getattr(torch, name)


def build(make, folder: Path, dtype, device):
    """`make()` builds the module; its weights come from the safetensors in `folder`."""
    import torch

    with EmptyOnMeta():
        module = make()
    files = weight_files(folder)
    headers = [read_header(file) for file in files]
    _check_shapes(module, {key: info for header in headers for key, info in header.items()}, folder)

    from safetensors import safe_open

    keep = _kept_in_float32(module, dtype)
    weights, place = {}, memory.reading_place(device)
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():
                wanted = torch.float32 if keep & set(key.split(".")) else dtype
                weights[key] = tensors.get_tensor(key).to(place, wanted)
    module.load_state_dict(weights, strict=False, assign=True)
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    return memory.settle(module.eval().requires_grad_(False), device)


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


def _check_shapes(module, tensors: dict, folder: Path):
    """Right keys, right shapes, before any weight is read."""
    wanted = module.state_dict()
    tied = set(getattr(module, "_tied_weights_keys", None) or ())
    missing = [key for key in wanted if key not in tensors and key not in tied]
    if missing:
        what = identify(tensors)
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of {len(wanted)} tensors of its config ({missing[0]!r}); the file is {what}"
        )
    for key, value in wanted.items():
        if key in tensors and tuple(value.shape) != tensors[key].shape:
            found = list(tensors[key].shape)
            raise CheckpointError(
                f"{folder}: {key} is {found} in the file, but its config asks for {list(value.shape)}"
            )


def EmptyOnMeta():  # noqa: N802
    """A context in which parameters take no memory and no time, while computed buffers (rotary tables) are real.

    `torch.device("meta")` would also empty the tables, which no checkpoint holds; parameters are made by torch.empty.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            if func is torch.empty:
                kwargs["device"] = "meta"
            target = args[0] if args else kwargs.get("tensor")
            in_place = func.__name__.endswith("_") and not func.__name__.endswith("__")
            if in_place and isinstance(target, torch.Tensor) and target.is_meta:
                return target  # an initialisation; on meta tensors a no-op that takes as long as all the rest
            return func(*args, **kwargs)

    return Mode()
