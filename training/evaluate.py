"""Measures pocket: does a generated clip show what its prompt says? Judged from pixels alone (see judge.py).

python -m training.evaluate                      everything, as in the model card
python -m training.evaluate judge|vae|prompts|verbs    one part
"""

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path

import torch
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.model_loaders.text_encoder import TextEncoder
from spacetime_nodes.model_loaders.vae import VAE
from spacetime_nodes.spacetime.guidance import make_guider
from spacetime_nodes.spacetime.model import Text
from spacetime_nodes.spacetime.sampler import Prompt, sample
from spacetime_nodes.spacetime.schedule import make_scheduler
from spacetime_nodes.training import train_vae, verbs, world
from spacetime_nodes.training.judge import compare, look
from torch import Tensor

POCKET = Path(__file__).parents[1] / "model_loaders" / "pocket"
STEPS, GUIDANCE, FRAMES = 20, 4.0, 17


class Pocket:
    """The shipped model, or one of a training run, through the package's own loaders and sampler."""

    def __init__(self, folder: Path = POCKET, device: str = "auto"):
        self.dit = DiT(folder / "transformer", device=device)
        self.text = TextEncoder(folder / "text_encoder", device=device)
        self.vae = VAE(folder / "vae", device=device)

    def generate(self, prompts: list[str], width: int, height: int, frames: int, seed: int) -> list[Tensor]:
        """One clip [F, H, W, 3] in 0..1 a prompt, sampled as one batch."""
        model = self.dit.adapter
        positive = torch.cat([self.text.encode(p)[0] for p in prompts])
        negative = self.text.encode("")[0].expand_as(positive)
        shape = (len(prompts), self.dit.config.channels, (frames - 1) // 4 + 1, height // 8, width // 8)
        latents = sample(
            model, [Prompt(Text(positive), Text(negative))], torch.zeros(shape), None,
            scheduler=make_scheduler("auto", self.dit.config.scheduler), guider=make_guider("cfg", GUIDANCE),
            steps=STEPS, seed=seed,
        )  # fmt: skip
        latents = model.denormalise(latents)
        return [torch.cat(list(self.vae.decode_stream(z))) for z in latents.split(1)]


def scenes(count: int, split: str, seed: int, width: int = 64, height: int = 64, **kinds) -> list[world.Scene]:
    rng = random.Random(seed)
    return [world.sample_scene(rng, width=width, height=height, frames=FRAMES, split=split, **kinds)
            for _ in range(count)]  # fmt: skip


def captions(of: list[world.Scene], seed: int) -> list[str]:
    """Canonical captions for the even ones, long paraphrases for the odd."""
    rng = random.Random(seed)
    return [world.caption(s, rng, ("plain", "long")[i % 2]) for i, s in enumerate(of)]


def rates(results: list[dict[str, bool]]) -> dict[str, float]:
    """Share of right answers, in per cent."""
    total = Counter()
    for result in results:
        total.update(result)
    return {key: round(100 * total[key] / len(results), 1) for key in results[0]}


def judge_prompts(pocket: Pocket, wanted: list[world.Scene], width: int, height: int, seed: int, batch: int = 20,
                  keep: list | None = None) -> dict[str, float]:  # fmt: skip
    """Generates a clip for each scene's caption and holds what it shows against the scene."""
    texts, results = captions(wanted, seed), []
    for start in range(0, len(wanted), batch):
        clips = pocket.generate(texts[start : start + batch], width, height, FRAMES, seed + start)
        for clip, scene, text in zip(clips, wanted[start:], texts[start:], strict=False):
            right = compare(look(clip), scene)
            results.append(right)
            if keep is not None:
                wrong = [k for k, v in right.items() if not v and " " not in k]
                keep.append((clip, text + ("" if not wrong else f"   [wrong: {', '.join(wrong)}]")))
    return rates(results)


def evaluate_judge(count: int = 200) -> dict:
    """The judge on real clips of the world, and on the same clips with their scenes shuffled."""
    real = scenes(count, "all", seed=101)
    reports = [look(world.render([scene], 64, 64, FRAMES)[0]) for scene in real]
    shuffled = real[1:] + real[:1]
    return {
        "real clips": rates([compare(r, s) for r, s in zip(reports, real, strict=True)]),
        "shuffled": rates([compare(r, s) for r, s in zip(reports, shuffled, strict=True)]),
    }


def evaluate_vae(pocket: Pocket) -> dict:
    """Reconstruction of unseen clips through the VAE's own encode and decode."""
    vae = pocket.vae.module
    return {
        "psnr 64x64x17": round(train_vae.psnr(vae), 2),
        "psnr 64x64 images": round(train_vae.psnr(vae, frames=1), 2),
        "psnr 96x96x17": round(train_vae.psnr(vae, size=96), 2),
        "psnr 64x64x33": round(train_vae.psnr(vae, frames=33), 2),
        "psnr 112x112x9": round(train_vae.psnr(vae, size=112, frames=9), 2),
    }


def evaluate_prompts(pocket: Pocket, count: int = 200, sheet: str | None = None) -> dict:
    """Single things as prompted (half of them held-out combinations), then everything at once, then other aspects."""
    one = world.SIMPLE
    kept: list = []
    seen, unseen = scenes(count // 2, "train", 201, **one), scenes(count // 2, "held_out", 202, **one)
    table = {"one thing, seen": judge_prompts(pocket, seen, 64, 64, 1000, keep=kept),
             "one thing, held out": judge_prompts(pocket, unseen, 64, 64, 2000, keep=kept)}  # fmt: skip
    halves = list(table.values())
    table["one thing"] = {k: round((halves[0][k] + halves[1][k]) / 2, 1) for k in halves[0]}
    full = scenes(count // 2, "train", 203)
    table["two shapes, spins, sizes, pans"] = judge_prompts(pocket, full, 64, 64, 3000, keep=kept)
    for name, width, height in (("1:1", 64, 64), ("16:9", 112, 64), ("9:16", 64, 112)):
        some = scenes(count // 3, "all", 204, width, height, **one)
        table[name] = judge_prompts(pocket, some, width, height, 4000, keep=kept if name != "1:1" else None)
    if sheet:
        wrong = [k for k in kept if "[wrong" in k[1]][:12]
        picks = wrong + [k for k in kept if "[wrong" not in k[1]][:: max(1, len(kept) // 14)]
        world.contact_sheet([c for c, _ in picks], [t for _, t in picks], sheet)
    return table


def show(title: str, table: dict) -> None:
    print(f"\n{title}")
    for name, row in table.items():
        cells = "  ".join(f"{k} {v}" for k, v in row.items()) if isinstance(row, dict) else row
        print(f"  {name:32} {cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("all", "judge", "vae", "prompts", "verbs"), default="all")
    parser.add_argument("--model", type=Path, default=POCKET, help="a pocket folder (default: the shipped one)")
    parser.add_argument("--count", type=int, default=200, help="prompts of the main table; every verb gets a sixth")
    parser.add_argument("--sheet", help="save a contact sheet of generated clips here, wrong ones first")
    parser.add_argument("--json", type=Path, help="save the figures here")
    args = parser.parse_args()
    pocket, figures, start = Pocket(args.model), {}, time.time()
    if args.part in ("all", "judge"):
        figures["judge"] = evaluate_judge()
        show("The judge itself, per cent right", figures["judge"])
    if args.part in ("all", "vae"):
        figures["vae"] = evaluate_vae(pocket)
        show("VAE, dB on unseen clips", figures["vae"])
    if args.part in ("all", "prompts"):
        figures["prompts"] = evaluate_prompts(pocket, args.count, args.sheet)
        show(f"Prompts, per cent right ({STEPS} steps, guidance {GUIDANCE:g})", figures["prompts"])
    if args.part in ("all", "verbs"):
        figures["verbs"] = verbs.evaluate(pocket, max(2, args.count // 6))
        show(f"Verbs, {args.count // 6} prompts each, per cent unless said", figures["verbs"])
    print(f"\n{time.time() - start:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
