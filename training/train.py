"""Trains pocket from nothing: VAE, then text encoder and transformer, then the decoder once more. Resumes where it was.

    python -m training.train --out runs/pocket          about two and a half hours on two CPU cores
    python -m training.train --out runs/pocket --ship   and puts the result into model_loaders/pocket/

A GPU is used where there is one; give it a few minutes a stage instead.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from spacetime_nodes.training import train_dit, train_vae
from transformers import AutoTokenizer, UMT5EncoderModel

POCKET = Path(__file__).parents[1] / "model_loaders" / "pocket"
STAGES = ("vae", "dit", "decoder")
INDEX = {
    "_class_name": "WanPipeline", "boundary_ratio": None, "expand_timesteps": True,
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"], "transformer": ["diffusers", "WanTransformer3DModel"],
    "transformer_2": [None, None], "vae": ["diffusers", "AutoencoderKLWan"],
}  # fmt: skip

TOKENIZER = ("backend", "eos_token", "model_max_length", "pad_token", "tokenizer_class", "unk_token")


def ship(run: Path, pocket: Path = POCKET) -> None:
    """Writes a run's weights to `pocket` as a diffusers folder, in half precision so that no file reaches 16 MB."""
    vae = AutoencoderKLWan.from_pretrained(run / "vae")
    weight, bias = train_dit.latent_to_rgb(vae)
    for name, model in (
        ("vae", vae),
        ("transformer", WanTransformer3DModel.from_pretrained(run / "transformer")),
        ("text_encoder", UMT5EncoderModel.from_pretrained(run / "text_encoder")),
    ):
        model.half().save_pretrained(pocket / name)
    tokenizer = AutoTokenizer.from_pretrained(run / "tokenizer")
    tokenizer.backend_tokenizer.no_truncation()  # training's own limits would be kept in the file
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(pocket / "tokenizer")
    shutil.copytree(run / "scheduler", pocket / "scheduler", dirs_exist_ok=True)
    (pocket / "vae" / "latent_rgb.json").write_text(json.dumps({"weight": weight, "bias": bias}) + "\n")
    (pocket / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
    described = pocket / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(described.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}  # 4.x knows this name
    kept = {key: value for key, value in settings.items() if key in TOKENIZER}
    described.write_text(json.dumps(kept, indent=2) + "\n")
    for config in pocket.glob("*/config.json"):  # where the run stood on the disk is nobody's business
        facts = json.loads(config.read_text())
        facts.pop("_name_or_path", None)
        config.write_text(json.dumps(facts, indent=2) + "\n")
    for file in pocket.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)  # safetensors writes 0600


def curve(run: Path, picture: Path) -> None:
    """Draws the logs of all stages side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), constrained_layout=True)
    for axis, folder, key, title in (
        (axes[0], "vae_run", "psnr", "VAE: PSNR of training batches (dB)"),
        (axes[1], "dit_run", "loss", "Transformer: flow matching loss"),
    ):
        log = run / folder / "log.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        axis.plot([line["minutes"] for line in lines], [line[key] for line in lines], linewidth=1)
        axis.set(title=title, xlabel="minutes")
        axis.grid(alpha=0.3)
    axes[1].set_yscale("log")
    figure.savefig(picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/pocket"), help="weights, checkpoints and logs go here")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--vae-minutes", type=float, default=45)
    parser.add_argument("--dit-minutes", type=float, default=80)
    parser.add_argument("--decoder-minutes", type=float, default=15)
    parser.add_argument("--start", type=Path, help="go on from the weights of this pocket folder, in every stage named")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", action="store_true", help="put the result into model_loaders/pocket/")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")  # or known cells are judged noisy
    if args.start and not (args.out / "vae").exists():
        shutil.copytree(args.start / "vae", args.out / "vae")
    if "vae" in args.stages:
        train_vae.train(args.out, args.vae_minutes, device, args.seed, start=args.start and args.start / "vae")
    if "dit" in args.stages:
        train_dit.train(args.out, args.dit_minutes, device, args.seed, start=args.start)
    if "decoder" in args.stages:
        train_vae.train(
            args.out,
            args.decoder_minutes,
            device,
            args.seed + 1,
            lr=4e-3,
            lr_others=1e-3,
            start=args.out / "vae",
            decoder_only=True,
        )
    if args.ship:
        ship(args.out)
        curve(args.out, POCKET / "curve.png")


if __name__ == "__main__":
    main()
