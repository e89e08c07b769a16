"""Latent upsamplers among the models: what each file is, where it is found, and what it is refused for."""

import json

import pytest
import torch
from counted import Counted
from headers import shapes, write_header
from safetensors.torch import save_file
from spacetime_nodes.host.cli import main
from spacetime_nodes.model_loaders.checkpoint import CheckpointError
from spacetime_nodes.model_loaders.identify import identify_file
from spacetime_nodes.model_loaders.upsampler import Upsampler

LTX = {"patchify_proj.weight": (2048, 128), "adaln_single.emb.timestep_embedder.linear_1.weight": (2048, 256)}
WAN_VAE = {"decoder.middle.0.residual.0.gamma": (384,), "conv2.weight": (16, 16, 1, 1, 1)}
TEMPORAL = {"mid_channels": 512, "spatial_upsample": False, "temporal_upsample": True}
PLAIN = {"use_rational_resampler": False}
# file → what it is, how diffusers builds it, what a latent of 3×4×5 cells becomes
FILES = {
    "ltxv-spatial-upscaler-0.9.7": ("0.9.7 to 0.9.8 spatial x2", {"mid_channels": 512, **PLAIN}, (3, 8, 10)),
    "ltxv-temporal-upscaler-0.9.7": ("0.9.7 temporal x2", TEMPORAL, (5, 4, 5)),
    "ltx-2-spatial-upscaler-x2-1.0": ("2.0 spatial x2", {}, (3, 8, 10)),
    "ltx-2-temporal-upscaler-x2-1.0": ("2.0 temporal x2", TEMPORAL, (5, 4, 5)),
    "ltx-2.3-spatial-upscaler-x2-1.1": ("2.3 spatial x2", PLAIN, (3, 8, 10)),
    "ltx-2.3-spatial-upscaler-x1.5-1.0": ("2.3 spatial x1.5", {"rational_spatial_scale": 1.5}, (3, 6, 8)),
    "ltx-2.3-temporal-upscaler-x2-1.0": ("2.3 temporal x2", TEMPORAL, (5, 4, 5)),
    "mine": (", of unusual size", {"mid_channels": 64, "temporal_upsample": True}, (5, 8, 10)),
    "flat": (", of unusual size", {"mid_channels": 64, "dims": 2, "num_blocks_per_stage": 2}, (3, 8, 10)),
}


def built(config):
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    with torch.device("meta"):
        return LTX2LatentUpsamplerModel(**config)


@pytest.fixture
def put(host):
    """`put(shelf, name, tensors)`: a file that is all header."""

    def write(shelf, name, tensors):
        folder = host.base / "models" / shelf
        folder.mkdir(parents=True, exist_ok=True)
        return write_header(folder / f"{name}.safetensors", tensors)

    return write


@pytest.mark.parametrize("name", FILES)
def test_a_file_tells_what_it_is_and_how_it_is_built(put, name):
    what, config, grown = FILES[name]
    module = built(config)
    path = put("latent_upscale_models", name, shapes(module.state_dict()))
    (found,) = identify_file(path)
    assert (found.component, found.family, found.variant) == ("latent upsampler", "LTX", what)
    upsampler = Upsampler(path)
    assert upsampler.config.grown((3, 4, 5)) == grown
    again = built({key: value for key, value in upsampler.json.items() if key != "_class_name"})
    assert shapes(again.state_dict()) == shapes(module.state_dict())
    with torch.device("meta"):
        assert tuple(again(torch.empty(1, 128, 3, 4, 5)).shape) == (1, 128, *grown)


def test_the_two_scales_of_one_shape_are_told_by_what_the_file_says(tmp_path):
    sizes = shapes(built({"mid_channels": 32, "rational_spatial_scale": 0.75}).state_dict())
    state = {key: torch.zeros(1).expand(size).bfloat16().contiguous() for key, size in sizes.items()}
    for said, grown in ((None, (3, 12, 12)), (0.75, (3, 6, 6)), (1.5, (3, 12, 12))):
        path = tmp_path / f"{said}.safetensors"
        save_file(state, path, {"config": json.dumps({"spatial_scale": said})} if said else None)
        assert Upsampler(path).config.grown((3, 8, 8)) == grown


def test_they_are_found_on_both_shelves_and_in_pipelines_and_what_enlarges_pictures_is_not(nodes, host, put, capsys):
    put("latent_upscale_models", "new", shapes(built({"mid_channels": 32}).state_dict()))
    put("upscale_models", "old", shapes(built({"mid_channels": 32}).state_dict()))
    put("upscale_models", "esrgan", {"model.0.weight": (64, 3, 3, 3)})
    (host.base / "models" / "upscale_models" / "4x.pth").write_bytes(b"PK\x03\x04")
    folder = host.base / "models" / "diffusion_models" / "LTX-2"
    (folder / "latent_upsampler").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    offered = nodes["SpacetimeUpsampleLatent"].INPUT_TYPES()["required"]["upsampler"][0]
    assert offered == ["LTX-2", "new.safetensors", "old.safetensors"]
    assert main(["models", "--base", str(host.base)]) == 0
    said = capsys.readouterr().out
    assert "old.safetensors: an LTX latent upsampler, of unusual size" in said
    assert "esrgan" not in said and "4x.pth" not in said


def test_models_says_whose_latents_an_upsampler_enlarges(host, put, capsys):
    from diffusers import AutoencoderKLLTX2Video

    with torch.device("meta"):
        vae = AutoencoderKLLTX2Video().state_dict()
    put("vae", "ltx-2_vae", shapes(vae))
    put("vae", "wan_2.1_vae", WAN_VAE)
    for name in ("ltx-2-spatial-upscaler-x2-1.0", "ltx-2.3-spatial-upscaler-x2-1.1"):
        put("latent_upscale_models", name, shapes(built(FILES[name][1]).state_dict()))
    assert main(["models", "--base", str(host.base), "--json"]) == 0
    models = {one["name"]: one for one in json.loads(capsys.readouterr().out)["models"]}
    fitting = models["ltx-2-spatial-upscaler-x2-1.0.safetensors"]
    assert fitting["loads"] and fitting["wires_to"] == ["VAE ltx-2_vae.safetensors"]
    assert models["ltx-2.3-spatial-upscaler-x2-1.1.safetensors"]["wires_to"] == []
    assert "latent upsampler ltx-2-spatial-upscaler-x2-1.0.safetensors" in models["ltx-2_vae.safetensors"]["wires_to"]


@pytest.fixture
def refused(nodes, put):
    """`refused(call)` → the one line of its error."""

    def line(call, *arguments):
        with pytest.raises((CheckpointError, ValueError)) as error:
            call(*arguments)
        (said,) = str(error.value).splitlines()
        return said

    return line


def test_an_upsampler_in_a_loader_and_a_model_in_its_place_are_refused_in_one_line(nodes, put, pocket, refused):
    small = shapes(built({"mid_channels": 32}).state_dict())
    for shelf in ("diffusion_models", "vae"):
        put(shelf, "upsampler", small)
    put("latent_upscale_models", "dit", LTX)
    put("latent_upscale_models", "esrgan", {"model.0.weight": (64, 3, 3, 3)})
    for loader, wanted in (("DiT", "transformer"), ("VAE", "VAE")):
        said = refused(nodes[f"SpacetimeLoad{loader}"]().run, "upsampler.safetensors")
        assert said.startswith("upsampler.safetensors is an LTX latent upsampler, of unusual size; the ")
        assert f"needs a {wanted}" in said and said.endswith("(this one goes into Upsample Latent)")
    latent = {"samples": torch.zeros(1, 16, 3, 8, 8), "fps": 8.0}
    run = nodes["SpacetimeUpsampleLatent"]().run
    said = refused(run, pocket.vae, latent, "dit.safetensors", 0.4)
    assert said.startswith("dit.safetensors is an LTX transformer") or said.startswith("dit.safetensors is an LTX 2B")
    assert "Upsample Latent needs a latent upsampler, e.g. ltx-2.3-spatial" in said and "goes into Load DiT" in said
    said = refused(run, pocket.vae, latent, "esrgan.safetensors", 0.4)
    assert "a file of unknown kind" in said and "Upsample Latent needs a latent upsampler" in said


def test_other_models_latents_are_refused_before_any_weight_is_read(nodes, put, pocket, refused):
    put("latent_upscale_models", "up", shapes(built({"mid_channels": 32, "in_channels": 16}).state_dict()))
    latent = {"samples": torch.zeros(1, 16, 3, 8, 8), "fps": 8.0}
    said = refused(nodes["SpacetimeUpsampleLatent"]().run, pocket.vae, latent, "up.safetensors", 0.4)
    assert said == "an LTX latent upsampler takes LTX-Video's latents, not those of a Wan pocket VAE"


def test_an_upsampler_of_other_versions_latents_is_refused(put, refused):
    from diffusers import AutoencoderKLLTX2Video
    from spacetime_nodes.model_loaders.vae import VAE

    with torch.device("meta"):
        state = AutoencoderKLLTX2Video(block_out_channels=[256, 512, 1024, 1024]).state_dict()
    vae = VAE(put("vae", "ltx-2.3_vae", shapes(state)))
    late, soon = (
        Upsampler(put("latent_upscale_models", name, shapes(built(FILES[name][1]).state_dict())))
        for name in ("ltx-2.3-spatial-upscaler-x2-1.1", "ltx-2-spatial-upscaler-x2-1.0")
    )
    late.check(vae, 128)
    assert refused(soon.check, vae, 128) == (
        "an LTX 2.0 spatial x2 latent upsampler is made for latents of an LTX 2.0 VAE, not for those of an LTX 2.3 VAE"
    )
    assert refused(late.check, vae, 64) == "this latent has 64 channels, the upsampler takes 128"


BROKEN = {
    "without what enlarges": {"upsampler.conv.weight": None},
    "with two that enlarge": {"upsampler.0.weight": (128, 32, 3, 3)},
    "flat": {"initial_conv.weight": (32,)},
    "empty": {"initial_conv.weight": (0, 128, 3, 3, 3)},
    "by 7": {"upsampler.conv.weight": (49 * 32, 32, 3, 3)},
    "of other sizes": {"upsampler.conv.weight": (4 * 32, 33, 3, 3)},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_is_refused_in_one_line(host, put, refused, pocket, capsys, name):
    tensors = {**shapes(built({"mid_channels": 32}).state_dict()), **BROKEN[name]}
    path = put("latent_upscale_models", "broken", {key: size for key, size in tensors.items() if size is not None})
    said = refused(lambda: Upsampler(path).module)
    assert "broken.safetensors" in said and len(said) < 200
    assert name != "by 7" or said == "broken.safetensors enlarges by 7; known here: 0.75, 1.5, 2.0, 4.0"
    assert main(["models", "--base", str(host.base)]) == 0 and "broken.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize("name", FILES)
def test_what_is_made_free_for_it_is_what_its_tensors_take_and_a_little_for_the_kernels(put, name):
    module = built(FILES[name][1])
    upsampler = Upsampler(put("latent_upscale_models", name, shapes(module.state_dict())), device="cpu")
    latent = torch.empty(1, 128, 4, 48, 48, device="meta")
    with Counted() as counted, torch.inference_mode():
        module(latent)
    assert 1.05 < upsampler.working_bytes(latent.shape) / counted.peak < 1.8
