"""A LoRA on a DiT: what of a file fits is told from headers, what can't fit is refused in one line."""

import json
import re
import struct
import time

import loras
import original_layout as old
import pytest
import torch
from headers import shapes, write_header
from safetensors.torch import save_file
from spacetime_nodes.model_loaders import lora as files
from spacetime_nodes.model_loaders import lora_merge
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, read_json
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.model_loaders.fingerprints import DIT
from spacetime_nodes.model_loaders.folders import POCKET_FOLDER
from spacetime_nodes.model_loaders.single_file import CONFIGS, locate

from .conftest import ITS_WEIGHT, QUERY, WIDTH, changed, of, pair, weights

# the names


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """`published(config, family)`: a transformer of published size that is all header, in its original layout."""
    made, folder = {}, tmp_path_factory.mktemp("published")

    def get(config, family):
        import diffusers

        if config not in made:
            settings = read_json(CONFIGS / config / "transformer" / "config.json")
            with torch.device("meta"):
                state = getattr(diffusers, settings["_class_name"]).from_config(settings).state_dict()
            whole = {"HunyuanVideo": old.fused, "Wan": old.faced if "animate" in config else dict}.get(family, dict)
            state = old.original(whole(state), loras.RENAMES[family])
            made[config] = write_header(folder / f"{config}.safetensors", shapes(state))
        return made[config]

    return get


def delta(fit, key, shape):
    return fit.changes[key](torch.zeros(shape))


def test_hunyuans_fused_layers_are_cut_as_diffusers_cuts_them(tmp_path, published):
    """At the published width, which is the only one that diffusers' conversion knows."""
    from diffusers.loaders.lora_conversion_utils import _convert_hunyuan_video_lora_to_diffusers

    torch.manual_seed(0)
    wide = 3072
    sizes = {
        "double_blocks.3.img_attn_qkv": 3 * wide, "double_blocks.3.txt_attn_qkv": 3 * wide,
        "double_blocks.3.img_mod.linear": 6 * wide, "double_blocks.3.txt_mlp.fc1": 4 * wide,
        "double_blocks.3.img_attn_proj": wide, "single_blocks.7.linear1": 7 * wide,
        "single_blocks.7.modulation.linear": 3 * wide, "final_layer.adaLN_modulation.1": 2 * wide,
        "txt_in.individual_token_refiner.blocks.1.self_attn_proj": wide, "vector_in.out_layer": wide,
    }  # fmt: skip
    state = {}
    for name, tall in sizes.items():
        state[f"diffusion_model.{name}.lora_A.weight"] = torch.randn(2, wide)
        state[f"diffusion_model.{name}.lora_B.weight"] = torch.randn(tall, 2)
    path = tmp_path / "lora.safetensors"
    save_file(state, path)
    source = locate(published("hunyuan-video-t2v", "HunyuanVideo"), DIT)
    mine = files.fit(files.open_lora(path), source, 1.0)
    assert (mine.keys, mine.layers, mine.misfits) == (20, 10, [])
    swapped = state.pop(
        "diffusion_model.final_layer.adaLN_modulation.1.lora_A.weight"
    )  # they swap this one's halves too
    theirs = _convert_hunyuan_video_lora_to_diffusers(state)
    theirs["transformer.norm_out.linear.lora_A.weight"] = swapped
    layers = {key.removeprefix("transformer.").partition(".lora_")[0] for key in theirs}
    assert {key.removesuffix(".weight") for key in mine.changes} == layers
    for layer in layers:
        down, up = (theirs[f"transformer.{layer}.lora_{part}.weight"] for part in "AB")
        assert torch.equal(delta(mine, f"{layer}.weight", (len(up), down.shape[1])), up @ down), layer


@pytest.mark.parametrize(
    ("config", "family"),
    [("wan-2.1-i2v-14b-480p", "Wan"), ("wan-2.1-vace-1.3b", "Wan"), ("wan-2.2-animate-14b", "Wan"),
     ("skyreels-v2-df-1.3b", "Wan"), ("ltx-2b-0.9.5", "LTX"), ("hunyuan-video-t2v", "HunyuanVideo"),
     ("hunyuan-video-1.5-t2v-480p", "HunyuanVideo 1.5")],
)  # fmt: skip
def test_every_layer_of_a_published_model_is_found_by_its_original_name(tmp_path, published, config, family):
    source = locate(published(config, family), DIT)
    linear = {key for key, piece in files.pieces(source).items() if key.endswith("weight") and len(piece.shape) > 1}
    original = {
        key.removesuffix(".weight"): info.shape
        for key, info in files.read_header(source.file).items()
        if key.endswith(".weight") and len(info.shape) > 1
    }
    for prefix in ("lora_unet_", "diffusion_model.", "transformer.", "lora_unet__", "lycoris_"):
        header = {}
        for name, (tall, *wide) in original.items():
            name = prefix + (name.replace(".", "_") if prefix.endswith("_") else name)
            header[f"{name}.lora_down.weight"] = (2, *wide)
            header[f"{name}.lora_up.weight"] = (tall, 2, *(1 for _ in wide[1:]))
        path = write_header(tmp_path / "lora.safetensors", header)
        started = time.process_time()
        mine = files.fit(files.open_lora(path), source, 1.0)
        assert time.process_time() - started < 1
        assert mine.misfits == [] and mine.keys == len(header) and mine.layers == len(original)
        assert set(mine.changes) == linear


def test_the_names_that_comfyui_has_for_hunyuans_layers(tmp_path, published):
    state = {
        name: shape
        for layer, tall in (("double_blocks.19.img_attn.qkv", 9216), ("double_blocks.0.txt_mlp.2", 3072),
                            ("single_blocks.39.modulation.lin", 9216), ("double_blocks.0.img_mod.lin", 18432))
        for name, shape in ((f"diffusion_model.{layer}.lora_down.weight", (4, 12288 if "mlp" in layer else 3072)),
                            (f"diffusion_model.{layer}.lora_up.weight", (tall, 4)))
    }  # fmt: skip
    path = write_header(tmp_path / "lora.safetensors", state)
    mine = files.fit(files.open_lora(path), locate(published("hunyuan-video-t2v", "HunyuanVideo"), DIT), 1.0)
    assert (mine.keys, mine.layers, mine.misfits) == (8, 4, [])
    assert "transformer_blocks.19.attn.to_k.weight" in mine.changes


# whose it is


def header(tmp_path, tensors):
    return write_header(tmp_path / "lora.safetensors", tensors)


def blocks(attention, wide, text=0, count=1):
    """The layers of `count` blocks that trainers choose by default, as diffusers names them."""
    columns = {f"{attention}.{part}": wide for part in ("to_q", "to_k", "to_v", "to_out.0")}
    columns |= {f"attn2.{part}": text for part in ("to_k", "to_v") if text}
    return {
        f"transformer.transformer_blocks.{i}.{name}.lora_{part}.weight": shape
        for i in range(count)
        for name, found in columns.items()
        for part, shape in (("A", (4, found)), ("B", (wide, 4)))
    }


ALIKE = {
    "CogVideoX 2B": ("attn1", 1920), "CogVideoX 5B": ("attn1", 3072, 0, 42), "Mochi": ("attn1", 3072, 0, 48),
    "CogVideoX 5B or Mochi": ("attn1", 3072, 0, 7), "LTX 2B or Cosmos 2B": ("attn1", 2048, 0, 28),
    "LTX 2B": ("attn1", 2048, 2048), "Cosmos 2B": ("attn1", 2048, 1024), "Cosmos 14B": ("attn1", 5120, 1024),
    "LTX 13B or LTX-2": ("attn1", 4096, 4096, 48), "Sana-Video 2B": ("attn1", 2240, 2240),
    "HunyuanVideo 1.5": ("attn", 2048, 0, 54), "HunyuanVideo": ("attn", 3072, 0, 20),
    "HunyuanVideo or image model": ("attn", 3072), "image model": ("attn", 3072, 0, 25),
    "": ("attn1", 2304, 2304),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_families_that_name_their_layers_alike_are_told_by_width_and_blocks_or_not_at_all(tmp_path, name):
    what = files.open_lora(header(tmp_path, blocks(*ALIKE[name]))).what
    assert what.partition(" ")[2] == f"{name} LoRA".strip()


SHIPPED = {
    "ltx-2b-0.9.5": "LTX 2B", "ltx-13b": "LTX 13B or LTX-2", "ltx-2-19b": "LTX 13B or LTX-2",
    "cosmos-predict2.5-2b": "Cosmos 2B", "cosmos-predict2.5-14b": "Cosmos 14B", "hunyuan-video-t2v": "HunyuanVideo",
    "hunyuan-video-1.5-t2v-480p": "HunyuanVideo 1.5",
}  # fmt: skip


@pytest.mark.parametrize("config", SHIPPED)
def test_the_widths_and_blocks_are_those_of_the_models(tmp_path, config):
    import diffusers

    settings = read_json(CONFIGS / config / "transformer" / "config.json")
    with torch.device("meta"):
        state = getattr(diffusers, settings["_class_name"]).from_config(settings).state_dict()
    layers = {}
    for key, value in state.items():
        if re.match(r"transformer_blocks\.\d+\.attn[12]?\.to_\w+(\.0)?\.weight", key) and "gate" not in key:
            layer, (tall, wide) = f"transformer.{key.removesuffix('.weight')}", value.shape
            layers |= {f"{layer}.lora_A.weight": (4, wide), f"{layer}.lora_B.weight": (tall, 4)}
    assert files.open_lora(header(tmp_path, layers)).what.partition(" ")[2] == f"{SHIPPED[config]} LoRA"


def test_a_lokr_tells_its_width(tmp_path):
    layer = "diffusion_model.blocks.0.self_attn.q"
    path = header(
        tmp_path, {f"{layer}.lokr_w1": (8, 8), f"{layer}.lokr_w2_a": (640, 4), f"{layer}.lokr_w2_b": (4, 640)}
    )
    assert files.open_lora(path).what == "a Wan 14B LoRA"


# what is refused


def cut(path, amount):
    path.write_bytes(path.read_bytes()[:-amount])


FOREIGN = {
    "a picture's": (of("lora_unet_down_blocks_0_attentions_0_proj_in", pair(320, 320)), "is a Stable Diffusion LoRA"),
    "hunyuan": (of("transformer.single_transformer_blocks.0.attn.to_q", pair(3072, 3072)),
                "is a HunyuanVideo LoRA and this DiT a Wan pocket transformer: .*; one trained on Wan would be right"),
    "ltx": (of("diffusion_model.transformer_blocks.0.attn2.to_q", pair(2048, 2048)),
            "is an LTX 2B or Cosmos 2B LoRA and this DiT"),
    "wider": (of(QUERY, pair(5120, 5120)), r"is a Wan 14B LoRA and this DiT a Wan pocket transformer: .*5120×5120 "
              r"there, 192×192 in this DiT.*one for Wan pocket would be right"),
    "unheard of": (of("some.layer", pair()), r"none of its 2 keys fits \('some\.layer\.lora_A\.weight'"),
    "text encoder only": (of("lora_te1_text_model_encoder_layers_0_mlp_fc1", pair()), "of a text encoder only"),
    "no up": ({f"{QUERY}.lora_A.weight": torch.zeros(4, WIDTH)}, r"has lora_A \(down\) but no lora_B \(up\)"),
    "half a LoKr": (of(QUERY, {"lokr_w1": torch.zeros(8, 8)}), "has lokr_w1 but no lokr_w2"),
    "quarter LoKr": (of(QUERY, {"lokr_w1": torch.zeros(8, 8), "lokr_w2_a": torch.zeros(24, 4)}),
                     "has lokr_w1 but no lokr_w2_b"),
    "lengths only": (of(QUERY, {"dora_scale": torch.ones(WIDTH, 1)}), "has the lengths of a DoRA but no lora_B"),
    "alphas only": (of(QUERY, {"alpha": torch.tensor(2.0)}), "it holds alphas, but no weights"),
    "no down": ({f"{QUERY}.lora_up.weight": torch.zeros(WIDTH, 4)}, r"has lora_B \(up\) but no lora_A \(down\)"),
    "two ranks": (of(QUERY, {**pair(), "lora_B.weight": torch.zeros(WIDTH, 8)}), r"rank 4 in lora_A \(down\) and 8 in"),
    "rank 0": (of(QUERY, pair(rank=0)), r"down is of shape \[0, 192\]"),
    "flat": (of(QUERY, {**pair(), "lora_B.weight": torch.zeros(WIDTH)}), r"up is of shape \[192\]"),
    "many alphas": (of(QUERY, {**pair(), "alpha": torch.zeros(3)}), r"alpha is of shape \[3\]"),
    "whole numbers": (of(QUERY, {k: v.to(torch.int8) for k, v in pair().items()}),
                      r"lora_A \(down\) is stored as I8; LoRAs are read as floats"),
    "truths": (of(QUERY, {k: v > 0 for k, v in pair().items()}), "is stored as BOOL"),
    "zero up": (of(QUERY, {**pair(), "lora_B.weight": torch.zeros(WIDTH, 4)}),
                r"changes nothing: .* is zero, e\.g\. lora_B \(up\) in blocks\.0\.self_attn\.q; one that was trained"),
    "zero down": (of(QUERY, {**pair(), "lora_A.weight": torch.zeros(4, WIDTH)}), r"e\.g\. lora_A \(down\) in"),
    "zero alpha": (of(QUERY, {**pair(), "alpha": torch.tensor(0)}), r"e\.g\. alpha in .*; one with another alpha"),
    "zero difference": (of(QUERY, {"diff": torch.zeros(WIDTH, WIDTH), "diff_b": torch.zeros(WIDTH)}), r"e\.g\. diff"),
    "zero LoHa": (of(QUERY, {f"hada_w{i}_{part}": torch.full(shape, float(i - 1))
                             for i in (1, 2) for part, shape in (("a", (WIDTH, 4)), ("b", (4, WIDTH)))}), "hada_w1_a"),
    "zero LoKr": (of(QUERY, {"lokr_w1": torch.ones(8, 8), "lokr_w2": torch.zeros(24, 24)}), "lokr_w2 in"),
    "LoKr of alpha 0": (of(QUERY, {"lokr_w1": torch.ones(8, 8), "lokr_w2_a": torch.ones(24, 4),
                                   "lokr_w2_b": torch.ones(4, 24), "alpha": torch.tensor(0)}), "alpha in"),
    "Tucker": (of(QUERY, {**pair(), "lora_mid.weight": torch.zeros(4, 4, 1, 1)}), "a LoCon with a Tucker core"),
    "OFT": (of(QUERY, {"oft_blocks": torch.zeros(4, 8, 8)}), "is an OFT adapter"),
    "DoRA of columns": (of(QUERY, {**pair(96), "dora_scale": torch.zeros(1, 96)}), "lengths aren't those of rows"),
    "DoRA of columns, square": (of(QUERY, {**pair(), "dora_scale": torch.ones(1, WIDTH)}), r"\[1, 192\].*\[192, 1\]"),
    "LoHa DoRA": (of(QUERY, {f"hada_w{i}_{part}": torch.ones(shape)
                             for i in (1, 2) for part, shape in (("a", (WIDTH, 4)), ("b", (4, WIDTH)))}
                     | {"dora_scale": torch.ones(96)}), "lengths aren't those of rows"),
    "a transformer": ({"blocks.0.self_attn.norm_q.weight": torch.zeros(8), "head.modulation": torch.zeros(1, 2, 8),
                       "patch_embedding.weight": torch.zeros(1536, 16, 1, 2, 2)},
                      r"is a Wan 2.1 T2V 1.3B transformer; .* \(this one goes into Load DiT\)"),
    "no model": ({"x": torch.zeros(2)}, "is a file of unknown kind .*; Load LoRA needs a LoRA"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_cannot_fit_is_refused_in_one_line(dit, load, base, name):
    state, message = FOREIGN[name]
    loras.save(base, f"{name}.safetensors", state)
    with pytest.raises(CheckpointError, match=message) as error:
        load(dit, f"{name}.safetensors", 1.0)
    assert "\n" not in str(error.value) and name in str(error.value) and "adapter, made" not in dit.__dict__


BROKEN = {
    "empty": (b"", "is empty"),
    "page": (b"<!DOCTYPE html>", "is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    "pickle": (b"\x80\x02}q\x00", "is a pickle"),
    "half": (struct.pack("<Q", 900) + b'{"blocks": {', "is truncated"),
    "giant": (struct.pack("<Q", 2**63) + b"{", "isn't a safetensors file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_for_what_it_is(dit, load, base, name):
    path = loras.save(base, f"{name}.safetensors", of(QUERY, pair()))
    path.write_bytes(BROKEN[name][0])
    with pytest.raises(CheckpointError, match=BROKEN[name][1]):
        load(dit, f"{name}.safetensors", 1.0)


def test_settings_that_are_none_are_refused(dit, load, base):
    loras.save(base, "a.safetensors", of(QUERY, pair()), {"lora_adapter_metadata": "[1"})
    with pytest.raises(CheckpointError, match="lora_adapter_metadata is no table"):
        load(dit, "a.safetensors", 1.0)
    for settings in (
        {"lora_alpha": float("nan")},
        {"lora_alpha": "much"},
        {"lora_alpha": 1, "alpha_pattern": {"(": 2}},
        {"alpha_pattern": 3},
    ):
        loras.save(base, "a.safetensors", of(QUERY, pair()), {"lora_adapter_metadata": json.dumps(settings)})
        with pytest.raises(CheckpointError, match="settings that can't be read"):
            load(dit, "a.safetensors", 1.0)


def test_numbers_that_are_none_and_a_file_cut_short_meanwhile(dit, load, base):
    parts, other = pair(), "diffusion_model.blocks.1.self_attn.q"
    parts["lora_B.weight"][3, 1] = float("nan")
    loras.save(base, "a.safetensors", of(QUERY, parts))
    with pytest.raises(CheckpointError, match="holds numbers that are none .* in blocks.0.self_attn.q"):
        load(dit, "a.safetensors", 1.0)
    path = loras.save(base, "a.safetensors", of(QUERY, pair()) | of(other, parts))
    with_it, _ = load(dit, "a.safetensors", 1.0)
    with pytest.raises(CheckpointError, match="holds numbers that are none .* in blocks.1.self_attn.q"):
        weights(with_it)
    cut(path, 100)
    with pytest.raises(CheckpointError, match="was cut short"):
        weights(with_it)


def test_a_lora_of_flux_is_told_from_hunyuans_though_all_its_names_and_widths_fit(tmp_path, published):
    layers = [f"transformer_blocks.{i}" for i in range(19)] + [f"single_transformer_blocks.{i}" for i in range(38)]
    header = {
        f"transformer.{one}.attn.to_q.lora_{p}.weight": s
        for one in layers
        for p, s in (("A", (4, 3072)), ("B", (3072, 4)))
    }
    path = write_header(tmp_path / "style.safetensors", header)
    dit = DiT(published("hunyuan-video-t2v", "HunyuanVideo"))
    with pytest.raises(CheckpointError, match="is a Flux LoRA and this DiT a HunyuanVideo T2V transformer"):
        files.apply(dit, path, 1.0)


def test_what_fits_in_part_is_used_and_told(dit, load, base, host):
    state = of(QUERY, pair()) | of("diffusion_model.blocks.0.cross_attn.k_img", pair()) | of("lora_te_x", pair())
    loras.save(base, "a.safetensors", state)
    with_it, shown = load(dit, "a.safetensors", 1.0)
    assert shown == "2 of 6 keys in 1 layer, strength 1" and changed(with_it, dit) == {ITS_WEIGHT}
    (notice,) = host.notices
    assert notice.startswith("a.safetensors: 4 of 6 keys don't fit, e.g. 'diffusion_model.blocks.0.cross_attn.k_img")


def test_layers_that_were_never_trained_are_no_matter_beside_one_that_was(dit, load, base, host):
    untrained = {**pair(), "lora_B.weight": torch.zeros(WIDTH, 4)}
    second = "diffusion_model.blocks.1.self_attn.q"
    loras.save(base, "a.safetensors", of(QUERY, untrained) | of(second, {**pair(), "alpha": torch.tensor(2)}))
    with_it, shown = load(dit, "a.safetensors", 1.0)
    assert shown == "5 of 5 keys in 2 layers, strength 1" and not host.notices
    assert changed(with_it, dit) == {"blocks.1.attn1.to_q.weight"}


NONE = torch.tensor(0)
STILL = {  # what changes the weights though a factor of it is zero
    "a DoRA's lengths": {**pair(), "lora_B.weight": torch.zeros(WIDTH, 4), "dora_scale": torch.ones(WIDTH, 1)},
    "a whole LoKr": {"lokr_w1": torch.ones(8, 8), "lokr_w2": torch.ones(24, 24), "alpha": NONE},
    "a difference": {**pair(), "alpha": NONE, "diff": torch.ones(WIDTH, WIDTH)},
    "a bias": {**pair(), "alpha": NONE, "diff_b": torch.ones(WIDTH)},
}


@pytest.mark.parametrize("name", STILL)
def test_what_changes_the_weights_in_spite_of_zeros_is_used(dit, load, base, name):
    loras.save(base, "a.safetensors", of(QUERY, STILL[name]))
    assert len(changed(load(dit, "a.safetensors", 1.0)[0], dit)) == 1


def test_only_what_fits_counts_as_a_change(dit, load, base):
    elsewhere = of("diffusion_model.blocks.0.cross_attn.k_img", pair())
    loras.save(base, "a.safetensors", of(QUERY, {**pair(), "alpha": torch.tensor(0.0)}) | elsewhere)
    with pytest.raises(CheckpointError, match="changes nothing: every layer of it that fits is zero, e.g. alpha in"):
        load(dit, "a.safetensors", 1.0)


def test_an_alpha_of_0_in_the_settings_is_told_too_but_not_at_strength_0(dit, load, base):
    loras.save(base, "a.safetensors", of(QUERY, pair()), {"lora_adapter_metadata": json.dumps({"lora_alpha": 0})})
    with pytest.raises(CheckpointError, match="a.safetensors changes nothing: .* alpha in"):
        load(dit, "a.safetensors", 1.0)
    assert load(dit, "a.safetensors", 0.0)[1].endswith("strength 0: nothing changes")


def test_of_a_large_lora_one_layer_is_read_to_see_that_it_changes_something(tmp_path, monkeypatch):
    state = {k: v for i in range(30) for k, v in of(f"diffusion_model.blocks.{i}.self_attn.q", pair()).items()}
    save_file(state, tmp_path / "lora.safetensors")
    seen, read = [], lora_merge.read
    monkeypatch.setattr(lora_merge, "read", lambda *inputs: seen.append(inputs[0]) or read(*inputs))
    source = locate(POCKET_FOLDER / "transformer", DIT)
    lora = files.open_lora(tmp_path / "lora.safetensors")
    files._refuse_nothing(lora, {"transformer": files.fit(lora, source, 1.0)})
    assert len(seen) == 2


def test_an_expert_that_this_dit_has_not_is_told(dit, load, base, host):
    loras.save(base, "a.safetensors", of(QUERY, pair()))
    with_it, _ = load(dit, "a.safetensors", 1.0, "low noise")
    assert "this DiT is one transformer" in host.notices[0] and changed(with_it, dit) == {ITS_WEIGHT}
