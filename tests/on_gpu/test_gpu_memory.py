"""What lies on a GPU and when, by the stand-in's count; and that nothing there computes with what lies elsewhere."""

import os

import pytest
import torch
from bench import grid, load, sample, save
from spacetime_nodes.model_loaders import devices, memory, offload
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as NODES
from tiny import MODELS
from tiny.wan import wan_transformer

if not os.environ.get("SPACETIME_STANDIN"):
    pytest.skip("needs SPACETIME_STANDIN=1, as tests/test_gpu.py runs it", allow_module_level=True)

LAYERS = 16
GPU = torch.device("xpu")
held, peak, forget = torch.xpu.memory_allocated, torch.xpu.max_memory_allocated, torch.xpu.reset_peak_memory_stats


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with one Wan whose transformer is nearly all blocks."""
    base = tmp_path_factory.mktemp("models")
    shape = {"in_channels": 4, "out_channels": 4, "num_layers": LAYERS, "attention_head_dim": 64, "ffn_dim": 512}
    pipeline = MODELS["Wan2.1-T2V"]()
    pipeline.register_modules(transformer=wan_transformer(2, "Wan", **shape))
    save(pipeline, base, "deep")
    return base


@pytest.fixture
def base(models):
    return models


def sampled(way: str):
    """The DiT stage, from loading to the last step: (latents on the CPU, the most that it held, its plan)."""
    model = load("deep")
    (model.dit,) = NODES["SpacetimeLoadDiT"]().run("deep", memory=way)
    canvas = grid(model, 32, 32, 9)
    prompts = NODES["SpacetimeEncodePrompt"]().run(model.text_encoder, "a red circle", "")
    memory.give_back(model.text_encoder)
    before = held()
    forget()
    done = NODES["SpacetimeSample"]().run(model.dit, *prompts, canvas, 7, 3, 4.0)[0]["samples"]
    return done, peak() - before, model.dit.footprints(way)[0]


def test_the_count_is_exact():
    before = held()
    forget()
    one = torch.zeros(1000, device=GPU)
    two = one + 1
    assert held() - before == 2 * 4000
    del one
    assert held() - before == 4000 and peak() - before == 2 * 4000
    del two
    assert held() == before


@pytest.mark.parametrize(
    "compute", [torch.add, torch.matmul, torch.nn.functional.linear, lambda a, b: torch.cat([a, b])]
)
def test_it_computes_with_nothing_that_lies_elsewhere(compute):
    here, elsewhere = torch.ones(3, 3, device=GPU), torch.ones(3, 3)
    assert torch.equal(compute(here, here).cpu(), compute(elsewhere, elsewhere))
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        compute(here, elsewhere)
    with pytest.raises(RuntimeError, match="Expected a generator of xpu:0"):
        torch.randn(3, device=GPU, generator=torch.Generator())


def test_block_offload_holds_two_blocks_and_what_is_no_block(host):
    whole, all_of_it, plan = sampled(offload.FITS)
    weights, working = plan.weights, all_of_it - plan.weights
    assert plan.device == weights and 0 < working < 0.2 * weights
    latents, most, plan = sampled(offload.BLOCK)
    assert torch.equal(latents, whole)
    assert most <= 0.4 * weights, f"{most} of {weights}"
    tables = 2 * 4 * 1024 * 64  # RoPE's, which are in no file; the hooks hold them twice
    assert most == pytest.approx(plan.device + working + tables, rel=0.03), "two blocks, the rest, what a pass takes"


@pytest.mark.parametrize("way", [offload.LEAF, offload.DISK])
def test_the_others_hold_less(host, way):
    whole, _, _ = sampled(offload.FITS)
    latents, most, plan = sampled(way)
    assert torch.equal(latents, whole)
    assert most <= 0.2 * plan.weights


def test_auto_takes_what_fits_the_gpu(host, monkeypatch):
    whole, all_of_it, plan = sampled(offload.FITS)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 4 * plan.weights)
    assert torch.equal(sampled(offload.AUTO)[0], whole) and not any("offload" in line for line in host.notices)
    monkeypatch.setattr(memory, "free_bytes", lambda device: plan.weights)
    latents, most, _ = sampled(offload.AUTO)
    assert torch.equal(latents, whole) and most < 0.4 * plan.weights
    assert any("are free on xpu; block offload:" in line for line in host.notices)


def test_nothing_stays_on_it_when_the_models_go(host):
    before = held()
    model = load("deep")
    canvas = grid(model, 32, 32, 9)
    latent = {**canvas, "samples": sample(model, canvas)["samples"]}
    frames = torch.cat(list(model.vae.decode_stream(latent["samples"])))
    assert frames.device.type == latent["samples"].device.type == "cpu"
    assert held() - before > 0.9 * model.dit.weight_bytes
    for one in (model.dit, model.vae, model.text_encoder):
        memory.give_back(one)
    assert held() == before


def test_tiles_save_what_they_are_for(host):
    latent = 0.3 * torch.randn(1, 4, 1, 64, 64, generator=torch.Generator().manual_seed(0))

    def decoded(tiling):
        (vae,) = NODES["SpacetimeLoadVAE"]().run("deep", tiling=tiling)
        assert vae.module.device.type == "xpu"
        before = held()
        forget()
        return torch.cat(list(vae.decode_stream(latent))), peak() - before

    (whole, most), (tiles, less) = decoded("off"), decoded("on")
    assert tiles.shape == whole.shape == (1, 512, 512, 3) and not torch.equal(tiles, whole)
    assert less < 0.6 * most


def test_the_machine_tells_of_it():
    from spacetime_nodes.host.server import machine

    (device,) = machine()["devices"]
    assert (device["name"], device["type"], device["vram_total"]) == ("stand-in", "xpu", 8 << 30)
    assert device["vram_free"] == (8 << 30) - held() == memory.free_bytes(GPU)
    assert devices.there() == ["xpu", "cpu"] and devices.gpu_bytes() == memory.total_bytes(GPU) == 8 << 30
