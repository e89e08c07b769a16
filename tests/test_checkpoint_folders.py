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
        ('{"_class_name": "WanTransformer3DModel"}', "lacks or garbles"),
        ('{"_class_name": "WanTransformer3DModel", "in_channels": "many", "out_channels": "many"}', "lacks or garbles"),
    ],
)
def test_a_broken_or_foreign_config(nodes, host, text, words):
    folder = host.base / "models" / "diffusion_models" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=words) as error:
        nodes["SpacetimeLoadDiT"]().run("mine")
    one_line(error)


def test_a_config_that_asks_for_the_impossible(nodes, host, copy):
    """Right class, wild sizes: refused by the shapes in the file, without allocating them."""
    folder = copy("transformer", "diffusion_models")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "ffn_dim": 2**34}))
    (dit,) = nodes["SpacetimeLoadDiT"]().run("mine")
    with pytest.raises(CheckpointError, match="config asks for"):
        dit.adapter  # noqa: B018
