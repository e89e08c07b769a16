"""Loading a DiT against the least anybody can do: `python -m benchmarks.loading --gb 1`.

A Wan-shaped transformer of that size with random weights is written as a diffusers folder. In turn, each in a new
process that has imported all libraries (Linux), our loader makes it ready to run, and `safetensors.torch.load_file`
reads the tensors and copies each to the device. Prints the medians, their ratio by the clock and by the processor's
time (which other programs don't lengthen), and the peak of the process's memory as a multiple of the weights. The file
is in the page cache: it is read once before. The pass of the garbage collector over all that the libraries hold, 0.2 s,
which Python makes now and then and which would fall into one way or the other by chance, is made before as well.
"""

import argparse
import gc
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

WAYS = ("ours", "load_file and copy")
LAYERS = 16


def make(folder: Path, size: float, half: bool) -> int:
    """Writes the transformer. Returns the bytes of its weights."""
    import torch
    from diffusers import WanTransformer3DModel

    heads = 1
    while 4 * LAYERS * 15.1 * (heads * 64) ** 2 / (2 if half else 1) < size:  # 15 width² weights a block, about
        heads += 1
    width = 64 * heads
    config = {"num_attention_heads": heads, "attention_head_dim": 64, "ffn_dim": int(3.5 * width), "num_layers": LAYERS}
    module = WanTransformer3DModel(**config, text_dim=256).to(torch.bfloat16 if half else torch.float32)
    module.save_pretrained(folder)
    return sum(p.nbytes for p in module.parameters())


def load(way: str, folder: Path, device: str, tell):
    """In a process of its own: tells seconds and the peak of memory above what was there before."""
    import torch
    from safetensors.torch import load_file
    from spacetime_nodes.model_loaders.dit import DiT
    from spacetime_nodes.model_loaders.folders import POCKET_FOLDER

    DiT(POCKET_FOLDER / "transformer", device=device).adapter  # noqa: B018 - libraries are imported, a GPU is awake
    gc.collect()
    before = _peak_begins()
    started, worked = time.perf_counter(), time.process_time()
    if way == "ours":
        kept = DiT(folder, device=device, memory="fits")  # as a graph's wire holds it
        kept.adapter  # noqa: B018
    else:
        file = load_file(folder / "diffusion_pytorch_model.safetensors")
        kept = {key: file.pop(key).to(device, copy=True) for key in list(file)}
    if device == "cuda":
        torch.cuda.synchronize()
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else _memory("VmHWM") - before
    tell.send((seconds, work, peak, bool(kept)))


def _peak_begins() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--gb", type=float, default=1.0)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = arguments.parse_args()
    context = multiprocessing.get_context("spawn")  # a forked one would copy each page that Python counts on
    with tempfile.TemporaryDirectory() as folder:
        size = make(Path(folder), args.gb * 1e9, half=args.device == "cuda")
        Path(folder, "diffusion_pytorch_model.safetensors").read_bytes()
        found = {way: [] for way in WAYS}
        for _ in range(args.repeats):
            for way in WAYS:
                ours, theirs = context.Pipe()
                process = context.Process(target=load, args=(way, Path(folder), args.device, theirs))
                process.start()
                found[way].append(ours.recv()[:3])
                process.join()
    print(f"{size / 1e9:.2f} GB on {args.device}, medians of {args.repeats}")
    middle = {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in found.items()}
    for way, (took, work, peak) in middle.items():
        print(f"{way:20}{took:7.2f} s   {work:6.2f} s of work   peak {peak / size:.2f} × the weights")
    took, work, _ = (a / b for a, b in zip(*middle.values(), strict=True))
    print(f"ratio {took:.2f} by the clock, {work:.2f} in work")


if __name__ == "__main__":
    main()
