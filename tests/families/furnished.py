"""A user's folder in which every graph of workflows/ finds the model it names, a tiny one, and its picture and clip."""

import json
from pathlib import Path

import diffusers
import torch
import transformers
from bench import picture
from clips import video_of
from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
from downloads import Files
from safetensors.torch import save_file
from spacetime_nodes.model_loaders.checkpoint import read_json
from spacetime_nodes.model_loaders.single_file import CONFIGS
from spacetime_nodes.model_loaders.tokenizers import in_folder
from tiny import MODELS
from tiny_files import TINY, TINY_VAES, make, random_state, save_single, spiece

WORKFLOWS = Path(__file__).parents[2] / "workflows"
POCKETS = ("pocket (built in)",)
# what the graphs call a folder → the tiny model that stands for it
FOLDERS = {
    "LTX-Video-0.9.5": "LTX-0.9.5", "LTX-Video-0.9.7-distilled": "LTX-0.9.5", "CogVideoX-2b": "CogVideoX-2B",
    "CogVideoX-5b-I2V": "CogVideoX-5B-I2V", "HunyuanVideo": "HunyuanVideo",
    "HunyuanVideo-I2V": "HunyuanVideo-I2V",
}  # fmt: skip
UMT5 = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 96}
# what the graphs call the files → whose they are
WAN_FILES = {
    "wan2.1_t2v_1.3B_bf16": ("wan-2.1-t2v-1.3b", "wan_2.1_vae", "wan-2.1-vae"),
    "wan2.1_vace_1.3B_fp16": ("wan-2.1-vace-1.3b", "wan_2.1_vae", "wan-2.1-vae"),
    "wan2.2_animate_14B_bf16": ("wan-2.2-animate-14b", "wan_2.1_vae", "wan-2.1-vae"),
    "wan2.2_ti2v_5B_fp16": ("wan-2.2-ti2v-5b", "wan2.2_vae", "wan-2.2-ti2v-5b"),
}
SMALL = {"SpacetimeGrid": {"size": 32, "seconds": 1.0, "fps": 8.0}, "SpacetimeSample": {"steps": 2}}
LOADERS = {
    "SpacetimeLoadDiT": "model_name", "SpacetimeLoadVAE": "vae_name", "SpacetimeLoadTextEncoder": "text_encoder_name",
}  # fmt: skip


def graphs_of_families() -> list[str]:
    """The graphs that name another model than the built-in one."""
    found = []
    for path in sorted(WORKFLOWS.glob("*.json")):
        nodes = json.loads(path.read_text())["nodes"]
        names = {node["widgets_values"][0] for node in nodes if node["type"] in LOADERS}
        if not names <= set(POCKETS):
            found.append(path.stem)
    return found


def settings(name: str, **changes) -> list[str]:
    """For the command line, what makes such a graph small enough for its tiny model. changes: class → inputs."""
    small = {**SMALL, **changes}
    if "cogvideox" in name:  # made for one size
        small["SpacetimeGrid"] = {"width": 48, "height": 32, "seconds": 1.0}
    if name.endswith("two_stage"):
        both = dict.fromkeys(("First Sample", "Second Sample"), small.pop("SpacetimeSample"))
        small |= {**both, "SpacetimeUpsampleLatent": {"strength": 0.5}}
    if name.endswith("extend"):
        small["SpacetimeExtend"] = {"seconds": 1.0}
    return [f"--set={node}.{key}={value}" for node, one in small.items() for key, value in one.items()]


def furnish(base: Path):
    """Puts input/example.png, input/clip.mp4 and the models into `base`, which may hold others."""
    models = base / "models"
    (base / "input").mkdir(exist_ok=True)
    picture(64, 48)[0].save(base / "input" / "example.png")
    video_of(17, 48)[0].save_to(base / "input" / "clip.mp4")
    for folder, name in FOLDERS.items():
        MODELS[name]().save_pretrained(models / "diffusion_models" / folder)
    upsampler = LTXLatentUpsamplerModel(in_channels=8, mid_channels=32, num_blocks_per_stage=1).eval()
    path = models / "latent_upscale_models" / "ltxv-spatial-upscaler-0.9.7.safetensors"
    path.parent.mkdir()
    save_file(upsampler.state_dict(), path)
    umt5 = umt5_file(models / "text_encoders" / "umt5_xxl_fp16.safetensors")
    for dit, (config, vae, vae_config) in WAN_FILES.items():
        parts = {
            "transformer": random_module(config, "transformer", TINY.get(config, TINY["wan-2.1-t2v-1.3b"])),
            "vae": random_module(vae_config, "vae", TINY_VAES[vae_config]),
        }
        for part, name, whose, shelf in (
            ("transformer", dit, config, "diffusion_models"),
            ("vae", vae, vae_config, "vae"),
        ):
            path = models / shelf / f"{name}.safetensors"
            save_single(path, whose, part, parts[part].state_dict(), dict(parts[part].config))
        parts |= Files(base).clip_vision() if "animate" in config else {}
        told = read_json(CONFIGS / config / "model_index.json")
        schedule = read_json(CONFIGS / config / "scheduler" / "scheduler_config.json")
        own = {key: value for key, value in told.items() if key == "expand_timesteps"}
        getattr(diffusers, told["_class_name"])(
            **parts, **umt5, scheduler=getattr(diffusers, schedule["_class_name"]).from_config(schedule), **own
        ).save_pretrained(models / "diffusion_models" / f"{dit} folder")  # fmt: skip


def random_module(name, part, changes):
    module = make({**read_json(CONFIGS / name / part / "config.json"), **changes}, "cpu")
    module.load_state_dict({key: 0.2 * value for key, value in random_state(module).items()})
    return module


def umt5_file(path):
    """ComfyUI's UMT5, tokenizer and all; and the same as a pipeline's parts."""
    config = {**read_json(CONFIGS / "umt5-xxl" / "text_encoder" / "config.json"), **UMT5}
    torch.manual_seed(0)
    encoder = transformers.UMT5EncoderModel(transformers.UMT5Config.from_dict(config)).eval()
    state = {key: value.clone() for key, value in encoder.state_dict().items() if key != "encoder.embed_tokens.weight"}
    path.parent.mkdir(parents=True)
    save_file({**state, "spiece_model": torch.frombuffer(bytearray(spiece()), dtype=torch.uint8)}, path)
    path.with_suffix(".json").write_text(json.dumps(config))
    (path.parent / "spiece.model").write_bytes(spiece())
    tokenizer = in_folder(path.parent)
    (path.parent / "spiece.model").unlink()
    return {"text_encoder": encoder, "tokenizer": tokenizer}
