"""What `spacetime plan` says of memory and tokens against what a run is then seen to take (Linux, CPU).

    python -m benchmarks.plan --model pocket
    python -m benchmarks.plan --model wan-1.3b --dtype bfloat16 --sizes 128x128x5 128x128x17 192x192x17

Each stage runs in a process of its own, which first runs pocket once so that all libraries are in memory; what counts
is the highest resident memory of loading and running above that. wan-1.3b has Wan 2.1's shapes and random weights; of
UMT5-XXL's 24 layers it takes --text-layers, and the plan is told so.
"""

import argparse
import gc
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path

STAGES = ("text encoder", "sampling", "decoding")
POCKET = "pocket (built in)"
SIZES = {"pocket": ["64x64x17", "96x96x33", "128x128x33"], "wan-1.3b": ["128x128x5", "128x128x17", "192x192x17"]}
PARTS = {"transformer": "wan-2.1-t2v-1.3b", "vae": "wan-2.1-vae", "text_encoder": "umt5-xxl"}
LOADERS = {
    "transformer": ("SpacetimeLoadDiT", "diffusion_models"),
    "vae": ("SpacetimeLoadVAE", "vae"),
    "text_encoder": ("SpacetimeLoadTextEncoder", "text_encoders"),
}
STEPS, GUIDANCE, PROMPT = 1, 4.0, "red circle moving right on a black background"


def main():
    a = parse()
    if a.stage:
        return measure(a)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        if a.model != "pocket":
            write_model(base, a.text_layers)
        print(f"{a.model}, {a.dtype}, guidance {a.guidance:g}, {STEPS} step; MB planned / measured")
        print(f"{'stage':>12}  {'size':>11}  {'tokens':>13}  {'peak':>13}  {'off':>7}  {'beside weights':>14}")
        sizes, worst = a.sizes or SIZES[a.model], 0.0
        for stage in a.stages:
            for size, real in middle([dict(measured(a, base, stage, sizes)) for _ in range(a.repeats)]):
                plan = planned(a, base, size)
                part, seen = plan["memory"][stage], real["tokens"]
                off = part["peak"] / real["peak"] - 1
                worst = max(worst, abs(off), abs(plan["tokens_per_pass"] / seen - 1) if seen else 0.0)
                tokens = f"{plan['tokens_per_pass']} / {seen}" if seen else ""
                both = (f"{part[what] / 1e6:.1f} / {real[what] / 1e6:.1f}" for what in ("peak", "working"))
                peak, working = both
                print(f"{stage:>12}  {size:>11}  {tokens:>13}  {peak:>13}  {off:+7.1%}  {working:>14}", flush=True)
        print(f"largest difference {worst:.1%}")
        return 0 if worst <= 0.15 else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(SIZES), default="pocket")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="a VAE stays float32")
    parser.add_argument("--sizes", nargs="+", metavar="WxHxF")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--text-layers", type=int, default=2)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--repeats", type=int, default=1, help="how often each stage is measured; the middle counts")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def middle(runs: list[dict]):
    """(size, facts) of the middle one of several runs: of a small stage a few pages more or less are a tenth."""
    for size in runs[0]:
        yield size, sorted((run[size] for run in runs), key=lambda facts: facts["peak"])[len(runs) // 2]


def handles(a, base: Path) -> dict:
    from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS, runtime

    runtime.HOST.set(runtime.Host(base=base))
    name = POCKET if a.model == "pocket" else "model"
    dtypes = {"transformer": a.dtype, "vae": "float32", "text_encoder": a.dtype}
    return {part: NODE_CLASS_MAPPINGS[loader]().run(name, dtypes[part], "cpu")[0]
            for part, (loader, _) in LOADERS.items()}  # fmt: skip


def canvas(dit, vae, size: str, really: bool):
    from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS

    width, height, frames = map(int, size.split("x"))
    node = NODE_CLASS_MAPPINGS["SpacetimeGrid"]()
    return (node.run if really else node.plan)(dit, vae, "custom", 0, width, height, 0.0, 8.0, frames)["result"][0]


def planned(a, base: Path, size: str) -> dict:
    from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS

    parts = handles(a, base)
    dit, vae, text_encoder = parts["transformer"], parts["vae"], parts["text_encoder"]
    latent = canvas(dit, vae, size, really=False)
    node = NODE_CLASS_MAPPINGS["SpacetimePlan"]()
    return node.plan(dit, vae, latent, STEPS, a.guidance, 0.0, text_encoder)["report"]["plan"].facts()


def measured(a, base: Path, stage: str, sizes: list[str]):
    """(size, facts) as a process of its own measures them, one size after another."""
    sizes = sizes[:1] if stage == "text encoder" else sizes  # a prompt is as long for every video
    command = [sys.executable, "-m", "benchmarks.plan", "--model", a.model, "--dtype", a.dtype, "--sizes", *sizes]
    command += ["--guidance", str(a.guidance), "--stage", stage, "--base", str(base)]
    # freed memory goes back at once: what is measured is what is held, not what glibc keeps for later
    settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if line.startswith("{"):
                facts = json.loads(line)
                yield facts["size"], facts
    if child.returncode:
        raise SystemExit(f"measuring {stage} failed")


def measure(a):
    """In a process of its own: prints peak and working memory above the libraries', and the tokens of a pass."""
    import torch

    pocket = handles(argparse.Namespace(model="pocket", dtype="float32"), a.base)
    small = canvas(pocket["transformer"], pocket["vae"], "16x16x5", really=True)
    work(pocket, "text encoder", small)
    prompts = [[torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)), {}]]
    work(pocket, "decoding", work(pocket, "sampling", small, prompts, a.guidance))
    parts = handles(a, a.base)
    canvases = {size: canvas(parts["transformer"], parts["vae"], size, really=True) for size in a.sizes}
    facts = parts["text_encoder"].config
    prompts = [[torch.randn(1, facts.tokens, facts.width), {}]]
    del pocket, small
    settle()
    libraries = resident("VmRSS")
    forget_highest()
    tokens = load(parts, STAGES.index(a.stage), random=a.model != "pocket")
    loading = resident("VmHWM")
    for size, latent in canvases.items():
        settle()
        before = resident("VmRSS")
        forget_highest()
        work(parts, a.stage, latent, prompts, a.guidance)
        highest = resident("VmHWM")
        seen = tokens[-1] if tokens else None
        facts = {"size": size, "peak": max(highest, loading) - libraries, "working": highest - before, "tokens": seen}
        print(json.dumps(facts), flush=True)


def forget_highest():
    Path("/proc/self/clear_refs").write_text("5")


def load(parts: dict, stage: int, random: bool) -> list[int]:
    """The stage's weights into memory. Returns a list that a pass will append its number of tokens to."""
    module = (parts["text_encoder"], None, parts["vae"])[stage]
    module = parts["transformer"].adapter.transformer if module is None else module.module
    for parameter in module.parameters() if random else ():
        parameter.data.uniform_(-0.02, 0.02)
    seen = []
    if stage == 1:
        module.blocks[0].register_forward_hook(lambda block, inputs, output: seen.append(output.shape[1]))
    return seen


def work(parts: dict, stage: str, latent: dict, prompts=None, guidance: float = GUIDANCE):
    from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as nodes
    from spacetime_nodes.nodes.decode import as_video

    if stage == "text encoder":
        return nodes["SpacetimeEncodePrompt"]().run(parts["text_encoder"], PROMPT, "")
    if stage == "sampling":
        node = nodes["SpacetimeSample"]()
        return node.run(parts["transformer"], prompts, prompts, latent, 0, STEPS, guidance, preview=False)[0]
    for video in as_video(parts["vae"], latent, 8.0):
        for _ in video.frames():
            pass


def settle():
    import ctypes

    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident(name: str) -> int:
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) * 1024


def write_model(base: Path, text_layers: int):
    """Wan 2.1's 1.3B as a pipeline folder whose weights are holes in the disk."""
    import torch
    from spacetime_nodes.model_loaders import registry
    from spacetime_nodes.model_loaders.folders import POCKET_FOLDER
    from spacetime_nodes.model_loaders.single_file import CONFIGS

    root = base / "models" / "diffusion_models" / "model"
    for part, config_folder in PARTS.items():
        config = json.loads((CONFIGS / config_folder / part / "config.json").read_text())
        if part == "text_encoder":
            config["num_layers"] = text_layers
        name = config.get("_class_name") or config["architectures"][0]
        with torch.device("meta"):
            module = registry.maker(name, config)()
        tied = {key for key in getattr(module, "_tied_weights_keys", None) or ()}
        tensors = {key: tuple(value.shape) for key, value in module.state_dict().items() if key not in tied}
        (root / part).mkdir(parents=True)
        (root / part / "config.json").write_text(json.dumps(config))
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        write_hole(root / part / f"{stem}.safetensors", tensors)
    (root / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    shutil.copytree(POCKET_FOLDER / "tokenizer", root / "tokenizer")
    settings = root / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "model_max_length": 512}))


def write_hole(path: Path, tensors: dict):
    header, at = {}, 0
    for key, shape in tensors.items():
        end = at + 2 * prod(shape)
        header[key] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


if __name__ == "__main__":
    sys.exit(main())
