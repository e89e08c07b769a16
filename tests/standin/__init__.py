"""A GPU where there is none: a device of its own for torch, made of the computer's memory (device.cpp).

To torch it is an Intel GPU, a kind whose place is empty in torch's builds for CPUs. It counts what tensors hold on it
and refuses to compute with tensors that lie elsewhere. Its results are the CPU's, bit for bit. So what moves weights
between a computer and a GPU can be run, measured and compared where there is no GPU. Streams don't overlap: what waits
for them isn't tested.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

SOURCE = Path(__file__).with_name("device.cpp")
MEMORY = 8 << 30
FACTS = SimpleNamespace(name="stand-in", total_memory=MEMORY, has_fp64=True)


class Stream:
    def synchronize(self):
        pass


def why_not() -> str:
    """What is in the way here; '' where it can be used."""
    import torch

    if torch.xpu.is_available():
        return "this machine has such a GPU"
    if torch.version.cuda or torch.version.hip:
        return "torch is built for another kind of GPU, and knows one kind at a time"
    return "" if compiler() else "it takes a C++ compiler"


def compiler() -> str | None:
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)


def library() -> Path:
    """The compiled device: made in some fifteen seconds, once for each torch, and kept."""
    import torch

    root = Path(torch.__file__).parent
    key = hashlib.sha256(SOURCE.read_bytes() + f"{root} {torch.__version__}".encode()).hexdigest()[:16]
    made = Path(tempfile.gettempdir()) / f"spacetime-standin-{os.getuid()}" / f"{key}.so"
    if made.is_file():
        return made
    made.parent.mkdir(mode=0o700, exist_ok=True)
    new = made.with_suffix(f".{os.getpid()}")
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-w", f"-I{root / 'include'}", f"-L{root / 'lib'}"]
    subprocess.run([compiler(), *flags, SOURCE, "-o", new, "-ltorch_cpu", "-lc10"], check=True)
    new.replace(made)
    return made


def use():
    """From now on this process has a GPU, `xpu`, that counts its memory."""
    import torch

    torch.ops.load_library(str(library()))
    counts, gpu = torch.ops.standin, torch.xpu
    gpu._lazy_init = gpu.init = lambda: None
    gpu.is_available = gpu.is_initialized = lambda: True
    gpu.device_count, gpu.current_device = lambda: 1, lambda: 0
    gpu.get_device_properties, gpu.get_device_name = lambda device=None: FACTS, lambda device=None: FACTS.name
    gpu.Stream, gpu.stream, gpu.current_stream = Stream, contextlib.nullcontext, lambda device=None: Stream()
    gpu.synchronize = gpu.set_device = lambda device=None: None
    gpu.memory_allocated = gpu.memory_reserved = lambda device=None: counts.allocated()
    gpu.max_memory_allocated = lambda device=None: counts.peak()
    gpu.reset_peak_memory_stats = lambda device=None: counts.reset()
    gpu.mem_get_info = lambda device=None: (MEMORY - counts.allocated(), MEMORY)
    gpu.empty_cache = lambda: None
    gpu.get_rng_state = lambda device=None: torch.get_rng_state()
    gpu.set_rng_state = lambda state, device=None: torch.set_rng_state(state)


def count_as_a_cpu():
    """dtype auto is float32 on it too, as it is on a CPU: results can be compared bit for bit."""
    from spacetime_nodes.model_loaders import devices

    devices.ON_GPUS = "float32"
