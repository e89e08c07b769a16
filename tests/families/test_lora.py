"""A LoRA gives the latents that diffusers' pipeline gives with it, in every layout, and two on top of each other."""

import json
from copy import deepcopy

import loras
import pytest
import test_cogvideox
import test_ltx
import test_mochi
import test_wan
import torch
from bench import grid, load, sample, stock
from tiny import MODELS as TINY

SMALL = {"width": 32, "height": 32, "num_frames": 9}
SHORT = {**SMALL, "max_sequence_length": 16}
# tiny model → family of its original names; what its pipeline takes; how its latents become raw ones
MODELS = {
    "Wan2.1-T2V": ("Wan", SHORT, test_wan.raw),
    "Wan2.1-VACE": ("Wan", SHORT, test_wan.raw),
    "SkyReels-V2-T2V": ("Wan", SHORT, test_wan.raw),
    "LTX-0.9.0": ("LTX", {**test_ltx.SIZES, "frame_rate": test_ltx.FPS}, lambda _, latents: test_ltx.video(latents)),
    "HunyuanVideo": (
        "HunyuanVideo",
        {**SMALL, "negative_prompt": None},
        lambda pipeline, latents: latents / pipeline.vae.config.scaling_factor,
    ),
    "CogVideoX-2B": ("CogVideoX", SMALL, test_cogvideox.raw),
    "Mochi": ("Mochi", test_mochi.SIZES, test_mochi.raw),
    "Sana-Video": (
        "Sana-Video",
        {"width": 32, "height": 32, "frames": 9, "use_resolution_binning": False},
        test_wan.raw,
    ),
}
LAYOUTS = {
    "diffusers": lambda made, family: loras.diffusers(made),
    "kohya": loras.kohya,
    "kohya, diffusers' names": lambda made, family: loras.kohya(made),
    "original": loras.original,
    "original, down and up": lambda made, family: loras.original(made, family, ("lora_down", "lora_up")),
}
# how a tiny model's name begins → family of its original names, the longer first; the others' are diffusers'
MAKERS = {
    "Wan": "Wan",
    "SkyReels-V2": "Wan",
    "LTX-0": "LTX",
    "HunyuanVideo-1.5": "HunyuanVideo 1.5",
    "HunyuanVideo": "HunyuanVideo",
    "SkyReels-V1": "HunyuanVideo",
}
# diffusers reads these files itself (but VACE's blocks it doesn't know); of the others it is given the same LoRA as it
# would have saved it
READ_BY_DIFFUSERS = {
    (name, layout)
    for name in ("Wan2.1-T2V", "SkyReels-V2-T2V")
    for layout in ("kohya", "original", "original, down and up")
}


def theirs(pipeline, name, *stack):
    """Latents of diffusers' pipeline with LoRAs (state dict, strength) fused into it one after the other."""
    _, sizes, raw = MODELS[name]
    parts = {**pipeline.components, "transformer": deepcopy(pipeline.transformer)}
    copy = type(pipeline)(**parts)
    copy.set_progress_bar_config(disable=True)
    for i, (state, strength) in enumerate(stack):
        state = {key: value.clone() for key, value in state.items()}  # Wan's conversion scales them in place
        copy.load_lora_weights(state, adapter_name=f"l{i}")
        copy.fuse_lora(lora_scale=strength, adapter_names=[f"l{i}"])
        copy.unload_lora_weights()  # what is fused stays
    return raw(copy, stock(copy, **sizes))


def ours(name, *stack, expert="auto"):
    """Latents of our graph with LoRAs (file, strength), and what the nodes showed."""
    model, shown, sizes = load(name), [], MODELS[name][1]
    for file, strength in stack:
        done = loader().run(model.dit, file, strength, expert)
        (model.dit,) = done["result"]
        shown += done["ui"]["text"]
    frames = sizes.get("num_frames") or sizes["frames"]
    canvas = grid(model, sizes["width"], sizes["height"], frames, sizes.get("frame_rate", 8.0))
    return sample(model, canvas)["samples"], shown


def loader():
    from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS

    return NODE_CLASS_MAPPINGS["SpacetimeLoadLoRA"]()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MODELS)
def test_a_lora_gives_what_it_gives_in_diffusers(pipelines, base, hosted, name, layout):
    pipeline, family = pipelines(name), MODELS[name][0]
    made = loras.factors(pipeline.transformer, only=r"attn|ffn|ff\b|ff\.|proj_mlp" if family != "Wan" else r"attn|ffn")
    state = LAYOUTS[layout](made, family)
    loras.save(base, "one.safetensors", state)
    read = state if (name, layout) in READ_BY_DIFFUSERS else loras.diffusers(made)
    plain, _ = ours(name)
    for strength in (1.0, 0.5, -1.0):
        mine, shown = ours(name, ("one.safetensors", strength))
        assert (mine - plain).abs().max() > 1e-2
        assert (mine - theirs(pipeline, name, (read, strength))).abs().max() == 0.0
    layers = len(state) // (2 if layout == "diffusers" else 3)
    assert shown == [f"{len(state)} of {len(state)} keys in {layers} layers, strength -1"] and not hosted.notices
    assert torch.equal(ours(name, ("one.safetensors", 0.0))[0], plain)


def test_two_stacked_and_their_order_of_no_matter_but_for_rounding(pipelines, base):
    pipeline = pipelines("Wan2.1-T2V")
    first, second = (loras.factors(pipeline.transformer, seed, rank, "attn") for seed, rank in ((1, 4), (2, 2)))
    loras.save(base, "first.safetensors", loras.kohya(first, "Wan"))
    loras.save(base, "second.safetensors", loras.original(second, "Wan"))
    stack = [("first.safetensors", 0.5), ("second.safetensors", -1.0)]
    mine, shown = ours("Wan2.1-T2V", *stack)
    both = theirs(pipeline, "Wan2.1-T2V", (loras.diffusers(first), 0.5), (loras.diffusers(second), -1.0))
    assert (mine - both).abs().max() == 0.0 and len(shown) == 2
    assert (ours("Wan2.1-T2V", *reversed(stack))[0] - both).abs().max() < 1e-3
    assert (ours("Wan2.1-T2V", stack[0])[0] - both).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("expert", "name"),
    [
        ("high noise", "x"),
        ("low noise", "x"),
        ("both", "x"),
        ("auto", "x"),
        ("auto", "x_HIGH_noise"),
        ("auto", "x-low-r64"),
    ],
)
def test_each_expert_gets_its_own(pipelines, base, expert, name):
    pipeline, wan = pipelines("Wan2.2-T2V-A14B"), "Wan2.2-T2V-A14B"
    made = loras.factors(pipeline.transformer, only="attn")
    loras.save(base, f"{name}.safetensors", loras.original(made, "Wan"))
    high = expert in ("high noise", "both") or expert == "auto" and "low" not in name
    low = expert in ("low noise", "both") or expert == "auto" and "HIGH" not in name
    parts = {**pipeline.components, "boundary_ratio": pipeline.config.boundary_ratio}
    parts |= {part: deepcopy(pipeline.components[part]) for part in ("transformer", "transformer_2")}
    copy = type(pipeline)(**parts)
    copy.set_progress_bar_config(disable=True)
    for second, wanted, part in ((False, high, "transformer"), (True, low, "transformer_2")):
        if wanted:
            copy.load_lora_weights(loras.diffusers(made), adapter_name="a", load_into_transformer_2=second)
            copy.fuse_lora(components=[part], adapter_names=["a"])
    MODELS.setdefault(wan, MODELS["Wan2.1-T2V"])
    mine, shown = ours(wan, (f"{name}.safetensors", 1.0), expert=expert)
    assert (mine - test_wan.raw(copy, stock(copy, **SHORT))).abs().max() == 0.0
    told = " and ".join(one for one, there in (("high noise", high), ("low noise", low)) if there)
    assert shown[0].endswith(f"strength 1, {told}")


def test_alphas_ranks_and_dora_as_peft_and_diffusers_save_them(pipelines, base):
    """Other ranks and alphas for some layers, in diffusers' metadata and in PEFT's adapter_config.json."""
    pipeline = pipelines("CogVideoX-2B")
    made = loras.factors(pipeline.transformer, 1, 4, "attn1") | loras.factors(pipeline.transformer, 2, 2, "to_v")
    names = [name for name in made if name.endswith("to_v")]
    patterns = {"rank_pattern": dict.fromkeys(names, 2), "alpha_pattern": dict.fromkeys(names, 6)}
    settings = {"lora_alpha": 8, "use_rslora": True, "target_modules": list(made), **patterns}
    state = {f"transformer.{key.removeprefix('base_model.model.')}": value for key, value in loras.peft(made).items()}
    metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in {"r": 4, **settings}.items()})}
    loras.save(base, "settings.safetensors", state, metadata)
    copy = type(pipeline)(**{**pipeline.components, "transformer": deepcopy(pipeline.transformer)})
    copy.set_progress_bar_config(disable=True)
    copy.load_lora_weights(base / "models" / "loras", weight_name="settings.safetensors", adapter_name="a")
    copy.fuse_lora(adapter_names=["a"])
    same = test_cogvideox.raw(copy, stock(copy, **SMALL))
    mine, _ = ours("CogVideoX-2B", ("settings.safetensors", 1.0))
    assert (mine - same).abs().max() == 0.0
    loras.save_peft(base, "trained", made, **settings)
    assert torch.equal(ours("CogVideoX-2B", ("trained/adapter_model.safetensors", 1.0))[0], mine)
    loras.save(base, "plain.safetensors", state)
    assert (ours("CogVideoX-2B", ("plain.safetensors", 1.0))[0] - mine).abs().max() > 1e-2


@pytest.mark.parametrize("name", TINY)
def test_every_transformer_is_changed_as_peft_merges_it(pipelines, base, hosted, name):
    """In the layouts of trainers and, where its maker's names are others than diffusers', in those. Not by pipelines:
    some of these know no LoRA."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    transformer = pipelines(name).transformer
    family = next((family for start, family in MAKERS.items() if name.startswith(start)), "")
    made = loras.factors(transformer, only=r"attn|ffn" if family == "Wan" else r"attn|ffn|ff\b|ff\.|proj_mlp")
    merged = inject_adapter_in_model(
        LoraConfig(r=loras.RANK, lora_alpha=loras.ALPHA, target_modules=list(made)), deepcopy(transformer), "one"
    )
    expected = dict(transformer.state_dict())
    for layer, (down, up) in made.items():
        module = merged.get_submodule(layer)
        assert isinstance(module, LoraLayer)
        module.lora_A["one"].weight.data, module.lora_B["one"].weight.data = down.clone(), up.clone()
        module.scale_layer(0.5)
        module.merge()
        expected[f"{layer}.weight"] = module.get_base_layer().weight
    for layout, write in LAYOUTS.items():
        loras.save(base, "one.safetensors", write(made, family))
        model, expert = load(name), "high noise" if "A14B" in name else "auto"
        hosted.notices.clear()
        (dit,) = loader().run(model.dit, "one.safetensors", 0.5, expert)["result"]
        changed = dit.adapter.transformer.state_dict()
        assert changed.keys() == expected.keys() and not hosted.notices
        assert [key for key, value in expected.items() if not torch.equal(changed[key].cpu(), value)] == [], layout
    plain = transformer.state_dict()
    assert sum(not torch.equal(expected[key], plain[key]) for key in plain) == len(made)
