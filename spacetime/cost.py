"""What a run will need, before it runs. Pure Python; estimates to about a factor of two, to refuse the impossible."""

import os
from math import prod
from pathlib import Path

GB = 1e9


def latent_bytes(shape) -> int:
    """float32 latents [B, C, T, H, W]."""
    return 4 * prod(shape)


def sampling_bytes(
    shape, tokens: int, width: int, ffn: int, bytes_per_value: int = 4, per_token_time: bool = True
) -> int:
    """Peak activations of one transformer pass, with memory-efficient attention.

    Per token: the residual stream, q, k, v, the attention's output and the feed-forward's inner layer; in float32 the
    six modulation vectors, which per-token timesteps keep apart. Latents: noise, x, predictions, scheduler's history.
    """
    per_token = bytes_per_value * (6 * width + 2 * ffn) + (4 * 14 * width if per_token_time else 0)
    return shape[0] * tokens * per_token + 8 * latent_bytes(shape)


def decoding_bytes(height: int, width: int, chunk: int, channels: int, patch: int) -> int:
    """Peak activations of a streaming decode, float32: about 25 maps of the widest layer, for the frames of one chunk.

    Measured with pocket on a CPU (52 with the unfolded convolutions that PyTorch uses for small inputs, 20 without).
    """
    return 25 * 4 * channels * chunk * (height // patch) * (width // patch)


def machine_bytes() -> int | None:
    """This machine's memory, where it can be asked."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def available_bytes() -> int | None:
    """What of this machine's memory is free, or the container's, where it can be asked."""
    found = []
    for path, read in ((MEMINFO, _meminfo), (CGROUP, _cgroup)):
        try:
            found.append(read(path))
        except (OSError, ValueError, StopIteration):
            continue
    return min(found, default=machine_bytes())


MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def _meminfo(path: Path) -> int:
    return 1024 * next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("MemAvail"))


def _cgroup(folder: Path) -> int:
    """Version 2. Pages that only cache files are given back when they are wanted."""
    used, limit = (int((folder / name).read_text()) for name in ("memory.current", "memory.max"))
    lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return limit - used + next(int(count) for name, count in lines if name == "file")


def refuse_if_impossible(needed: int, what: str):
    have = machine_bytes()
    if have and needed > have:
        raise MemoryError(
            f"{what} needs about {readable(needed)} of memory, this machine has {readable(have)}; make it smaller"
        )


def readable(count: int) -> str:
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.0f} MB" if count < GB else f"{count / GB:.1f} GB"
