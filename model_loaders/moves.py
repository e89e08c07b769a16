"""How a loaded DiT's weights move while it denoises, by diffusers' hooks; and int8 weights, by quanto."""

import os
import shutil
import sys
import weakref
from pathlib import Path

from ..spacetime.cost import readable
from .devices import OWN_MEMORY
from .offload import BLOCK, DISK, FITS


class Moves:
    """Hooks of one module. With disk offload a block goes to the disk as soon as it is read, so that the whole never
    stands in memory; otherwise all are hooked at the end, when each knows the next one."""

    def __init__(self, module, way: str, device, dtype, scratch: Path | None):
        self.module, self.way, self.device, self.folder = module, way, device, None
        if way == DISK:
            import tempfile

            self.needed = sum(p.numel() * min(p.itemsize, dtype.itemsize) for p in module.parameters())
            self.folder = _folder(module, Path(scratch or tempfile.gettempdir()), self.needed)

    def block(self, name: str):
        """A part of the module is read; '' is what belongs to no block."""
        if self.way == DISK and name:
            self._to_disk(self.module.get_submodule(name), name)

    def all(self) -> int:
        """Everything is read. Returns the bytes that the device will hold at a time."""
        import torch
        from diffusers.hooks import apply_group_offloading

        sizes: dict[str, int] = {}
        for name, block in self.module.named_children():
            parts = block if isinstance(block, (torch.nn.ModuleList, torch.nn.Sequential)) else ()
            sizes |= {f"{name}.{i}": sum(p.nbytes for p in part.parameters()) for i, part in enumerate(parts)}
        rest = sum(p.nbytes for p in self.module.parameters()) - sum(sizes.values())
        largest = max(sizes.values(), default=0)
        if self.way == DISK:
            self._to_disk(self.module, "rest")
            return rest + largest
        if self.way == BLOCK:
            # a stream brings the next block while one computes; pinned one at a time, not a second copy of the whole
            stream = {"use_stream": True, "low_cpu_mem_usage": True} if self.device.type in OWN_MEMORY else {}
            apply_group_offloading(self.module, self.device, num_blocks_per_group=1, **stream)
            return rest + 2 * largest
        if self.way != FITS:  # without a stream: `once` skips layers, which would break the chain of who brings whom
            apply_group_offloading(self.module, self.device, offload_type="leaf_level")
        return largest

    def _to_disk(self, module, name: str):
        """Each in a folder of its own: the hook's file names tell only the module's class. Raises OSError in one line
        where it can't be written, and leaves nothing of it."""
        from diffusers.hooks import apply_group_offloading
        from safetensors import SafetensorError

        folder = str(self.folder / name)
        try:
            apply_group_offloading(module, self.device, num_blocks_per_group=1, offload_to_disk_path=folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            reason = getattr(error, "strerror", None) or str(error).rpartition(": ")[2]
            raise OSError(
                f"disk offload writes {readable(self.needed)} into {self.folder.parent}, which failed ({reason}); "
                "make room there or choose another memory than 'disk offload'"
            ) from None
        module.register_forward_hook(_hollow)
        _hollow(module)
        for layer in module.modules() if self.device.type == "cpu" else ():
            if layer._parameters and not layer._forward_pre_hooks:
                layer.register_forward_pre_hook(_aligned)


def _hollow(module, *call):
    """While they are on the disk, weights take no memory. diffusers leaves empty tensors in their place, which malloc
    puts where weights have just been: in pages that stay with the process."""
    for parameter in module.parameters():
        parameter.data = parameter.data.new_empty(1).expand(parameter.shape)
    if sys.platform == "linux":  # glibc keeps what was freed between other things
        import ctypes

        getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: None)(0)


def _aligned(layer, args):
    """Where a weight lies decides the last bit of a product on a CPU: a file's own addresses are not torch's."""
    for parameter in layer.parameters(recurse=False):
        if parameter.data_ptr() % 64:
            parameter.data = parameter.data.clone()


def _folder(module, scratch: Path, needed: int) -> Path:
    """A new folder that goes when the module goes, or, of a process that was killed, when the next one makes its own.
    Raises OSError in one line where the disk is too full."""
    import tempfile

    import psutil  # diffusers' accelerate brings it

    scratch.mkdir(parents=True, exist_ok=True)
    for left in scratch.glob("offload-*-*"):
        owner = left.name.split("-")[1]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    if (free := shutil.disk_usage(scratch).free) < needed:
        raise OSError(f"disk offload writes {readable(needed)} into {scratch}, where {readable(free)} are free")
    folder = Path(tempfile.mkdtemp(prefix=f"offload-{os.getpid()}-", dir=scratch))
    weakref.finalize(module, shutil.rmtree, folder, ignore_errors=True)
    return folder


def quantise(block):
    """Its linear layers' weights as int8 with a factor a row, in place."""
    from optimum.quanto import freeze, qint8, quantize

    quantize(block, weights=qint8)
    freeze(block)
