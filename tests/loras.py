"""Random LoRAs for a transformer, written in each of the layouts that trainers and tools write."""

import json
import re

import original_layout as old
import torch
from safetensors.torch import save_file

RANK, ALPHA = 4, 2.0  # the scale is a power of two: it rounds nothing, wherever it is multiplied in
RENAMES = {"Wan": old.WAN, "LTX": old.LTX, "HunyuanVideo": old.HUNYUAN, "HunyuanVideo 1.5": old.HUNYUAN_15}
BLOCK = re.compile(r"^(?:\w+_)?(?:blocks|transformer_blocks|refiner_blocks)\.\d+\.")


def factors(transformer, seed=0, rank=RANK, only=None, size=0.3):
    """layer → (down, up) for the linear layers of all blocks. Layers of one block and width share their down: an
    original file may have them in one."""
    torch.manual_seed(seed)
    made, downs = {}, {}
    for name, module in transformer.named_modules():
        block = BLOCK.match(name)
        if not isinstance(module, torch.nn.Linear) or not block or (only and not re.search(only, name)):
            continue
        wide, tall = module.in_features, module.out_features
        down = downs.setdefault((block.group(), wide), torch.randn(rank, wide) * size)
        made[name] = (down, torch.randn(tall, rank) * size)
    assert made
    return made


def keys(made, before, ends):
    return {f"{before}{name}{end}": one for name, pair in made.items() for end, one in zip(ends, pair, strict=True)}


def diffusers(made):
    """As diffusers saves it. It knows no alphas but in metadata: the scale is in the weights."""
    scaled = {name: (down * (ALPHA / len(down)), up) for name, (down, up) in made.items()}
    return keys(scaled, "transformer.", (".lora_A.weight", ".lora_B.weight"))


def peft(made):
    return keys(made, "base_model.model.", (".lora_A.weight", ".lora_B.weight"))


def kohya(made, family=""):
    """lora_unet_blocks_0_self_attn_q.lora_down.weight and alphas; under diffusers' names where no family is given."""
    made = {name.replace(".", "_"): (*pair, torch.tensor(ALPHA)) for name, pair in originals(made, family).items()}
    return keys(made, "lora_unet_", (".lora_down.weight", ".lora_up.weight", ".alpha"))


def original(made, family="", ends=("lora_A", "lora_B")):
    """diffusion_model.blocks.0.self_attn.q.lora_A.weight and alphas."""
    made = {name: (*pair, torch.tensor(ALPHA)) for name, pair in originals(made, family).items()}
    return keys(made, "diffusion_model.", (*(f".{end}.weight" for end in ends), ".alpha"))


def originals(made, family):
    """Under the makers' names, fused where they fuse."""
    ups, downs = ({f"{name}.weight": pair[side] for name, pair in made.items()} for side in (1, 0))
    if family == "HunyuanVideo":
        rank = len(next(iter(downs.values())))
        missing = {"norm_out.linear.weight": torch.zeros(2, rank), "norm_out.linear.bias": torch.zeros(2)}
        ups, downs = old.fused({**missing, **ups}), old.fused({**missing, **downs})
        for state in (ups, downs):
            for key in missing:
                del state[key]
        downs = {key: down[:rank] for key, down in downs.items()}
    names = [key.removesuffix(".weight") for key in old.original(ups, RENAMES.get(family, []))]
    return {n: (down.clone(), up.clone()) for n, down, up in zip(names, downs.values(), ups.values(), strict=True)}


def save(base, name, state, metadata=None):
    """Where the node finds it."""
    path = base / "models" / "loras" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.clone().contiguous() for key, value in state.items()}, path, metadata)
    return path


def save_peft(base, name, made, **settings):
    path = save(base, f"{name}/adapter_model.safetensors", peft(made))
    (path.parent / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, **settings}))
    return path
