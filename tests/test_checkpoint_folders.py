"""A model's folder whose weights, shards or settings are wrong is named for it in one line."""

import json
import shutil

import pytest
import torch
from command import one_line
from safetensors.torch import save_file
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, weight_files
from spacetime_nodes.model_loaders.folders import POCKET_FOLDER


@pytest.fixture
def copy(host):
    """A copy of one part of pocket in the user's model folder, to be damaged."""

    def make(part, kind):
        target = host.base / "models" / kind / "mine"
        shutil.copytree(POCKET_FOLDER / part, target)
        return target

    return make


def tensors_of(folder):
    from safetensors.torch import load_file

    return {key: tensor for file in weight_files(folder) for key, tensor in load_file(file).items()}


def replace_weights(folder, tensors):
    for file in [*weight_files(folder), *folder.glob("*.index.json")]:
        file.unlink()
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")


def test_right_keys_with_wrong_shapes(nodes, host, copy):
    folder = copy("transformer", "diffusion_models")
    tensors = tensors_of(folder)
    tensors["proj_out.bias"] = torch.zeros(7)
    replace_weights(folder, tensors)
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    with pytest.raises(CheckpointError) as error:
        dit.adapter  # noqa: B018 - loads
    one_line(error, "proj_out.bias is [7] in the file", "asks for [64]")


def test_weights_of_another_model_under_this_config(nodes, host, copy):
    folder = copy("transformer", "diffusion_models")
    replace_weights(folder, tensors_of(POCKET_FOLDER / "vae"))
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    with pytest.raises(CheckpointError) as error:
        dit.adapter  # noqa: B018
    one_line(error, "lacks", "the file is a Wan pocket VAE")


def test_nan_weights_stop_at_the_first_step(nodes, host, copy, pocket):
    folder = copy("transformer", "diffusion_models")
    tensors = tensors_of(folder)
    tensors["proj_out.bias"] = torch.full_like(tensors["proj_out.bias"], float("nan"))
    replace_weights(folder, tensors)
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    prompts = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    with pytest.raises(ValueError) as error:
        nodes["SpacetimeSample"]().run(dit, *prompts, {"samples": torch.zeros(1, 16, 1, 6, 6)}, 0, 3, 4.0)
    one_line(error, "step 1", "NaN")


def test_nan_weights_in_a_vae(nodes, host, copy):
    folder = copy("vae", "vae")
    tensors = tensors_of(folder)
    tensors["decoder.conv_out.bias"] = torch.full_like(tensors["decoder.conv_out.bias"], float("nan"))
    replace_weights(folder, tensors)
    (vae,) = nodes["SpacetimeLoadVAE"]().run("mine")
    with pytest.raises(ValueError) as error:
        nodes["SpacetimeDecodeImages"]().run(vae, {"samples": torch.zeros(1, 16, 1, 6, 6)})
    one_line(error, "NaN")


@pytest.mark.parametrize("shard", ["../../x.safetensors", "/etc/passwd", "a\\b.safetensors", "x.bin"])
def test_a_shard_index_cannot_point_outside(nodes, host, copy, shard):
    folder = copy("transformer", "diffusion_models")
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    with pytest.raises(CheckpointError, match="points outside its own folder"):
        dit.adapter  # noqa: B018


def test_a_missing_shard_and_missing_weights(nodes, host, copy):
    folder = copy("transformer", "diffusion_models")
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    with pytest.raises(CheckpointError, match="holds no weights"):
        dit.adapter  # noqa: B018
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(CheckpointError, match="only pickles"):
        dit.adapter  # noqa: B018
    index = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="lacks the shard diffusion_pytorch_model-00001-of-00002"):
        dit.adapter  # noqa: B018


def test_shards_load_as_one_model(nodes, host, copy, pocket):
    folder = copy("transformer", "diffusion_models")
    tensors = tensors_of(folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    names = sorted(tensors)
    halves = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, keys in halves.items():
        save_file({key: tensors[key] for key in keys}, folder / file)
    weight_map = {key: file for file, keys in halves.items() for key in keys}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    loaded = dit.adapter.transformer.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in pocket.dit.adapter.transformer.state_dict().items())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no valid JSON"),
        ("{", "no valid JSON"),
        ("[]", "not a table"),
        ("{}", "names no class"),
        ('{"_class_name": 7}', "names no class"),
        ('{"_class_name": "FluxTransformer2DModel"}', "FluxTransformer2DModel.*Transformer3DModel"),
        ('{"_class_name": "AutoencoderKLWan"}', "is a VAE .*use Load VAE"),
        ('{"architectures": "WanTransformer3DModel"}', "names no class .architectures is 'WanTr.*', not a list"),
        ('{"_class_name": "WanTransformer3DModel"}', "config.json lacks 'out_channels'"),
    ],
)
def test_a_broken_or_foreign_config(nodes, host, text, words):
    folder = host.base / "models" / "diffusion_models" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=words) as error:
        nodes["SpacetimeLoadDiT"]().run("mine")
    one_line(error)


WRONG = {
    "num_layers": ("many", "num_layers is 'many'; a whole number"),
    "attention_head_dim": ("x", "attention_head_dim is 'x'; a whole"),
    "num_attention_heads": (-3, "num_attention_heads is -3; a whole"),
    "ffn_dim": (1000.0, "ffn_dim is 1000.0; a whole"),
    "in_channels": ([16, True], "in_channels is .16, True.; a whole number, or a list of them"),
    "text_dim": ("4096" * 999, "text_dim is '4096.*a whole"),
    "patch_size": (5, "patch_size is 5, which no WanTransformer3DModel has there"),
}


def changed(folder, **changes):
    """Its config.json with these values in it."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_value_in_a_config_is_named_before_anything_is_loaded(nodes, host, copy, key):
    folder, (value, words) = copy("transformer", "diffusion_models"), WRONG[key]
    changed(folder, **{key: value})
    with pytest.raises(CheckpointError, match=f"mine/config.json: {words}") as error:
        nodes["SpacetimeLoadDiT"]().run("mine")
    one_line(error)
    assert len(str(error.value)) < len(str(folder)) + 120


def test_a_wrong_value_in_a_neighbours_config_is_named_too(nodes, host):
    folder = host.base / "models" / "diffusion_models" / "two"
    shutil.copytree(POCKET_FOLDER, folder)
    shutil.copytree(folder / "transformer", folder / "transformer_2")
    changed(folder / "transformer_2", num_layers="many")
    about = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**about, "boundary_ratio": 0.9}))
    with pytest.raises(CheckpointError, match="transformer_2/config.json: num_layers is 'many'"):
        nodes["SpacetimeLoadDiT"]().run("two")


def test_what_garbles_the_config_of_the_vae_beside_is_not_said_of_a_setting_of_the_transformer(nodes, host):
    folder = host.base / "models" / "diffusion_models" / "two"
    shutil.copytree(POCKET_FOLDER, folder)
    changed(folder / "vae", latents_mean=5)
    with pytest.raises(CheckpointError, match="config.json or a config beside it is garbled: ") as error:
        nodes["SpacetimeLoadDiT"]().run("two")
    one_line(error)


def test_a_config_that_no_model_can_be_built_from(nodes, host, copy):
    folder = copy("transformer", "diffusion_models")
    changed(folder, num_attention_heads=0)
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    with pytest.raises(CheckpointError, match="config.json: no WanTransformer3DModel can be built from it") as error:
        dit.adapter  # noqa: B018
    one_line(error)


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("ffn_dim", 2**34, "over [0-9,]+ weights; its files hold 5,140,480"),
        ("num_layers", 10**8, "over 2[0-9],[0-9,]+ weights; its files hold 5,140,480"),
        ("num_attention_heads", 10**7, "over [0-9,]+ weights"),
        ("rope_max_seq_len", 10**9, "a table of 1,000,000,000 values"),
        ("attention_head_dim", 2 * 10**6, "a table of [0-9,]+ values"),
    ],
)
def test_a_config_that_asks_for_the_impossible(nodes, host, copy, key, value, what):
    """Right class, wild sizes: refused by what is in the files, without allocating or building them."""
    folder = copy("transformer", "diffusion_models")
    changed(folder, **{key: value})
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    with pytest.raises(CheckpointError, match=f"config.json: this config asks for {what}") as error:
        dit.adapter  # noqa: B018
    one_line(error)


SETS = ["model-{}-of-{}", "diffusion_pytorch_model-{}-of-{}", "diffusion_pytorch_model-{}-of-{}.fp16",
        "diffusion_pytorch_model.bf16-{}-of-{}"]  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_shards_without_their_index_are_read_where_they_are_all_there(nodes, host, copy, pocket, name):
    folder = copy("transformer", "diffusion_models")
    tensors = tensors_of(folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    names = sorted(tensors)
    shards = [folder / f"{name.format(f'{i + 1:05}', '00003')}.safetensors" for i in range(3)]
    for i, shard in enumerate(shards):
        save_file({key: tensors[key] for key in names[i::3]}, shard)
    stray = folder / f"{SETS[0].format('00001', '00002')}.safetensors"  # of another download
    stray.write_bytes(b"cut short")
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    loaded = dit.adapter.transformer.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in pocket.dit.adapter.transformer.state_dict().items())
    stray.unlink()
    shards[1].unlink()
    with pytest.raises(CheckpointError) as error:
        nodes["SpacetimeLoadDiT"]().run("mine")[0].adapter  # noqa: B018
    assert str(error.value) == f"{folder} lacks the shard {shards[1].name} (2 of 3 are there); download it"
