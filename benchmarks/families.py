"""The sampler's time per step against stock diffusers', for every family, taking turns in one process.

    python -m benchmarks.families                    # all of them
    python -m benchmarks.families Wan2.1-T2V LTX-0.9.0 --pairs 7 --width 1024

The models of tests/families with their transformers made larger: the tiny ones are all overhead. What counts is the
time from the end of the first step to the end of the last, so neither prompts nor VAEs. The aim is a ratio of 1.02.
"""

import argparse
import inspect
import statistics
import sys
import tempfile
import time
from pathlib import Path

AIM = 1.02
CELLS, LATENT_FRAMES = 8, 5  # tokens a side and latent frames: 320 tokens


def main():
    a = parse()
    tests_on_path()
    from spacetime_nodes.nodes import runtime
    from test_cosmos import TORCHVISION, transformer_cosmos
    from tiny import MODELS

    if not hasattr(transformer_cosmos, "transforms"):  # no torchvision here, which stock Cosmos resizes a mask with
        transformer_cosmos.transforms = TORCHVISION

    names = a.names or [name for name in MODELS if makes_video_from_text(name)]
    if unknown := [name for name in names if name not in MODELS]:
        raise SystemExit(f"no family is called {unknown[0]!r}; one of {', '.join(MODELS)}")
    print(f"width {a.width}, {a.layers} layers, {a.steps} steps, {a.pairs} pairs; milliseconds a step")
    print(f"{'family':>22}  {'ours':>8}  {'stock':>8}  {'ratio':>6}  {'(pairs)':>15}")
    slow = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            runtime.HOST.set(runtime.Host(base=Path(folder), on_notice=lambda text: None))
            ours, stock, pairs = compared(MODELS[name](), Path(folder), a)
        ratio = statistics.median(pairs)
        slow += [name] if ratio > AIM else []
        spread = f"({min(pairs):.3f}–{max(pairs):.3f})"
        print(f"{name:>22}  {ours * 1e3:8.1f}  {stock * 1e3:8.1f}  {ratio:6.3f}  {spread:>15}", flush=True)
    print(f"slower than {AIM}: {', '.join(slow)}" if slow else f"none is slower than {AIM}")
    return 1 if slow else 0


def tests_on_path():
    """Their models can be imported."""
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / folder) for folder in ("", "families")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="FAMILY")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=5)
    return parser.parse_args()


def makes_video_from_text(name: str) -> bool:
    """LTX-2.3 is left to LTX-2, by whose adapter it goes: it reads prompts as wide as itself, so can't be widened."""
    return not any(mark in name for mark in ("I2V", "FLF2V", "VACE", "LTX-2.3"))


def compared(pipeline, base: Path, a) -> tuple[float, float, list[float]]:
    """Median seconds a step of ours and of stock, and their ratios pair by pair. tests/families promises that both make
    the same latents."""
    from bench import SEED, lively, load, result, save

    size = canvas_of(pipeline)
    for part in ("transformer", "transformer_2"):
        if getattr(pipeline, part, None) is not None:
            larger = enlarged(getattr(pipeline, part), size, a)
            pipeline.register_modules(**{part: lively(larger)})
    stock_pipeline, model = save(pipeline, base, "model"), load("model")
    prompts = result("EncodePrompt", model.text_encoder, "a red circle", "blurry")
    settings = {"width": size["width"], "height": size["height"]}
    latent = result("Grid", model.dit, model.vae, "custom", 0, *settings.values(), 0.0, 8.0, size["frames"], 1)[0]
    asked = inspect.signature(stock_pipeline.__call__).parameters
    settings[next(name for name in ("num_frames", "video_length", "frames") if name in asked)] = size["frames"]
    if "guidance_scale" in asked:
        settings["guidance_scale"] = 4.0
    else:  # HunyuanVideo 1.5 has it in a part of its own
        stock_pipeline.guider = stock_pipeline.guider.new(guidance_scale=4.0)
    if "use_resolution_binning" in asked:
        settings["use_resolution_binning"] = False  # Sana-Video: this size, not the nearest of its own
    if "stg_scale" in asked:  # LTX-2's further terms of guidance, with passes of their own, off
        from test_ltx2 import PLAIN

        settings |= {**PLAIN, "use_cross_timestep": stock_pipeline.transformer.config.cross_attn_mod}
    if "frame_rate" in asked:
        settings["frame_rate"] = 8.0

    def ours():
        return result("Sample", model.dit, *prompts, latent, SEED, a.steps, 4.0, preview=False)[0]["samples"]

    def stock():
        import torch

        return stock_pipeline(
            prompt="a red circle", negative_prompt="blurry", num_inference_steps=a.steps,
            generator=torch.Generator().manual_seed(SEED), output_type="latent", **settings,
        ).frames  # fmt: skip

    adapter, parts = model.dit.adapter, (stock_pipeline.transformer, getattr(stock_pipeline, "transformer_2", None))
    experts = getattr(adapter, "experts", [adapter.transformer])
    clocks = {ours: Clock(experts, a.steps), stock: Clock([part for part in parts if part is not None], a.steps)}
    for run in clocks:  # warms up
        run()
    times = {run: [] for run in clocks}
    for pair in range(a.pairs):
        for run in list(clocks)[:: 1 if pair % 2 == 0 else -1]:  # whoever goes second finds warmer caches
            times[run].append(clocks[run].time(run))
    ratios = [x / y for x, y in zip(*times.values(), strict=True)]
    return *(statistics.median(each) for each in times.values()), ratios


class Clock:
    """When each pass ends, through whichever of a model's transformers."""

    def __init__(self, transformers, steps: int):
        self.ends, self.steps = [], steps
        for transformer in transformers:
            transformer.register_forward_hook(lambda *_: self.ends.append(time.perf_counter()))

    def time(self, run) -> float:
        """Seconds a step of this run."""
        self.ends.clear()
        run()
        passes = len(self.ends) // self.steps
        of_steps = self.ends[passes - 1 :: passes]
        return (of_steps[-1] - of_steps[0]) / (len(of_steps) - 1)


def canvas_of(pipeline) -> dict:
    """A canvas of the same number of tokens for every family."""
    vae, config = pipeline.vae, pipeline.transformer.config
    space = getattr(vae, "spatial_compression_ratio", None) or 8
    factor = getattr(vae, "temporal_compression_ratio", None) or 4
    patch = config.get("patch_size", 1)
    side = space * CELLS * (patch if isinstance(patch, int) else patch[1])
    return {"width": side, "height": side, "frames": (LATENT_FRAMES - 1) * factor + 1, "cells": side // space}


def enlarged(transformer, size: dict, a):
    """The same kind of transformer, as wide and deep as asked for, trained for a canvas of this size."""
    config = {key: value for key, value in transformer.config.items() if key != "_use_default_values"}
    heads = a.width // config["attention_head_dim"]
    width = heads * config["attention_head_dim"]
    changes = {
        "num_attention_heads": heads, "num_layers": a.layers, "num_single_layers": a.layers, "ffn_dim": 4 * width,
        "cross_attention_dim": width, "num_cross_attention_heads": heads,
        "cross_attention_head_dim": config["attention_head_dim"], "sample_width": size["cells"],
        "sample_height": size["cells"], "sample_frames": size["frames"], "video_length": size["frames"],
        "target_size": size["width"],
    }  # fmt: skip
    known = {key: value for key, value in changes.items() if config.get(key) is not None}
    return type(transformer).from_config({**config, **known})


if __name__ == "__main__":
    sys.exit(main())
