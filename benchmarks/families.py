"""The sampler's time per step against stock diffusers', for every family, taking turns in one process.

    python -m benchmarks.families                    # all of them
    python -m benchmarks.families Wan2.1-T2V LTX-0.9.0 --pairs 7 --width 1024
    python -m benchmarks.families --device cuda --published --layers 8 --cells 32    # on a GPU, in bfloat16

The models of tests/families with their transformers made larger: the tiny ones are all overhead. What counts is the
time from the end of the first step to the end of the last, so neither prompts nor VAEs. The aim is a ratio of 1.02.
All take the whole canvas and prompts of the same length, and the negative prompt.
Beside it stands how far the first and the last predictions are apart, of their largest value, and on a GPU the peak of
its memory with all models on it, ours and stock's. In bfloat16 many pipelines keep the latents in it from step to step,
and HunyuanVideo's the time too; ours are float32.
"""

import argparse
import inspect
import json
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

AIM = 1.02
CELLS, LATENT_FRAMES = 8, 5  # tokens a side and latent frames: 320 tokens
OWN_MEMORY = ("cuda", "xpu")
PUBLISHED = {
    "Wan2.1-T2V": "wan-2.1-t2v-14b", "Wan2.2-T2V-A14B": "wan-2.2-t2v-a14b", "Wan2.2-TI2V-5B": "wan-2.2-ti2v-5b",
    "SkyReels-V2-DF": "skyreels-v2-df-14b", "LTX-0.9.0": "ltx-2b-0.9.0", "LTX-0.9.5": "ltx-13b", "LTX-2": "ltx-2-19b",
    "HunyuanVideo": "hunyuan-video-t2v", "HunyuanVideo-CFG": "hunyuan-video-t2v-cfg",
    "HunyuanVideo-1.5-T2V": "hunyuan-video-1.5-t2v-480p", "Cosmos2.5": "cosmos-predict2.5-2b",
}  # fmt: skip
TOLD_ONE = ("SkyReels-V1-I2V",)  # as guidance, and guided beside that
# of a transformer's config: what it reads, gives and is cut into, which the tiny models' other parts decide
OUTSIDE = re.compile(
    r"_|(audio_)?(in|out)_channels|.*text|caption|pooled|image|added_kv|patch|.*crossattn|encoder_hidden|sample_"
)


def main():
    a = parse()
    tests_on_path()
    if os.environ.get("SPACETIME_STANDIN"):  # as xpu: whether a run on a GPU would go through, without its speed
        import standin

        standin.use()
    from spacetime_nodes.nodes import runtime
    from test_cosmos_transfer import TORCHVISION, controlnet_cosmos, transformer_cosmos
    from tiny import MODELS

    for module in (transformer_cosmos, controlnet_cosmos):
        if not hasattr(module, "transforms"):  # no torchvision here, which stock Cosmos resizes a mask with
            module.transforms = TORCHVISION

    names = a.names or [name for name in MODELS if is_asked_alike(name)]
    if unknown := [name for name in names if name not in MODELS]:
        raise SystemExit(f"no family is called {unknown[0]!r}; one of {', '.join(MODELS)}")
    width = "published widths" if a.published else f"width {a.width}"
    print(f"{width}, {a.layers} layers, {a.steps} steps, {a.pairs} pairs, on {a.device}; milliseconds a step, MB")
    print(
        f"{'family':>30}  {'ours':>8}  {'stock':>8}  {'ratio':>6}  {'(pairs)':>15}  {'first / last apart':>17}  peaks"
    )
    slow = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            runtime.HOST.set(runtime.Host(base=Path(folder), on_notice=lambda text: None))
            ours, stock, pairs, apart, peaks = compared(name, MODELS[name](), Path(folder), a)
        ratio = statistics.median(pairs)
        slow += [name] if ratio > AIM else []
        spread = f"({min(pairs):.3f}–{max(pairs):.3f})"
        print(
            f"{name:>30}  {ours * 1e3:8.1f}  {stock * 1e3:8.1f}  {ratio:6.3f}  {spread:>15}  {apart:>17}  {peaks}",
            flush=True,
        )
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
    parser.add_argument("--cells", type=int, default=CELLS, help="tokens a side")
    parser.add_argument("--latent-frames", type=int, default=LATENT_FRAMES)
    parser.add_argument("--published", action="store_true", help="as wide as the published transformers")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "xpu", "mps"])
    return parser.parse_args()


def is_asked_alike(name: str) -> bool:
    """EasyAnimateControlPipeline can't be called (tests/families). LTX-2.3 goes by LTX-2's adapter, Fun
    Control by that of CogVideoX's image-to-video models; HunyuanVideo-I2V's prompt is read with the picture."""
    others = "EasyAnimate-Control", "-Fun-Control", "HunyuanVideo-I2V", "LTX-2.3"
    return not any(mark in name for mark in others)


def shown(name: str, model, latent: dict, frames: int):
    """The canvas, and what stock is asked for it, with what a model is made for besides words: a picture to begin with,
    a video to follow."""
    import torch
    from bench import picture, result

    def clip(height, width):
        images, pixels = zip(*(picture(width, height, seed) for seed in range(frames)), strict=True)
        return list(images), torch.cat(pixels)

    images, pixels = clip(*(side * model.vae.config.space_factor for side in latent["samples"].shape[-2:]))

    def followed(canvas, **faces):
        return result("ControlVideo", model.vae, canvas, "start", "cover", 1.0, images=pixels, **faces)[0]

    def begun(at="start", image=pixels[:1], canvas=latent):
        return result("PlaceFrames", model.vae, canvas, at, "cover", 1.0, image)[0]

    if "-Transfer" in name:
        return followed(latent), {"controls": images, "num_frames_per_chunk": frames}
    if "-Animate" in name:
        character = result("ReferenceImages", model.vae, latent, pixels[:1])[0]
        side = model.dit.adapter.transformer.config.motion_encoder_size
        faces, pixels_of_faces = clip(side, side)
        told = {"image": images[0], "pose_video": images, "face_video": faces, "segment_frame_length": frames}
        return followed(character, face_images=pixels_of_faces), told
    if "FLF2V" in name:
        return begun("end", pixels[-1:], begun()), {"image": images[0], "last_image": images[-1]}
    if "FramePack" in name:  # the picture is a latent frame before its one section
        section = (frames - 1) // model.vae.config.time_factor
        order = "vanilla" if name.endswith("F1") else "inverted_anti_drifting"
        told = {"num_frames": 4 * section - 3, "latent_window_size": section, "sampling_type": order}
        return begun(), {"image": images[0], **told}
    if "I2V" in name and "TI2V" not in name:
        return begun(), {"image": images[0]}
    return latent, {}


def compared(name: str, pipeline, base: Path, a):
    """Median seconds a step of ours and of stock, their ratios pair by pair, how far their predictions are apart (in
    float32 tests/families promises 0.0), and the peaks of a GPU's memory; these two in words."""
    import torch
    from bench import SEED, lively, load, result, save

    size = canvas_of(pipeline, a.cells, a.latent_frames)
    for part in ("transformer", "transformer_2"):
        if getattr(pipeline, part, None) is not None:
            larger = enlarged(getattr(pipeline, part), size, a, name if a.published else "")
            pipeline.register_modules(**{part: lively(larger)})
    if control := getattr(pipeline, "controlnet", None):
        pipeline.register_modules(controlnet=lively(as_wide(control, pipeline.transformer)))
    formats = {} if a.device == "cpu" else {"torch_dtype": {"default": torch.bfloat16, "vae": torch.float32}}  # as auto
    stock_pipeline, model = save(pipeline, base, name, **formats).to(a.device), load(name, device=a.device)
    prompts = result("EncodePrompt", model.text_encoder, "a red circle", "blurry")
    square = size["width"], size["height"]
    latent = result("Grid", model.dit, model.vae, "custom", 0, *square, 0.0, 8.0, size["frames"], 1)[0]
    asked = inspect.signature(stock_pipeline.__call__).parameters
    settings = dict(zip(("width", "height"), square, strict=True)) if "width" in asked else {}
    if length := next((name for name in ("num_frames", "video_length", "frames") if name in asked), None):
        settings[length] = size["frames"]
    if "guidance_scale" in asked:
        settings["guidance_scale"] = 4.0
    else:  # HunyuanVideo 1.5 has it in a part of its own
        stock_pipeline.guider = stock_pipeline.guider.new(guidance_scale=4.0)
    if "use_resolution_binning" in asked:
        settings["use_resolution_binning"] = False  # Sana-Video: this size, not the nearest of its own
    if "stg_scale" in asked:  # LTX-2's further terms of guidance, with passes of their own, off
        from ltx2_bench import PLAIN

        settings |= {**PLAIN, "use_cross_timestep": stock_pipeline.transformer.config.cross_attn_mod}
    if "frame_rate" in asked:
        settings["frame_rate"] = 8.0
    if "max_sequence_length" in asked and "stg_scale" not in asked:
        settings["max_sequence_length"] = model.text_encoder.config.tokens
    if "true_cfg_scale" in asked and (name in TOLD_ONE or not stock_pipeline.transformer.config.guidance_embeds):
        settings |= {"guidance_scale": 1.0, "true_cfg_scale": 4.0}
    if "ar_step" in asked:
        from test_skyreels_v2 import Careful

        settings |= {"fps": 8, "ar_step": 0}
        stock_pipeline.scheduler = Careful.from_config(stock_pipeline.scheduler.config)  # see there

    if "FramePack" in name:  # ours draws the whole canvas' noise at once, and takes the encoder's mean
        from test_framepack import of_mean

        encode = stock_pipeline.vae.encode
        stock_pipeline.vae.encode = lambda x: of_mean(encode(x).latents)
        noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(SEED))[:, :, 1:]
        stock_pipeline.prepare_latents = lambda *args, **more: noise.to(a.device, copy=True)
    latent, more = shown(name, model, latent, size["frames"])
    settings |= more

    def ours():
        whole = {"windows": "whole", "preview": False}  # nothing that stock doesn't do
        return result("Sample", model.dit, *prompts, latent, SEED, a.steps, 4.0, **whole)[0]["samples"]

    def stock():
        import torch

        return stock_pipeline(
            prompt="a red circle", negative_prompt="blurry", num_inference_steps=a.steps,
            generator=torch.Generator().manual_seed(SEED), output_type="latent", **settings,
        ).frames  # fmt: skip

    adapter, parts = model.dit.adapter, (stock_pipeline.transformer, getattr(stock_pipeline, "transformer_2", None))
    experts = getattr(adapter, "experts", [adapter.transformer])
    clocks = {ours: Clock(experts, a.steps), stock: Clock([part for part in parts if part is not None], a.steps)}
    seen, peaks, counts = [], [], getattr(torch, a.device)
    for run, clock in clocks.items():  # warms up
        if a.device in OWN_MEMORY:
            counts.reset_peak_memory_stats()
        run()
        seen.append(clock.first_and_last())
        if a.device in OWN_MEMORY:
            peaks.append(f"{counts.max_memory_allocated() / 1e6:.0f}")
    times = {run: [] for run in clocks}
    for pair in range(a.pairs):
        for run in list(clocks)[:: 1 if pair % 2 == 0 else -1]:  # whoever goes second finds warmer caches
            times[run].append(clocks[run].time(run))
    ratios = [x / y for x, y in zip(*times.values(), strict=True)]
    apart = " / ".join(f"{difference(*some):.1e}" for some in zip(*seen, strict=True))
    return *(statistics.median(each) for each in times.values()), ratios, apart, " / ".join(peaks)


def difference(ours: list, theirs: list) -> float:
    """The largest, of their largest value, of both prompts' predictions in either order."""
    return max(min(((one - other).abs().max() / other.abs().max()).item() for one in ours) for other in theirs)


class Clock:
    """When each pass ends, through whichever of a model's transformers."""

    def __init__(self, transformers, steps: int):
        self.ends, self.steps, self.seen = [], steps, []
        for transformer in transformers:
            transformer.register_forward_hook(self.ended)

    def ended(self, transformer, inputs, output):
        self.seen.append(output[0].cpu())  # which waits for a GPU
        self.ends.append(time.perf_counter())

    def first_and_last(self) -> tuple[list, list]:
        """The predictions of the first step and of the last."""
        passes = len(self.seen) // self.steps
        return self.seen[:passes], self.seen[-passes:]

    def time(self, run) -> float:
        """Seconds a step of this run."""
        self.ends.clear()
        self.seen.clear()
        run()
        passes = len(self.ends) // self.steps
        of_steps = self.ends[passes - 1 :: passes]
        return (of_steps[-1] - of_steps[0]) / (len(of_steps) - 1)


def canvas_of(pipeline, cells: int = CELLS, latent_frames: int = LATENT_FRAMES) -> dict:
    """A canvas of the same number of tokens for every family."""
    vae, config = pipeline.vae, pipeline.transformer.config
    space = getattr(vae, "spatial_compression_ratio", None) or 8
    factor = getattr(vae, "temporal_compression_ratio", None) or 4
    patch = config.get("patch_size", 1)
    side = space * cells * (patch if isinstance(patch, int) else patch[1])
    return {"width": side, "height": side, "frames": (latent_frames - 1) * factor + 1, "cells": side // space}


def enlarged(transformer, size: dict, a, published: str = ""):
    """The same kind of transformer, as wide as asked for, or as the published one of this name but for what it reads
    and gives; trained for a canvas of this size."""
    config = {key: value for key, value in transformer.config.items() if key != "_use_default_values"}
    changes = {
        "num_layers": a.layers, "num_single_layers": a.layers, "sample_width": size["cells"],
        "sample_height": size["cells"], "sample_frames": size["frames"], "video_length": size["frames"],
        "target_size": size["width"], "max_size": (size["frames"], 2 * size["cells"], 2 * size["cells"]),
    }  # fmt: skip
    if published:
        config |= {key: value for key, value in as_published(transformer, published).items() if not OUTSIDE.match(key)}
    else:
        heads = a.width // config["attention_head_dim"]
        width = heads * config["attention_head_dim"]
        changes |= {
            "num_attention_heads": heads, "ffn_dim": 4 * width, "cross_attention_dim": width,
            "num_cross_attention_heads": heads, "cross_attention_head_dim": config["attention_head_dim"],
        }  # fmt: skip
    config |= {key: value for key, value in changes.items() if config.get(key) is not None}
    for key in ("added_kv_proj_dim", "img_context_dim_out"):  # as wide as itself
        if config.get(key):
            config[key] = config["num_attention_heads"] * config["attention_head_dim"]
    return type(transformer).from_config(config)


def as_wide(control, transformer):
    """The same kind of ControlNet for this transformer."""
    heads, size = (transformer.config[key] for key in ("num_attention_heads", "attention_head_dim"))
    blocks = -(-transformer.config["num_layers"] // transformer.config["controlnet_block_every_n"])
    wide = {"num_attention_heads": heads, "attention_head_dim": size, "model_channels": heads * size,
            "img_context_dim_out": heads * size, "max_size": transformer.config.max_size}  # fmt: skip
    return type(control).from_config({**control.config, **wide, "n_controlnet_blocks": blocks})


def as_published(transformer, name: str) -> dict:
    """The config that ships with the package; of what comes in folders only, diffusers' defaults, which are theirs."""
    from spacetime_nodes.model_loaders.single_file import CONFIGS

    path = CONFIGS / PUBLISHED.get(name, "-") / "transformer" / "config.json"
    if path.is_file():
        return {key: value for key, value in json.loads(path.read_text()).items() if not key.startswith("_")}
    asked = inspect.signature(type(transformer).__init__).parameters.items()
    return {key: one.default for key, one in asked if one.default is not inspect.Parameter.empty}


if __name__ == "__main__":
    sys.exit(main())
