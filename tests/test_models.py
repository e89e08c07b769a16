"""Single files in the loaders' menus, and `spacetime models`: what is here, what fits what, what fails and why."""

import json
import shutil
import subprocess
import sys

import pytest
from headers import write_gguf, write_header
from spacetime_nodes.host.cli import main
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, weight_files
from spacetime_nodes.model_loaders.folders import CONFIGS, POCKET, POCKET_FOLDER

WAN = {"head.modulation": (2,), "blocks.0.self_attn.norm_q.weight": (1536,)}
WAN["patch_embedding.weight"] = (1536, 16, 1, 2, 2)
WAN_VAE = {"decoder.middle.0.residual.0.gamma": (384,), "conv2.weight": (16, 16, 1, 1, 1)}
UMT5 = {"encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight": (32, 64), "shared.weight": (8, 4096)}
LTX = {"patchify_proj.weight": (2048, 128), "adaln_single.emb.timestep_embedder.linear_1.weight": (2048, 256)}
LTX_VAE = {
    "per_channel_statistics.mean-of-means": (128,),
    "decoder.up_blocks.0.res_blocks.0.conv1.conv.weight": (512, 512, 3, 3, 3),
}


LAYER = "model.layers.0.self_attn.q_proj"
LLAMA = {"model.embed_tokens.weight": (128320, 4096), f"{LAYER}.weight": (4096, 4096)}
QWEN = {"model.embed_tokens.weight": (152064, 3584), f"{LAYER}.weight": (3584, 3584), f"{LAYER}.bias": (3584,)}
CLIP_L = {"text_model.embeddings.token_embedding.weight": (49408, 768)}
CLIP_L["text_model.encoder.layers.0.mlp.fc1.weight"] = (3072, 768)
CLIP_H = {"vision_model.encoder.layers.0.mlp.fc1.weight": (5120, 1280)}
BYT5 = {"encoder.block.0.layer.0.SelfAttention.q.weight": (384, 1472), "shared.weight": (1510, 1472)}
WAN_I2V = {**WAN, "patch_embedding.weight": (5120, 36, 1, 2, 2), "img_emb.proj.1.weight": (1280, 1280)}
HUNYUAN = {"txt_in.individual_token_refiner.blocks.0.norm1.weight": (3072,), "vector_in.in_layer.weight": (3072, 768)}
HUNYUAN |= {"img_in.proj.weight": (3072, 16, 1, 2, 2), "guidance_in.mlp.0.weight": (3072, 256)}


def tokenizer(folder):
    """What a tokenizer is found by."""
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")


@pytest.fixture
def files(host):
    models = host.base / "models"
    for kind in ("diffusion_models", "vae", "text_encoders", "checkpoints", "loras", "unet", "clip_vision"):
        (models / kind).mkdir(parents=True)
    write_header(models / "diffusion_models" / "wan2.1_t2v_1.3B.safetensors", WAN)
    write_header(models / "vae" / "wan_2.1_vae.safetensors", WAN_VAE)
    write_header(models / "text_encoders" / "umt5_xxl.safetensors", UMT5)
    tokenizer(models / "text_encoders" / "umt5_xxl")
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


@pytest.fixture
def hunyuan(files):
    """A HunyuanVideo as single files, with what its text encoder is used with."""
    models = files.base / "models"
    write_header(models / "diffusion_models" / "hunyuan_video_t2v.safetensors", HUNYUAN)
    for name, shapes in {"llava_llama3": LLAMA, "clip_l": CLIP_L}.items():
        write_header(models / "text_encoders" / f"{name}.safetensors", shapes)
        tokenizer(models / "text_encoders" / name)
    return files


def entries(files, capsys):
    return {one["name"]: one for one in json.loads(listed(files, capsys, "--json"))["models"]}


def test_what_another_takes_from_beside_it_is_listed_so_and_is_no_problem(hunyuan, capsys):
    models = hunyuan.base / "models"
    write_header(models / "diffusion_models" / "wan2.1_i2v_480p_14B.safetensors", WAN_I2V)
    write_header(models / "clip_vision" / "clip_vision_h.safetensors", CLIP_H)
    write_header(models / "text_encoders" / "byt5_small_glyphxl.safetensors", BYT5)
    there = entries(hunyuan, capsys)
    dit, llama, clip = (there[f"{name}.safetensors"] for name in ("hunyuan_video_t2v", "llava_llama3", "clip_l"))
    assert dit["needs"] == ["a HunyuanVideo VAE"], "CLIP L is there"
    assert "text encoder llava_llama3.safetensors" in dit["wires_to"] and not any(
        "clip_l" in w for w in dit["wires_to"]
    )
    assert llama["used_with"] == ["clip_l.safetensors"] and llama["loads"]
    assert clip["loads"] and not clip["problem"] and clip["wires_to"] == ["text encoder llava_llama3.safetensors"]
    assert there["clip_vision_h.safetensors"]["wires_to"] == ["transformer wan2.1_i2v_480p_14B.safetensors"]
    byt5 = there["byt5_small_glyphxl.safetensors"]
    assert byt5["loads"] and byt5["used_beside"] == ["a Qwen2.5 text encoder"], "which isn't here"
    text = listed(hunyuan, capsys)
    assert "    used beside text encoder llava_llama3.safetensors\n" in text
    assert "    used beside transformer wan2.1_i2v_480p_14B.safetensors\n" in text
    assert "    used beside a Qwen2.5 text encoder\n" in text and "    used with clip_l.safetensors\n" in text
    assert "CLIPTextModel" not in text and "no loader takes an image encoder" not in text


@pytest.mark.parametrize(
    "second, shapes, first, its, example",
    [("clip_l", CLIP_L, "llava_llama3", LLAMA, "llava_llama3_fp8_scaled"),
     ("byt5_small_glyphxl", BYT5, "qwen_2.5_vl_7b", QWEN, "qwen_2.5_vl_7b_fp8_scaled")],
)  # fmt: skip
def test_a_second_text_encoder_that_is_chosen_names_the_first(nodes, files, second, shapes, first, its, example):
    folder = files.base / "models" / "text_encoders"
    write_header(folder / f"{second}.safetensors", shapes)
    put = f"^{second}.safetensors is used beside a .* text encoder: put {example}.safetensors into models/text_encoders"
    with pytest.raises(CheckpointError, match=put):
        nodes["SpacetimeLoadTextEncoder"]().plan(f"{second}.safetensors")
    write_header(folder / f"{first}.safetensors", its)
    choose = f"^{second}.safetensors is used beside {first}.safetensors; choose that one$"
    with pytest.raises(CheckpointError, match=choose):
        nodes["SpacetimeLoadTextEncoder"]().plan(f"{second}.safetensors")


def test_a_pipelines_second_text_encoder_is_not_asked_for(files, capsys):
    """As HunyuanVideo's diffusers folder holds it."""
    folder = files.base / "models" / "diffusion_models" / "HunyuanVideo"
    dit = {"context_embedder.token_refiner.refiner_blocks.0.norm1.weight": (3072,),
           "x_embedder.proj.weight": (3072, 16, 1, 2, 2), "time_text_embed.text_embedder.linear_1.weight": (3072, 768),
           "time_text_embed.guidance_embedder.linear_1.weight": (3072, 256)}  # fmt: skip
    parts = {"transformer": ("hunyuan-video-t2v/transformer", "diffusion_pytorch_model", dit),
             "text_encoder": ("llava-llama-3-8b/text_encoder", "model", LLAMA),
             "text_encoder_2": ("clip-l/text_encoder", "model", CLIP_L)}  # fmt: skip
    for part, (config, stem, shapes) in parts.items():
        (folder / part).mkdir(parents=True)
        shutil.copy(CONFIGS / config / "config.json", folder / part)
        write_header(folder / part / f"{stem}.safetensors", shapes)
    (folder / "model_index.json").write_text('{"_class_name": "HunyuanVideoPipeline"}')

    def needed():
        (one, _) = json.loads(listed(files, capsys, "HunyuanVideo", "--json"))["models"]
        assert one["what"] == "a HunyuanVideo T2V transformer"
        return one["needs"]

    assert needed() == ["a HunyuanVideo VAE"]
    shutil.rmtree(folder / "text_encoder_2")
    assert needed()[-1] == "a CLIP L text encoder"
    assert "text_encoder is read with CLIP L: keep it beside its text_encoder_2/ folder" in listed(files, capsys)


def test_a_missing_tokenizer_is_told_before_anything_is_loaded(nodes, hunyuan, capsys):
    folder = hunyuan.base / "models" / "text_encoders"
    for name in ("umt5_xxl", "llava_llama3", "clip_l"):
        shutil.rmtree(folder / name)
    for name, line in {
        "umt5_xxl": f"put tokenizer.json and tokenizer_config.json of google/umt5-xxl into {folder / 'umt5_xxl'}",
        "llava_llama3": f"into {folder / 'llava_llama3'}; clip_l.safetensors comes without a tokenizer: put .* into .*",
    }.items():
        with pytest.raises(CheckpointError, match=f"^{name}.safetensors comes without a tokenizer: .*{line}$") as said:
            nodes["SpacetimeLoadTextEncoder"]().plan(f"{name}.safetensors")
        there = entries(hunyuan, capsys)
        assert there[f"{name}.safetensors"]["problem"] == str(said.value)
    assert not there["wan2.1_t2v_1.3B.safetensors"]["needs"], "the text encoder itself is there"
    assert not there["clip_l.safetensors"]["problem"] and "CLIP" not in str(
        there["hunyuan_video_t2v.safetensors"]["needs"]
    )
    (folder / "umt5_xxl").mkdir()
    (folder / "umt5_xxl" / "tokenizer_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="comes without a tokenizer"):  # its settings alone are none
        nodes["SpacetimeLoadTextEncoder"]().plan("umt5_xxl.safetensors")


def test_pickles_are_listed_in_one_line_and_never_read(files, capsys):
    for kind, name in (("vae", "Wan2.1_VAE.pth"), ("diffusion_models", "a/b.ckpt"), ("loras", "c.pt")):
        path = files.base / "models" / kind / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"PK\x03\x04")
    lines = listed(files, capsys).splitlines()
    said = "it can run code and is never loaded; the safetensors version"
    assert f"  Wan2.1_VAE.pth is a pickle (.pth): {said}, wan_2.1_vae.safetensors, would be right" in lines
    assert f"  a/b.ckpt is a pickle (.ckpt): {said} would be right" in lines
    assert f"  c.pt is a pickle (.pt): {said} would be right" in lines
    told = entries(files, capsys)["Wan2.1_VAE.pth"]
    assert not told["loads"] and told["what"] == "a pickle"
    assert (
        "  page.safetensors is a web page, not weights: the download gave an HTML page (often a login or licence page)"
        in lines
    )


def test_a_file_of_unknown_kind_is_said_to_be_of_no_known_model(files, capsys):
    write_header(files.base / "models" / "vae" / "strange.safetensors", {"foo": (3,)})
    text = listed(files, capsys, "strange")
    assert "a file of unknown kind (its first tensor is 'foo')" in text
    assert text.endswith("doesn't load: its tensors are those of no model that is known here\n")


def test_a_kind_that_nothing_here_takes_is_named_in_a_sentence(files, capsys):
    keys = ("per_channel_statistics.mean-of-means", "decoder.up.0.block.0.conv1.conv.weight")
    write_header(files.base / "models" / "vae" / "LTX2_audio_vae.safetensors", dict.fromkeys(keys, (8,)))
    assert "doesn't load: no loader takes an audio VAE, and no model here uses" in listed(files, capsys, "LTX2_audio")
