"""What each way of keeping a DiT's weights holds of a GPU, from loading to the last step, and what it changes.

    python -m benchmarks.offload --sizes 128x128x17 192x192x17 --ways "fits" "block offload"

Wan 2.1 1.3B's shapes with random weights, each way in a process of its own. Where there is no GPU, on the stand-in of
tests/standin, whose counts are exact and whose seconds mean nothing. Aims: block offload holds at most 40 % of the
weights, no way changes the latents by more than 1e-6, and the plan is right within 15 % (of leaf offload it is an upper
bound: its largest layer isn't there when a pass takes most).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .plan import GUIDANCE, canvas, handles, write_model

AIM, SAME, PLAN = 0.40, 1e-6, 0.15
STEPS, WAYS = 2, ("fits", "block offload", "leaf offload", "disk offload")
MODEL = "wan-1.3b"


def main():
    a = parse()
    if a.base:
        return measure(a)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_model(base, text_layers=1)
        fill(base)
        whole = {}
        for way in a.ways:
            command = [sys.executable, "-m", "benchmarks.offload", "--base", folder, "--dtype", a.dtype]
            command += ["--ways", way, "--sizes", *a.sizes]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            for line in done.splitlines():
                seen = json.loads(line)
                if not whole:
                    print(f"{MODEL}, {a.dtype}, {seen['weights'] / 1e6:.0f} MB, {STEPS} steps, on {seen['gpu']}")
                    titles = ("way", 14), ("size", 11), ("planned / held", 15), ("of weights", 10), ("difference", 10)
                    print("  ".join(title.rjust(width) for title, width in titles))
                size = seen["size"]
                first = whole.setdefault(size, seen)
                change = apart(first["latents"], seen["latents"])
                share, off = seen["peak"] / seen["weights"], seen["planned"] / seen["peak"] - 1
                both = f"{seen['planned'] / 1e6:.0f} / {seen['peak'] / 1e6:.0f}"
                print(f"{way:>14}  {size:>11}  {both:>15}  {share:10.1%}  {change:10.1e}", flush=True)
                planned_well = -PLAN <= off and (off <= PLAN or way == "leaf offload")
                if change > SAME or not planned_well or (way == "block offload" and share > AIM):
                    wrong.append(f"{way} at {size}")
    print(f"an aim is missed by {', '.join(wrong)}" if wrong else "every aim is met")
    return 1 if wrong else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--sizes", nargs="+", default=["128x128x17"], metavar="WxHxF")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def fill(base: Path):
    """Random numbers for the DiT's weights, which were holes: a tensor at a time, each with its own seed."""
    import torch
    from spacetime_nodes.model_loaders.checkpoint import read_header

    path = next((base / "models" / "diffusion_models" / "model" / "transformer").glob("*.safetensors"))
    with path.open("r+b") as file:
        for seed, piece in enumerate(read_header(path).values()):
            numbers = 0.04 * torch.rand(piece.shape, generator=torch.Generator().manual_seed(seed)) - 0.02
            file.seek(piece.begin)
            file.write(numbers.bfloat16().view(torch.uint8).numpy().tobytes())


def apart(one: str, other: str) -> float:
    """The largest difference of two saved latents."""
    from safetensors.torch import load_file

    return (load_file(one)["latents"] - load_file(other)["latents"]).abs().max().item()


def measure(a):
    """One way, in this process: a line of JSON for each size."""
    import torch

    gpu = pick()
    from safetensors.torch import save_file
    from spacetime_nodes.model_loaders import devices
    from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as nodes

    torch.manual_seed(0)
    counts = getattr(torch, gpu.type)
    for size in a.sizes:
        parts = handles(argparse.Namespace(model=MODEL, dtype=a.dtype), a.base)
        (dit,) = nodes["SpacetimeLoadDiT"]().run("model", a.dtype, gpu.type, memory=a.ways[0])
        latent = canvas(dit, parts["vae"], size, really=True)
        planned = nodes["SpacetimePlan"]().plan(dit, parts["vae"], latent, STEPS, GUIDANCE, 0.0)["report"]["plan"]
        facts = parts["text_encoder"].config
        words = torch.Generator().manual_seed(0)
        prompts = [[[torch.randn(1, facts.tokens, facts.width, generator=words), {}]] for _ in range(2)]
        devices.empty_cache()
        counts.reset_peak_memory_stats()
        before, begin = counts.memory_allocated(), time.perf_counter()
        done = nodes["SpacetimeSample"]().run(dit, *prompts, latent, 0, STEPS, GUIDANCE, preview=False)
        seconds = time.perf_counter() - begin
        peak = counts.max_memory_allocated() - before
        saved = a.base / f"{a.ways[0]} {size}.safetensors"
        save_file({"latents": done[0]["samples"]}, saved)
        told = planned.facts()["memory"]["sampling"]["peak"]
        said = {"size": size, "peak": peak, "planned": told, "weights": dit.footprints("fits")[0].weights}
        name = devices.properties(gpu).name
        print(json.dumps({**said, "seconds": seconds, "gpu": name, "latents": str(saved)}), flush=True)


def pick():
    """The first GPU with memory of its own, or the stand-in."""
    import torch
    from spacetime_nodes.model_loaders import devices

    gpu = devices.first_gpu()
    if gpu is None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        import standin

        standin.use()
        gpu = torch.device("xpu")
    return gpu


if __name__ == "__main__":
    sys.exit(main())
