"""Our graph against stock diffusers.WanPipeline: same weights, prompt, seed, steps, size and process, taking turns.

    python -m benchmarks.text_to_video --width 64 --height 64 --frames 17 --steps 20

Prints the difference of the frames, the median times, their ratio, and the memory each takes at its peak.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main():
    arguments = parse()
    if arguments.peak_of:
        return print_peak((our_graph if arguments.peak_of == "ours" else stock_pipeline)(arguments))
    ours, stock = our_graph(arguments), stock_pipeline(arguments)
    frames = {"ours": ours(), "stock": stock()}  # warm-up, and the proof that both do the same work
    difference = (frames["ours"] - frames["stock"]).abs().max().item()

    times = {"ours": [], "stock": []}
    for pair in range(arguments.pairs):
        turns = [("ours", ours), ("stock", stock)]
        for name, run in turns if pair % 2 == 0 else turns[::-1]:  # whoever goes second finds warmer caches
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = [a / b for a, b in zip(times["ours"], times["stock"], strict=True)]
    result = {
        "size": f"{arguments.width}×{arguments.height}×{arguments.frames}",
        "steps": arguments.steps,
        "scheduler": arguments.scheduler,
        "guidance": arguments.guidance,
        "largest difference of the frames": difference,
        "ours, median s": round(medians["ours"], 4),
        "stock, median s": round(medians["stock"], 4),
        "ratio of medians": round(medians["ours"] / medians["stock"], 4),
        "median of ratios": round(statistics.median(ratios), 4),
        "pairs": arguments.pairs,
        "ours, peak memory MB": peak_memory("ours"),
        "stock, peak memory MB": peak_memory("stock"),
    }
    print(json.dumps(result, ensure_ascii=False, indent=2))
    return 0 if difference == 0.0 else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--scheduler", default="auto", choices=["auto", "euler", "unipc"])
    parser.add_argument("--prompt", default="red circle moving right on a black background")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--peak-of", choices=["ours", "stock"], help=argparse.SUPPRESS)
    return parser.parse_args()


def our_graph(arguments):
    """The graph as a user runs it, node by node, every time from the prompt on; loaders keep their models."""
    from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as nodes

    pocket = "pocket (built in)"
    (dit,) = nodes["SpacetimeLoadDiT"]().run(pocket)
    (vae,) = nodes["SpacetimeLoadVAE"]().run(pocket)
    (text_encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(pocket)
    dit.adapter, vae.module, text_encoder.module, text_encoder.tokenizer  # noqa: B018 - loads
    a = arguments

    def run():
        positive, negative = nodes["SpacetimeEncodePrompt"]().run(text_encoder, a.prompt, "")
        grid = nodes["SpacetimeGrid"]().run(dit, vae, "custom", 0, a.width, a.height, 0.0, 8.0, a.frames, 1)
        latent = grid["result"][0]
        (latent,) = nodes["SpacetimeSample"]().run(
            dit, positive, negative, latent, 0, a.steps, a.guidance, a.scheduler, preview=False
        )
        (images,) = nodes["SpacetimeDecodeImages"]().run(vae, latent)
        return images  # [F, height, width, 3]

    return run


def stock_pipeline(arguments):
    import torch
    from diffusers import WanPipeline
    from spacetime_nodes.model_loaders.folders import POCKET_FOLDER
    from spacetime_nodes.spacetime.schedule import make_scheduler

    pipeline = WanPipeline.from_pretrained(POCKET_FOLDER, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = make_scheduler(arguments.scheduler, {**pipeline.scheduler.config})
    a = arguments
    # the same length of text for both: padding the prompt to 512 would slow stock down by half again
    length = min(pipeline.tokenizer.model_max_length, 512)

    def run():
        video = pipeline(
            prompt=a.prompt, negative_prompt="", width=a.width, height=a.height, num_frames=a.frames,
            num_inference_steps=a.steps, guidance_scale=a.guidance, max_sequence_length=length,
            generator=torch.Generator().manual_seed(0),
        ).frames[0]  # fmt: skip
        return torch.from_numpy(video)

    return run


def peak_memory(side: str) -> float | None:
    """MB that the first run takes at its peak above the loaded process, in a process of its own (Linux)."""
    command = [sys.executable, "-m", "benchmarks.text_to_video", *sys.argv[1:], "--peak-of", side]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(out[-1]) if out else None


def print_peak(run):
    status = Path("/proc/self/status")
    if status.exists():
        before = int(status.read_text().split("VmRSS:")[1].split()[0])  # kB
        run()
        print((int(status.read_text().split("VmHWM:")[1].split()[0]) - before) / 1e3)


if __name__ == "__main__":
    sys.exit(main())
