"""The machine's devices: which there are, which one `auto` is, and what memory it has.

A GPU is whatever torch computes on beside the CPU: `cuda` (NVIDIA, and AMD by ROCm), `xpu` (Intel), `mps` (Apple).
"""

import platform
import re
import shutil
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

OWN_MEMORY = ("cuda", "xpu")  # GPUs with memory of their own
GPUS = (*OWN_MEMORY, "mps")  # in the order that `auto` looks for them
DEVICES = ("auto", *GPUS, "cpu")
ON_GPUS = "bfloat16"  # what dtype auto is there, but for precise parts
INTEL = "0x8086"


def comfyui():
    """ComfyUI's module that manages devices, if ComfyUI has loaded itself."""
    return sys.modules.get("comfy.model_management") if "folder_paths" in sys.modules else None


def there() -> list[str]:
    """The devices that torch, which is loaded, can compute on here."""
    import torch

    found = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}
    return [*(name for name in GPUS if found[name].is_available()), "cpu"]


def pick_device(name: str):
    """A torch.device. 'auto' is the first GPU there is, else the CPU; in ComfyUI, where ComfyUI computes, which its own
    options choose.

    Raises ValueError for one that isn't on this machine.
    """
    import torch

    if name == "auto" and (management := comfyui()):
        return management.get_torch_device()
    here = there()
    if name != "auto" and name not in here:
        raise ValueError(f"device {name!r} isn't on this machine; here: {', '.join(here)}")
    return torch.device(here[0] if name == "auto" else name)


def pick_dtype(name: str, device, precise: bool = False):
    """'auto' is float32 on a CPU and for `precise` parts (VAEs), bfloat16 elsewhere."""
    import torch

    if name == "auto":
        name = "float32" if precise or device.type == "cpu" else ON_GPUS
    return getattr(torch, name)


def value_bytes(dtype: str, device: str, precise: bool = False) -> int:
    """Bytes of one number as `pick_dtype` will choose it; needs no torch."""
    if dtype == "auto":
        dtype = "float32" if precise or on_cpu(device) else ON_GPUS
    return 4 if dtype == "float32" else 2


def on_cpu(device: str) -> bool:
    """Whether `pick_device` will choose the CPU; needs no torch."""
    return device == "cpu" or (device == "auto" and not has_gpu())


def one_memory(device: str) -> bool:
    """Whether it will compute in the computer's own memory, as CPUs and Apple's GPUs do; needs no torch."""
    return on_cpu(device) or device == "mps" or (device == "auto" and sys.platform == "darwin")


def has_gpu() -> bool:
    """Whether device auto will be something else than the CPU. torch knows; where it isn't loaded, what it was built
    for and what the drivers leave."""
    if "torch" in sys.modules:
        return pick_device("auto").type != "cpu"
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    builds = _torch_builds()
    nvidia = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
    return (
        ("cuda" in builds and nvidia)
        or ("hip" in builds and Path("/dev/kfd").exists())
        or ("xpu" in builds and any(file.read_text().strip() == INTEL for file in _cards("vendor")))
    )


@cache
def _torch_builds() -> set[str]:
    """What the installed torch was built for, as its version file says."""
    found = find_spec("torch")  # which doesn't load it
    file = found and found.origin and Path(found.origin).with_name("version.py")
    return set(re.findall(r"^(cuda|hip|xpu)\b.*=\s*'", file.read_text(), re.M)) if file and file.is_file() else set()


def _cards(fact: str) -> list[Path]:
    """Linux' files with one fact of each graphics card."""
    return sorted(Path("/sys/class/drm").glob(f"card?/device/{fact}"))


def first_gpu():
    """The first one with memory of its own; None where there is none or torch isn't loaded."""
    if "torch" not in sys.modules:
        return None
    import torch

    first = there()[0]
    return torch.device(first) if first in OWN_MEMORY else None


def gpu_bytes() -> int | None:
    """Memory of the first GPU; None where nobody can tell."""
    if "torch" in sys.modules:
        return total_bytes(gpu) if (gpu := first_gpu()) else None
    return _told_by_the_driver()


@cache
def _told_by_the_driver() -> int | None:
    if tool := shutil.which("nvidia-smi"):
        import subprocess

        try:
            asked = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
            told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
            return int(float(told.split()[0]) * 2**20)
        except (OSError, ValueError, IndexError, subprocess.SubprocessError):
            return None
    return None


def total_bytes(device) -> int | None:
    """Memory of a GPU that has its own; None of another device."""
    return properties(device).total_memory if device.type in OWN_MEMORY else None


def properties(device):
    """torch's, of a GPU with memory of its own: `name`, `total_memory` and more."""
    return _module(device).get_device_properties(device)


def free_bytes(device) -> int | None:
    """What of it nobody uses."""
    if device.type not in OWN_MEMORY:
        return None
    module = _module(device)
    unused = module.memory_reserved(device) - module.memory_allocated(device)  # torch's, to be used again
    return module.mem_get_info(device)[0] + unused


def empty_cache():
    """What torch keeps of a GPU's memory for itself goes back."""
    if gpu := first_gpu():
        _module(gpu).empty_cache()


def own_random(device):
    """A context in which torch's random numbers on the CPU and on this device are nobody else's."""
    import torch

    if device.type in OWN_MEMORY:
        return torch.random.fork_rng([device], device_type=device.type)
    return torch.random.fork_rng([])


def _module(device):
    import torch

    return getattr(torch, device.type)
