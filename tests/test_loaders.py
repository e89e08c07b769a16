"""Loaders: what is offered, where it is found, that nothing is read before it is needed, and in which number format."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from spacetime_nodes.model_loaders.folders import POCKET, POCKET_FOLDER

LOADERS = {
    "SpacetimeLoadDiT": ("model_name", "diffusion_models", "transformer"),
    "SpacetimeLoadVAE": ("vae_name", "vae", "vae"),
    "SpacetimeLoadTextEncoder": ("text_encoder_name", "text_encoders", "text_encoder"),
}


def offered(nodes, loader):
    return nodes[loader].INPUT_TYPES()["required"][LOADERS[loader][0]][0]


def module_of(component):
    return component.adapter.transformer if hasattr(component, "adapter") else component.module


@pytest.mark.parametrize("loader", LOADERS)
def test_pocket_comes_first_and_needs_no_folder(nodes, host, loader):
    assert offered(nodes, loader) == [POCKET] == ["pocket (built in)"]


@pytest.mark.parametrize("loader", LOADERS)
def test_a_component_folder_is_found_and_loads_pockets_bits(nodes, host, pocket, loader):
    _, kind, part = LOADERS[loader]
    shutil.copytree(POCKET_FOLDER / part, host.base / "models" / kind / "sub" / "mine")
    if part == "text_encoder":
        shutil.copytree(POCKET_FOLDER / "tokenizer", host.base / "models" / kind / "sub" / "mine", dirs_exist_ok=True)
    assert offered(nodes, loader) == [POCKET, "sub/mine"]
    (component,) = nodes[loader]().run("sub/mine")
    mine = module_of(component).state_dict()
    built_in = {"transformer": pocket.dit, "vae": pocket.vae, "text_encoder": pocket.text_encoder}[part]
    theirs = module_of(built_in).state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_one_downloaded_pipeline_serves_all_three_loaders(nodes, host):
    shutil.copytree(POCKET_FOLDER, host.base / "models" / "diffusion_models" / "My-Wan")
    for loader in LOADERS:
        assert offered(nodes, loader) == [POCKET, "My-Wan"]
        (component,) = nodes[loader]().run("My-Wan")
        assert component.folder.parent.name == "My-Wan"
    (text_encoder,) = nodes["SpacetimeLoadTextEncoder"]().run("My-Wan")
    assert text_encoder.encode("red circle")[0].shape == (1, 64, 64)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", ["nothing", "../vae", "/etc", "a\0b", "pocket"])
def test_a_missing_model_is_a_FileNotFoundError_that_helps(nodes, host, loader, name):
    with pytest.raises(FileNotFoundError, match="isn't there; (did you mean 'pocket|it should lie in)") as error:
        nodes[loader]().run(name)
    assert "\n" not in str(error.value)


def test_a_loader_reads_no_weights(nodes, host):
    shutil.copytree(
        POCKET_FOLDER, host.base / "models" / "vae" / "hollow", ignore=shutil.ignore_patterns("*.safetensors")
    )
    (dit,) = nodes["SpacetimeLoadDiT"]().run("hollow")
    (vae,) = nodes["SpacetimeLoadVAE"]().run("hollow")
    (text_encoder,) = nodes["SpacetimeLoadTextEncoder"]().run("hollow")
    assert (dit.config.family, dit.config.channels, dit.config.patch) == ("Wan", 16, (1, 2, 2))
    assert (vae.config.channels, vae.config.time_factor, vae.config.space_factor) == (16, 4, 8)
    assert text_encoder.config.width == dit.config.text_width == 64


def test_loading_wants_neither_torch_nor_time(nodes):
    code = """
import sys, time
start = time.perf_counter()
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as nodes
nodes["SpacetimeLoadDiT"].INPUT_TYPES()
nodes["SpacetimeLoadDiT"]().run("pocket (built in)")
print([name for name in ("torch", "diffusers", "transformers", "numpy") if name in sys.modules])
"""
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_weights_are_read_once_and_shared(pocket):
    assert pocket.dit.adapter is pocket.dit.adapter and pocket.vae.module is pocket.vae.module


def test_loading_is_not_slower_than_diffusers(nodes):
    """Built empty and filled in place; diffusers needs accelerate for that."""
    from diffusers import WanTransformer3DModel
    from spacetime_nodes.model_loaders.dit import DiT

    def seconds(load):
        start = time.process_time()  # of this process alone, whatever else runs
        load()
        return time.process_time() - start

    ours = min(seconds(lambda: DiT(POCKET_FOLDER / "transformer").adapter) for _ in range(5))
    theirs = min(
        seconds(lambda: WanTransformer3DModel.from_pretrained(POCKET_FOLDER / "transformer")) for _ in range(3)
    )
    assert ours < 2 * theirs


def test_loaded_modules_equal_from_pretrained_in_every_tensor_and_buffer(stock, pocket):
    """Buffers too: the rotary tables are in no file."""
    pairs = [
        (stock.transformer, pocket.dit.adapter.transformer),
        (stock.vae, pocket.vae.module),
        (stock.text_encoder, pocket.text_encoder.module),
    ]
    for theirs, ours in pairs:
        for listing in ("named_parameters", "named_buffers"):
            a, b = dict(getattr(theirs, listing)()), dict(getattr(ours, listing)())
            assert a.keys() == b.keys()
            assert all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)
        assert not ours.training and not any(parameter.requires_grad for parameter in ours.parameters())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_layers_that_must_stay_float32_stay(nodes, dtype):
    from diffusers import WanTransformer3DModel

    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, dtype)
    theirs = WanTransformer3DModel.from_pretrained(POCKET_FOLDER / "transformer", torch_dtype=getattr(torch, dtype))
    ours = dit.adapter.transformer
    kept = {key for key, value in ours.state_dict().items() if value.dtype == torch.float32}
    assert kept == {key for key, value in theirs.state_dict().items() if value.dtype == torch.float32}
    assert "condition_embedder.time_embedder.linear_1.weight" in kept and "proj_out.weight" not in kept
    assert dit.adapter.dtype == getattr(torch, dtype)


def test_bfloat16_makes_a_video_close_to_float32s(nodes, pocket):
    prompts = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle", "")
    latent = {"samples": torch.zeros(1, 16, 3, 6, 6)}
    (half,) = nodes["SpacetimeLoadDiT"]().run(POCKET, "bfloat16")
    a, b = (
        nodes["SpacetimeSample"]().run(dit, *prompts, latent, 0, 3, 4.0)[0]["samples"] for dit in (pocket.dit, half)
    )
    assert a.dtype == b.dtype == torch.float32
    assert 0 < (a - b).abs().mean() < 0.1 * a.std()


def test_a_device_that_is_not_here_is_refused(nodes):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, "auto", "cuda")
    with pytest.raises(ValueError, match="device 'cuda' isn't on this machine; here: .*cpu"):
        dit.adapter  # noqa: B018


def test_a_transformer_without_its_pipeline_uses_wans_published_statistics(nodes, host):
    shutil.copytree(POCKET_FOLDER / "transformer", host.base / "models" / "diffusion_models" / "alone")
    (dit,) = nodes["SpacetimeLoadDiT"]().run("alone")
    assert dit.config.vae == {} and dit.config.scheduler["_class_name"] == "UniPCMultistepScheduler"
    assert not dit.config.per_token_time
    assert abs(float(dit.adapter.mean.flatten()[0]) + 0.7571) < 1e-6  # diffusers' AutoencoderKLWan default


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_models_that_this_version_cannot_run_are_named(nodes, host):
    folder = host.base / "models" / "diffusion_models" / "wan"
    shutil.copytree(POCKET_FOLDER, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    edit(folder / "model_index.json", boundary_ratio=0.875)
    with pytest.raises(ValueError, match="is the first of two experts: keep it beside its transformer_2/ folder"):
        nodes["SpacetimeLoadDiT"]().run("wan")
    edit(folder / "model_index.json", boundary_ratio=None)
    edit(folder / "transformer" / "config.json", in_channels=36, image_dim=1280)
    with pytest.raises(ValueError, match="sees the image through CLIP: keep it beside its image_encoder/ folder"):
        nodes["SpacetimeLoadDiT"]().run("wan")
    control = {"_class_name": "EasyAnimateTransformer3DModel", "in_channels": 40, "out_channels": 16, "patch_size": 2}
    (folder / "transformer" / "config.json").write_text(json.dumps(control))
    with pytest.raises(
        ValueError, match="EasyAnimate for 40 channels; this version runs its text-to-video, InP and Control"
    ):
        nodes["SpacetimeLoadDiT"]().run("wan")


def test_the_text_encoder_of_another_model_is_refused(nodes, host, pocket):
    folder = host.base / "models" / "text_encoders" / "bert"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "hidden_size": 768}))
    with pytest.raises(ValueError, match="BertModel.*text encoders that this version knows .* are .*T5EncoderModel"):
        nodes["SpacetimeLoadTextEncoder"]().run("bert")


def test_a_broken_tokenizer_is_one_line(nodes, host):
    folder = host.base / "models" / "text_encoders" / "mine"
    shutil.copytree(POCKET_FOLDER / "text_encoder", folder)
    with pytest.raises(ValueError, match="has no tokenizer"):
        nodes["SpacetimeLoadTextEncoder"]().run("mine")
    (folder / "tokenizer.json").write_text("{")
    (text_encoder,) = nodes["SpacetimeLoadTextEncoder"]().run("mine")
    with pytest.raises(ValueError, match="can't be read") as error:
        text_encoder.encode("x")
    assert "\n" not in str(error.value)


def test_the_tokenizer_of_another_model_is_refused_before_anything_is_encoded(nodes, host):
    folder = host.base / "models" / "text_encoders" / "mine"
    shutil.copytree(POCKET_FOLDER / "text_encoder", folder)
    shutil.copytree(POCKET_FOLDER / "tokenizer", folder, dirs_exist_ok=True)
    words = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    size = len(vocabulary)
    assert size <= 128
    words["model"]["vocab"] |= {f"word{i}": i for i in range(size, 200)}
    (folder / "tokenizer.json").write_text(json.dumps(words))
    (text_encoder,) = nodes["SpacetimeLoadTextEncoder"]().run("mine")
    refused = "mine has the tokenizer of another model: it has 200 words, the encoder.s table 128;"
    with pytest.raises(ValueError, match=refused) as error:
        nodes["SpacetimeEncodePrompt"]().run(text_encoder, "word199", "")
    assert "\n" not in str(error.value) and not type(text_encoder).module.made(text_encoder)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root reads everything")
def test_a_folder_nobody_may_read_is_no_reason_to_fail(nodes, host):
    locked = host.base / "models" / "vae"
    locked.mkdir(parents=True)
    locked.chmod(0)
    assert offered(nodes, "SpacetimeLoadVAE") == [POCKET]
    locked.chmod(0o755)


def test_one_locked_folder_hides_no_others(nodes, host, monkeypatch):
    folder = host.base / "models" / "vae"
    shutil.copytree(POCKET_FOLDER / "vae", folder / "mine")
    (folder / "lost+found").mkdir()
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "lost+found":
            raise PermissionError(path)
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert offered(nodes, "SpacetimeLoadVAE") == [POCKET, "mine"]


def test_a_text_encoder_in_bfloat16_is_bfloat16_throughout_as_in_transformers(nodes, stock):
    (encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(POCKET, "bfloat16")
    assert {p.dtype for p in encoder.module.parameters()} == {torch.bfloat16}
    theirs = type(stock.text_encoder).from_pretrained(POCKET_FOLDER / "text_encoder", dtype=torch.bfloat16)
    assert {p.dtype for p in theirs.parameters()} == {torch.bfloat16}


def test_on_a_gpu_auto_is_bfloat16_for_the_dit_and_float32_for_the_vae(monkeypatch):
    from spacetime_nodes.model_loaders import devices
    from spacetime_nodes.model_loaders.dit import DiT
    from spacetime_nodes.model_loaders.vae import VAE

    monkeypatch.setattr(devices, "pick_device", lambda name: torch.device("meta"))  # as any device but the CPU
    dit, vae = DiT(POCKET_FOLDER / "transformer"), VAE(POCKET_FOLDER / "vae")
    assert dit.load(dit.source).dtype == torch.bfloat16 and vae.module.dtype == torch.float32
