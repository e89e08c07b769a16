"""Single files in the loaders' menus, and `spacetime models`: what is here, what fits what, what fails and why."""

import json
import shutil
import subprocess
import sys

import pytest
from headers import write_gguf, write_header
from spacetime_nodes.host.cli import main
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, weight_files
from spacetime_nodes.model_loaders.folders import POCKET, POCKET_FOLDER

WAN = {"head.modulation": (2,), "blocks.0.self_attn.norm_q.weight": (1536,)}
WAN["patch_embedding.weight"] = (1536, 16, 1, 2, 2)
WAN_VAE = {"decoder.middle.0.residual.0.gamma": (384,), "conv2.weight": (16, 16, 1, 1, 1)}
UMT5 = {"encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight": (32, 64), "shared.weight": (8, 4096)}
LTX = {"patchify_proj.weight": (2048, 128), "adaln_single.emb.timestep_embedder.linear_1.weight": (2048, 256)}
LTX_VAE = {
    "per_channel_statistics.mean-of-means": (128,),
    "decoder.up_blocks.0.res_blocks.0.conv1.conv.weight": (512, 512, 3, 3, 3),
}


@pytest.fixture
def files(host):
    models = host.base / "models"
    for kind in ("diffusion_models", "vae", "text_encoders", "checkpoints", "loras", "unet"):
        (models / kind).mkdir(parents=True)
    write_header(models / "diffusion_models" / "wan2.1_t2v_1.3B.safetensors", WAN)
    write_header(models / "vae" / "wan_2.1_vae.safetensors", WAN_VAE)
    write_header(models / "text_encoders" / "umt5_xxl.safetensors", UMT5)
    both = {f"model.diffusion_model.{key}": shape for key, shape in LTX.items()}
    both |= {f"vae.{key}": shape for key, shape in LTX_VAE.items()}
    write_header(models / "checkpoints" / "ltx-video-2b-v0.9.safetensors", both)
    write_header(models / "checkpoints" / "sd15.safetensors", {"model.diffusion_model.input_blocks.0.0.weight": (4,)})
    layer = "diffusion_model.blocks.0.self_attn.q"
    pair = {f"{layer}.lora_down.weight": (4, 1536), f"{layer}.lora_up.weight": (1536, 4)}
    write_header(models / "loras" / "style.safetensors", pair)
    write_gguf(models / "unet" / "wan2.1-t2v-1.3b-Q4_K.gguf", WAN)
    (models / "vae" / "page.safetensors").write_bytes(b"<html>please log in</html>")
    shutil.copytree(POCKET_FOLDER, models / "diffusion_models" / "My-Wan")
    return host


def offered(nodes, loader):
    return next(iter(nodes[loader].INPUT_TYPES()["required"].values()))[0]


def test_the_menus_offer_single_files_and_checkpoints_that_hold_the_component(nodes, files):
    ltx = "ltx-video-2b-v0.9.safetensors"
    wan = ["wan2.1-t2v-1.3b-Q4_K.gguf", "wan2.1_t2v_1.3B.safetensors"]
    assert offered(nodes, "SpacetimeLoadDiT") == [POCKET, "My-Wan", ltx, *wan]
    assert offered(nodes, "SpacetimeLoadVAE") == [POCKET, "My-Wan", ltx, "page.safetensors", "wan_2.1_vae.safetensors"]
    assert offered(nodes, "SpacetimeLoadTextEncoder") == [POCKET, "My-Wan", "umt5_xxl.safetensors"]


def test_files_are_found_in_folders_of_folders_and_a_models_own_are_its_parts(nodes, files):
    folder = files.base / "models" / "diffusion_models"
    (folder / "Wan" / "2.1" / "split_files" / "x" / "y").mkdir(parents=True)
    (folder / "My-Wan" / "more").mkdir()
    write_header(folder / "Wan" / "2.1" / "split_files" / "x" / "deep.safetensors", WAN)
    write_header(folder / "Wan" / "2.1" / "split_files" / "x" / "y" / "too_deep.safetensors", WAN)
    write_header(folder / "My-Wan" / "more" / "part.safetensors", WAN)
    there = offered(nodes, "SpacetimeLoadDiT")
    assert "Wan/2.1/split_files/x/deep.safetensors" in there
    assert not any("too_deep" in name or "part" in name for name in there)
    (dit,) = nodes["SpacetimeLoadDiT"]().run("Wan/2.1/split_files/x/deep.safetensors")
    assert dit.config.family == "Wan"


@pytest.mark.parametrize("name", ["{}.bf16.safetensors", "{}.fp16.safetensors"])
def test_a_folder_that_holds_a_variant_alone_is_read(name, tmp_path):
    (tmp_path / name.format("model")).write_bytes((POCKET_FOLDER / "text_encoder" / "model.safetensors").read_bytes())
    assert weight_files(tmp_path) == [tmp_path / name.format("model")]
    for index in ("x.bf16.safetensors.index", "x.safetensors.bf16.index", "x.safetensors.index.bf16"):
        sharded = tmp_path / index
        sharded.mkdir()
        shard = write_header(sharded / "diffusion_pytorch_model.bf16-00001-of-00001.safetensors", {"a": (2,)})
        named = sharded / f"{index.replace('x', 'diffusion_pytorch_model', 1)}.json"
        named.write_text(json.dumps({"weight_map": {"a": shard.name}}))
        assert weight_files(sharded) == [shard]
    (tmp_path / "model.safetensors").write_bytes((tmp_path / name.format("model")).read_bytes())
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"], "the whole one where it is there"


def test_a_single_file_gives_its_facts_at_once_from_settings_that_ship(nodes, files):
    (dit,) = nodes["SpacetimeLoadDiT"]().run("wan2.1_t2v_1.3B.safetensors")
    assert (dit.config.family, dit.config.channels, dit.config.width, dit.config.text_width) == ("Wan", 16, 1536, 4096)
    assert dit.config.scheduler["flow_shift"] == 3.0
    (vae,) = nodes["SpacetimeLoadVAE"]().run("wan_2.1_vae.safetensors")
    assert (vae.config.channels, vae.config.time_factor, vae.config.space_factor) == (16, 4, 8)
    (text_encoder,) = nodes["SpacetimeLoadTextEncoder"]().run("umt5_xxl.safetensors")
    assert text_encoder.config.width == 4096
    with pytest.raises(CheckpointError, match="wan2.1_t2v_1.3B.safetensors lacks .* of 825 tensors of its config"):
        dit.adapter  # noqa: B018 - loads
    with pytest.raises(CheckpointError, match="umt5_xxl.safetensors comes without a tokenizer: put tokenizer.json"):
        text_encoder.tokenizer  # noqa: B018


def test_facts_need_no_torch(files):
    code = """
import sys
from spacetime_nodes.host.cli import main
assert main(["models", "--base", sys.argv[1]]) == 0
assert not {"torch", "diffusers", "transformers", "numpy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, str(files.base)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def listed(files, capsys, *arguments):
    assert main(["models", "--base", str(files.base), *arguments]) == 0
    return capsys.readouterr().out


def test_models_lists_what_is_here_and_what_it_fits(files, capsys):
    told = json.loads(listed(files, capsys, "--json"))
    models = {(one["name"], one.get("component")): one for one in told["models"]}
    wan = models["wan2.1_t2v_1.3B.safetensors", "transformer"]
    assert (wan["family"], wan["variant"], wan["layout"], wan["dtype"]) == (
        "Wan",
        "2.1 T2V 1.3B",
        "original",
        "bfloat16",
    )
    assert wan["loads"] and wan["bytes"] == 2 * wan["parameters"] and wan["folder"] == "diffusion_models"
    fitting = ["VAE wan_2.1_vae.safetensors", "text encoder umt5_xxl.safetensors", "LoRA style.safetensors"]
    assert wan["wires_to"] == fitting and not wan["needs"]
    vae = models["wan_2.1_vae.safetensors", "VAE"]
    dits = ["transformer wan2.1-t2v-1.3b-Q4_K.gguf", "transformer wan2.1_t2v_1.3B.safetensors"]
    assert vae["wires_to"] == dits
    assert ("ltx-video-2b-v0.9.safetensors", "VAE") in models
    assert models["ltx-video-2b-v0.9.safetensors", "transformer"]["family"] == "LTX"
    quantised = models["wan2.1-t2v-1.3b-Q4_K.gguf", "transformer"]
    assert quantised["loads"] and quantised["dtype"] == "Q4_K" and quantised["variant"] == "2.1 T2V 1.3B"
    assert "web page" in models["page.safetensors", None]["problem"]
    style = models["style.safetensors", "LoRA"]
    assert style["loads"] and style["what"] == "a Wan 1.3B LoRA"
    assert style["wires_to"] == dits
    pocket = [one for one in told["models"] if one["name"] == POCKET]
    assert len(pocket) == 3 and all(one["loads"] for one in pocket)
    assert [one["what"] for one in told["models"] if one["name"] == "My-Wan"] == [
        "a Wan pocket transformer", "a Wan pocket VAE", "a UMT5 pocket text encoder",
    ]  # fmt: skip


def test_models_says_it_in_words_too(files, capsys):
    (files.base / "models" / "vae" / "wan_2.1_vae.safetensors").unlink()
    text = listed(files, capsys, "wan2.1")
    assert "wan2.1_t2v_1.3B.safetensors: a Wan 2.1 T2V 1.3B transformer, 0.1 M parameters, bfloat16, 0 MB" in text
    assert "needs a Wan 2.1 VAE" in text and "umt5_xxl" in text and "My-Wan" not in text
    assert "wan2.1-t2v-1.3b-Q4_K.gguf: a Wan 2.1 T2V 1.3B transformer, 0.1 M parameters, Q4_K, 0 MB" in text
    assert "no model is called 'nothing'" in listed(files, capsys, "nothing")
