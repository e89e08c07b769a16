"""What a run will need, before it runs. Pure Python.

The figures are a CPU's, measured by `python -m benchmarks.plan`; a GPU's kernels hold no more than that.
"""

import os
from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path

GB = 1e9
LIBRARIES = 600_000_000  # Python, torch and diffusers before anything is loaded; a GPU's context takes as much
BUFFERS = 250_000  # the same of a few small products
KERNELS = 4_000_000  # what the libraries take at their first real pass: buffers of their threads, compiled kernels
# The same in a VAE, with two threads, on a CPU that multiplies matrices in tiles and on one that doesn't; measured at
# four sizes on each, which then lie within 5 %
CONVOLUTIONS = {True: 9_500_000, False: 2_500_000}


def latent_bytes(shape) -> int:
    """float32 latents [B, C, T, H, W]."""
    return 4 * prod(shape)


def sampling_bytes(
    shape, tokens: int, width: int, ffn: int, bytes_per_value: int = 4, per_token_time: bool = True, text: int = 0,
    copies: int = 1,
) -> int:  # fmt: skip
    """Peak activations of one transformer pass, with memory-efficient attention.

    shape: of the canvas; tokens, text: of the video that one pass sees, and of the prompt; copies: 2 where both prompts
    go in one batch.
    """
    each = bytes_per_value
    # Per token the residual stream, and what the block was given, which its caller holds on to; beside them the larger
    # of two moments. The feed-forward holds the normed input, the attention's answer that nobody has let go and, the
    # activation not being in place, the inner layer twice; the attention holds q, k, v and its answer, and while q is
    # normed and turned, which happens in float32, up to three copies of it.
    feed_forward = each * (2 * width + 2 * ffn)
    attention = each * 4 * width + 4 * 3 * width
    per_token = each * 2 * width + max(feed_forward, attention)
    if per_token_time:  # six modulation vectors in float32; beside them what the time embedding gave, at two steps
        per_token += 4 * 6 * width + 2 * (each * 8 * width + 4 * 256)
    # the prompt's keys and values of a block, and what it is embedded by
    per_text = each * 4 * width
    # below float32 oneDNN lays the largest weight out anew for its kernels
    packed = each * width * ffn if each < 4 else 0
    # latents: noise, x and its copy, the predictions, what the scheduler remembers
    latents = 10 * latent_bytes(shape)
    return KERNELS + copies * shape[0] * (tokens * per_token + text * per_text) + packed + latents


# A convolution over few values unfolds its input, 27 neighbours for each; a larger one is oneDNN's (ATen's use_mkldnn).
UNFOLDED_UNTIL = 20_480  # channels × frames × rows
CACHED_FRAMES = 2  # what a causal convolution remembers


def decoding_bytes(
    height: int, width: int, chunk: int, channels: int, patch: int, bytes_per_value: int = 4, maps: int = 16
) -> int:
    """Peak activations of a decode, in maps of the layer with full resolution for the frames of one chunk.

    maps: so many are alive at once. In Wan's these are what the convolutions remember of the last chunk, the upsampled
    map, its residual, and a quarter more for what oneDNN lays out anew.
    """
    rows, columns = height // patch, width // patch
    one = bytes_per_value * channels * chunk * rows * columns
    unfolded = channels * (chunk + CACHED_FRAMES) * (rows + 2) <= UNFOLDED_UNTIL
    return CONVOLUTIONS[has_tiles()] + (maps + (27 if unfolded else 0)) * one


def encoding_bytes(tokens: int, width: int, ffn: int, heads: int, bytes_per_value: int = 4) -> int:
    """Peak activations of a text encoder that reads so many tokens: the scores of every pair, by head, at softmax in
    float32 and before; or the gated feed-forward."""
    scores = heads * tokens * tokens * (2 * bytes_per_value + 4)
    return BUFFERS + tokens * bytes_per_value * 6 * width + max(scores, tokens * bytes_per_value * 3 * ffn)


@cache
def has_tiles() -> bool:
    """Whether this CPU has AMX, for which oneDNN keeps larger buffers."""
    try:
        return "amx_tile" in (PROC / "cpuinfo").read_text()
    except (OSError, UnicodeDecodeError):  # no Linux
        return False


def machine_bytes() -> int | None:
    """The memory there is: this machine's, or its container's where that is less; None where it can't be asked."""
    return min((count for count in (_physical(), *(limit for limit, _ in _cgroups())) if count), default=None)


def available_bytes() -> int | None:
    """What of it is free."""
    found = [limit - used for limit, used in _cgroups()]
    try:
        found.append(_meminfo(PROC / "meminfo"))
    except (OSError, ValueError, StopIteration):  # no Linux
        found += [count] if (count := machine_bytes()) else []
    return max(0, min(found)) if found else None


PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
# Of the two versions of cgroups: the folder, what is in use, the limit, and of memory.stat the pages that only cache
# files, which are given back when they are wanted
VERSIONS = {
    1: ("memory", "memory.usage_in_bytes", "memory.limit_in_bytes", ("total_active_file", "total_inactive_file")),
    2: ("", "memory.current", "memory.max", ("active_file", "inactive_file")),
}


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _meminfo(path: Path) -> int:
    return 1024 * next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("MemAvail"))


def _cgroups() -> Iterator[tuple[int, int]]:
    """(limit, bytes in use) of this process' group and of those above it, where they have a limit."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        group = Path(path)
        for one in (group, *group.parents):
            try:
                yield _cgroup(one, VERSIONS[1 if controllers else 2])
            except (OSError, ValueError):  # "max", or a folder that the container doesn't see
                continue


def _cgroup(group: Path, version: tuple) -> tuple[int, int]:
    mount, usage, limit, cached = version
    folder = CGROUP / mount / group.relative_to("/")
    most, used = (int((folder / name).read_text()) for name in (limit, usage))
    lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return most, used - sum(int(count) for name, count in lines if name in cached)


def refuse_if_impossible(needed: int, what: str, gpu: int | None = 0):
    """Raises MemoryError for what this machine can't hold, with all that its GPU has beside; None: nobody can tell."""
    machine = machine_bytes()
    if gpu is None or not machine or needed <= machine + gpu:
        return
    have = f"this machine has {readable(machine)}" + (f" and its GPU {readable(gpu)}" if gpu else "")
    raise MemoryError(f"{what} needs about {readable(needed)} of memory, {have}; make it smaller")


def readable(count: int) -> str:
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.0f} MB" if count < GB else f"{count / GB:.1f} GB"
