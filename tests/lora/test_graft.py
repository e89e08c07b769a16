"""A LoRA on a DiT: it changes the weights as it should, nobody else's, in a graph as in a test."""

import gc
import json
from copy import deepcopy

import loras
import pytest
import torch
from command import POCKET, t2v
from spacetime_nodes.host.cli import main
from spacetime_nodes.media.read import open_video
from spacetime_nodes.model_loaders import dit as dits
from spacetime_nodes.model_loaders.checkpoint import CheckpointError

from .conftest import ITS_WEIGHT, QUERY, WIDTH, changed, of, pair, weights

# the weights


def test_a_lora_is_added_to_the_weights_and_another_branch_keeps_its_own(dit, load, base):
    parts = pair()
    loras.save(base, "a.safetensors", of(QUERY, {**parts, "alpha": torch.tensor(2.0)}))
    with_it, shown = load(dit, "a.safetensors", 0.5)
    assert shown == "3 of 3 keys in 1 layer, strength 0.5"
    before = {key: value.clone() for key, value in weights(dit).items()}
    wanted = before[ITS_WEIGHT] + parts["lora_B.weight"] @ parts["lora_A.weight"] * (2.0 / 4 * 0.5)
    assert torch.equal(weights(with_it)[ITS_WEIGHT], wanted)
    assert changed(with_it, dit) == {ITS_WEIGHT}
    assert all(torch.equal(value, before[key]) for key, value in weights(dit).items())
    twice, _ = load(with_it, "a.safetensors", 0.5)
    wanted = wanted + parts["lora_B.weight"] @ parts["lora_A.weight"] * (2.0 / 4 * 0.5)
    assert torch.equal(weights(twice)[ITS_WEIGHT], wanted) and changed(twice, with_it) == {ITS_WEIGHT}


ALPHAS = {
    "int64": torch.int64,
    "int32": torch.int32,
    "uint8": torch.uint8,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@pytest.mark.parametrize("kind", ALPHAS)
@pytest.mark.parametrize("shape", [(), (1,)], ids=["scalar", "of one"])
def test_an_alpha_in_any_number_format_gives_the_same_bits(dit, load, base, kind, shape):
    """musubi-tuner stores torch.tensor(rank), an int64."""
    got = []
    for name, dtype in (("float", torch.float32), (kind, ALPHAS[kind])):
        down, up = pair().values()
        state = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.full(shape, 2, dtype=dtype)}
        loras.save(base, f"{name}.safetensors", of("lora_unet_blocks_0_self_attn_q", state))
        with_it, shown = load(dit, f"{name}.safetensors", 1.0)
        assert shown == "3 of 3 keys in 1 layer, strength 1"
        got.append(weights(with_it)[ITS_WEIGHT])
    assert torch.equal(*got) and not torch.equal(got[0], weights(dit)[ITS_WEIGHT])


def test_without_an_alpha_the_product_is_added_as_it_is(dit, load, base):
    down, up = pair().values()
    loras.save(base, "a.safetensors", of(QUERY, pair()))
    assert torch.equal(weights(load(dit, "a.safetensors", 1.0)[0])[ITS_WEIGHT], weights(dit)[ITS_WEIGHT] + up @ down)


def test_strength_0_is_the_dit_itself_but_the_file_is_looked_at(dit, load, base):
    loras.save(base, "a.safetensors", of(QUERY, pair()))
    same, shown = load(dit, "a.safetensors", 0.0)
    assert same is dit and shown == "2 of 2 keys in 1 layer, strength 0: nothing changes"
    loras.save(base, "b.safetensors", of("double_blocks.0.img_attn_qkv", pair(3072, 9216)))
    with pytest.raises(CheckpointError, match="is a HunyuanVideo LoRA"):
        load(dit, "b.safetensors", 0.0)


def test_it_is_added_in_full_precision_and_rounded_once(nodes, host, load, base):
    parts = {key: value.bfloat16() for key, value in pair().items()}
    loras.save(base, "a.safetensors", of(QUERY, parts))
    exact, rounded = (
        weights(load(nodes["SpacetimeLoadDiT"]().run(POCKET, dtype)[0], "a.safetensors", 1.0)[0])[ITS_WEIGHT]
        for dtype in ("float32", "bfloat16")
    )
    assert exact.dtype == torch.float32 and torch.equal(exact.bfloat16(), rounded)


def test_whole_differences_of_weights_biases_norms_and_tables(dit, load, base):
    """As extracted LoRAs of ComfyUI users hold them, under Wan's original names."""
    before, state = weights(dit), {}
    for name, end, key in (
        ("blocks.0.self_attn.q", "diff_b", "blocks.0.attn1.to_q.bias"),
        ("blocks.0.norm3", "diff", "blocks.0.norm2.weight"),
        ("blocks.0.norm3", "diff_b", "blocks.0.norm2.bias"),
        ("blocks.0.cross_attn.norm_k", "diff", "blocks.0.attn2.norm_k.weight"),
        ("blocks.0.modulation", "diff", "blocks.0.scale_shift_table"),
        ("head.head", "diff", "proj_out.weight"),
        ("patch_embedding", "diff", "patch_embedding.weight"),
        ("time_projection.1", "lora_B.bias", "condition_embedder.time_proj.bias"),
    ):
        state[f"diffusion_model.{name}.{end}"] = torch.randn(before[key].shape)
    loras.save(base, "a.safetensors", state)
    with_it, shown = load(dit, "a.safetensors", 0.5)
    assert shown.startswith("8 of 8 keys in 7 layers")
    after = weights(with_it)
    assert len(changed(with_it, dit)) == 8
    assert torch.equal(
        after["blocks.0.norm2.bias"],
        before["blocks.0.norm2.bias"] + 0.5 * state["diffusion_model.blocks.0.norm3.diff_b"],
    )


def test_a_lora_of_a_convolution(dit, load, base):
    weight = weights(dit)["patch_embedding.weight"]  # [192, 16, 1, 2, 2]
    down, up = torch.randn(4, *weight.shape[1:]), torch.randn(len(weight), 4, 1, 1, 1)
    loras.save(base, "a.safetensors", {"lora_unet_patch_embedding.lora_down.weight": down,
                                       "lora_unet_patch_embedding.lora_up.weight": up})  # fmt: skip
    got = weights(load(dit, "a.safetensors", 1.0)[0])["patch_embedding.weight"] - weight
    assert (got - torch.einsum("orabc,rithw->oithw", up, down)).abs().max() < 1e-5


def test_a_lokr_of_a_convolution(dit, load, base):
    """w1 ⊗ w2 in rows and columns, w2 for each place in the kernel (lycoris/functional/lokr.py: make_kron)."""
    weight = weights(dit)["patch_embedding.weight"]  # [192, 16, 1, 2, 2]
    first, second, rank = torch.randn(8, 4), torch.randn(24, 4, 1, 2, 2), torch.randn(24, 2)
    tall = torch.randn(2, 16)
    for state, whole in (
        ({"lokr_w2": second}, second),
        ({"lokr_w2_a": rank, "lokr_w2_b": tall}, (rank @ tall).reshape(second.shape)),
    ):
        loras.save(base, "a.safetensors", of("diffusion_model.patch_embedding", {"lokr_w1": first, **state}))
        got = weights(load(dit, "a.safetensors", 1.0)[0])["patch_embedding.weight"] - weight
        assert (got - torch.kron(first[:, :, None, None, None], whole)).abs().max() < 1e-5


KINDS = {"DoRA": "lora", "LoHa": "hada", "LoKr": "lokr"}


@pytest.mark.parametrize("kind", KINDS)
def test_its_kin_change_the_weights_as_peft_does(dit, load, base, kind):
    import peft

    torch.manual_seed(0)
    module = torch.nn.ModuleDict({"to_q": torch.nn.Linear(WIDTH, WIDTH)})
    module.to_q.weight.data.copy_(weights(dit)[ITS_WEIGHT])
    config = {
        "DoRA": lambda: peft.LoraConfig(r=4, lora_alpha=2, use_dora=True, target_modules=["to_q"]),
        "LoHa": lambda: peft.LoHaConfig(r=4, alpha=2, target_modules=["to_q"]),
        "LoKr": lambda: peft.LoKrConfig(r=4, alpha=2, target_modules=["to_q"], decompose_factor=8),
    }[kind]()
    model = peft.get_peft_model(module, config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            parameter.data.normal_(0, 0.3)
        elif parameter.requires_grad:
            parameter.data.mul_(1.5)
    state = {
        key.replace("base_model.model.to_q", QUERY): value
        for key, value in peft.get_peft_model_state_dict(model).items()
    }
    assert any(KINDS[kind] in key for key in state)
    loras.save(base, "a.safetensors", state | {f"{QUERY}.alpha": torch.tensor(2.0)})
    theirs = model.merge_and_unload()["to_q"].weight
    mine = weights(load(dit, "a.safetensors", 1.0)[0])[ITS_WEIGHT]
    assert (mine - theirs).abs().max() < 1e-5 and (mine - weights(dit)[ITS_WEIGHT]).abs().max() > 1e-1
    half = weights(load(dit, "a.safetensors", 0.5)[0])[ITS_WEIGHT]
    assert (half - (mine + weights(dit)[ITS_WEIGHT]) / 2).abs().max() < 1e-5


# memory


def test_of_large_models_only_one_stands_in_memory_at_a_time(dit, load, base, monkeypatch):
    """With and without a LoRA, in turns: each is right, and the other's weights are gone."""
    import weakref

    loras.save(base, "a.safetensors", of(QUERY, pair()))
    with_it, _ = load(dit, "a.safetensors", 1.0)
    monkeypatch.setattr(dits, "SMALL", 0)
    plain = weakref.ref(dit.adapter.transformer)
    before = plain().state_dict()[ITS_WEIGHT].clone()
    after = weakref.ref(with_it.adapter.transformer)
    gc.collect()
    assert plain() is None and not torch.equal(after().state_dict()[ITS_WEIGHT], before)
    assert torch.equal(dit.adapter.transformer.state_dict()[ITS_WEIGHT], before)
    gc.collect()
    assert after() is None
    held = dit.adapter  # who still holds one keeps it, whole and unchanged
    assert not torch.equal(weights(with_it)[ITS_WEIGHT], before)
    assert torch.equal(held.transformer.state_dict()[ITS_WEIGHT], before)


def test_the_weights_of_small_models_stay(dit, load, base):
    loras.save(base, "a.safetensors", of(QUERY, pair()))
    with_it, _ = load(dit, "a.safetensors", 1.0)
    both = dit.adapter, with_it.adapter
    assert (dit.adapter, with_it.adapter) == both


# in a graph


def graph(*branches):
    """Text to video with pocket, once for each branch: (LoRA, strength), or None for none."""
    prompt = t2v()
    for i, branch in enumerate(branches):
        made = {"6": f"{i}6", "7": f"{i}7", "8": f"{i}8"}
        for old_id, new_id in made.items():
            prompt[new_id] = deepcopy(prompt[old_id])
            for name, value in prompt[new_id]["inputs"].items():
                if isinstance(value, list) and value[0] in made:
                    prompt[new_id]["inputs"][name] = [made[value[0]], value[1]]
        prompt[made["8"]]["inputs"]["filename_prefix"] = f"branch{i}"
        if branch:
            inputs = {"dit": ["1", 0], "lora_name": branch[0], "strength": branch[1], "expert": "auto"}
            prompt[f"{i}9"] = {"class_type": "SpacetimeLoadLoRA", "inputs": inputs}
            prompt[made["6"]]["inputs"]["dit"] = [f"{i}9", 0]
    return {node_id: node for node_id, node in prompt.items() if node_id not in ("6", "7", "8")}


def test_a_graph_with_and_without_a_lora_runs_headless(dit, base, capsys):
    style = loras.factors(dit.adapter.transformer)
    loras.save(base, "styles/one.safetensors", loras.kohya(style, "Wan"))
    branches = [None, ("styles/one.safetensors", 1.0), ("styles/one.safetensors", 0.0), None]
    (base / "graph.json").write_text(json.dumps(graph(*branches)))
    assert main(["run", str(base / "graph.json"), "--json", "--base", str(base)]) == 0, capsys.readouterr().err
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    paths = sorted(one["path"] for one in answer["outputs"] if "branch" in one.get("path", ""))
    frames = [torch.from_numpy(next(open_video(path).frames())).float() for path in paths]
    assert len(frames) == 4
    assert torch.equal(frames[0], frames[2]) and torch.equal(frames[0], frames[3])
    assert (frames[0] - frames[1]).abs().mean() > 2


def test_check_says_where_a_missing_lora_belongs_and_which_doesnt_fit(base, capsys):
    (base / "graph.json").write_text(json.dumps(graph(("mine.safetensors", 1.0))))
    check = ["check", str(base / "graph.json"), "--base", str(base)]
    assert main(check) == 4
    said = capsys.readouterr().out
    assert "'mine.safetensors'" in said or "mine.safetensors" in said
    assert f"it belongs in {base / 'models' / 'loras'}" in said and said.count("\n") == 1
    loras.save(base, "mine.safetensors", of(QUERY, pair(5120, 5120)))
    assert main(check) == 4 and "is a Wan 14B LoRA and this DiT a Wan pocket transformer" in capsys.readouterr().out
    loras.save(base, "mine.safetensors", of(QUERY, pair()))
    assert main(check) == 0


def test_the_menu_lists_folders_within_folders(nodes, host, base):
    for name in ("b.safetensors", "wan/2.2/motion/a.safetensors", "wan/notes.txt"):
        loras.save(base, name, of(QUERY, pair()))
    offered = nodes["SpacetimeLoadLoRA"].INPUT_TYPES()["required"]["lora_name"][0]
    assert offered == ["b.safetensors", "wan/2.2/motion/a.safetensors"]
