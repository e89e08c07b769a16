"""Where the weights stay makes no difference to the latents; what a VAE has no room for it decodes in tiles."""

import os

import pytest
import standin
import torch
from bench import grid, load, sample
from spacetime_nodes.model_loaders import memory, offload
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as NODES
from tiny import MODELS


@pytest.mark.parametrize("name", MODELS)
def test_every_way_of_offloading_gives_the_same_latents(pipelines, hosted, monkeypatch, name):
    """With hooks that move block by block and layer by layer, to a GPU; where none can stand in, to the CPU itself."""
    if not os.environ.get("SPACETIME_STANDIN") and not standin.why_not():
        pytest.skip("tests/test_gpu.py runs it")
    pipelines(name)
    model = load(name)
    canvas = grid(model, 32, 32, 7 if name == "Mochi" else 9)
    plain = sample(model, canvas)["samples"]
    monkeypatch.setattr(offload, "ONE_MEMORY", ())
    for way in (offload.BLOCK, offload.LEAF, offload.DISK):
        (model.dit,) = NODES["SpacetimeLoadDiT"]().run(name, memory=way)
        for again in range(2):  # a hook may change in its first pass
            assert (sample(model, canvas)["samples"] - plain).abs().max() <= 1e-6, (way, again)
        hooked = [module for module in model.dit.adapter.transformer.modules() if hasattr(module, "_diffusers_hook")]
        assert len(hooked) > 2


@pytest.mark.parametrize(
    "name", ["LTX-0.9.5", "HunyuanVideo", "Mochi", "Wan2.1-T2V", "Wan2.2-TI2V-5B", "CogVideoX-2B", "EasyAnimate"]
)
def test_what_would_not_fit_is_decoded_in_tiles(pipelines, hosted, monkeypatch, name):
    pipelines(name)
    frames, channels = 1, load(name).vae.config.channels
    side = load(name).vae.config.tile // load(name).vae.config.space_factor
    latent = 0.3 * torch.randn(1, channels, frames, 2, side + 4, generator=torch.Generator().manual_seed(0))

    def decoded(tiling, free):
        monkeypatch.setattr(memory, "free_bytes", lambda device: free)
        (vae,) = NODES["SpacetimeLoadVAE"]().run(name, tiling=tiling)
        return torch.cat(list(vae.decode_stream(latent))), vae

    whole, vae = decoded("off", 0)
    tiles, _ = decoded("on", 10**12)
    assert tiles.shape == whole.shape and not torch.equal(tiles, whole)
    assert not hosted.notices
    assert torch.equal(decoded("auto", 10**12)[0], whole) and not hosted.notices
    assert torch.equal(decoded("auto", 1000)[0], tiles)
    assert any("the VAE works in tiles: whole, it would take" in line for line in hosted.notices)
    size = {"height": 2 * vae.config.space_factor, "width": (side + 4) * vae.config.space_factor, "frames": 1}
    assert vae.decoding_bytes(**size, tiled=True) < vae.decoding_bytes(**size)
    clip = [whole[:1].clamp(0, 1)]
    assert torch.cat(list(vae.encode_stream(clip))).shape == latent.shape
