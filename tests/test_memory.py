"""Where the weights stay, how they are kept, and that both are told before: fp8, GGUF, int8; disk offload; release."""

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import original_layout as old
import pytest
import torch
from safetensors.torch import save_file
from spacetime_nodes.model_loaders import fingerprints, memory, offload, weights
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, read_json
from spacetime_nodes.model_loaders.folders import POCKET, POCKET_FOLDER
from spacetime_nodes.model_loaders.single_file import CONFIGS, locate

CPU = torch.device("cpu")
WAN = CONFIGS / "wan-2.1-t2v-1.3b" / "transformer" / "config.json"


def sampled(nodes, dit, text_encoder, guidance=4.0):
    prompts = nodes["SpacetimeEncodePrompt"]().run(text_encoder, "red circle moving right", "")
    latent = {"samples": torch.zeros(1, 16, 3, 6, 6)}
    return nodes["SpacetimeSample"]().run(dit, *prompts, latent, 0, 3, guidance)[0]["samples"]


def held(dit):
    """Bytes of the transformer's parameters."""
    return sum(p.nbytes for p in dit.adapter.transformer.parameters())


def far(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


# where they stay


def test_disk_offload_makes_the_same_video_and_takes_its_files_along(nodes, host, pocket):
    plain = sampled(nodes, pocket.dit, pocket.text_encoder)
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, memory="disk offload")
    assert (sampled(nodes, dit, pocket.text_encoder) - plain).abs().max() <= 1e-6
    (folder,) = (host.base / "temp").iterdir()
    assert len(list(folder.rglob("*.safetensors"))) == 9  # 8 blocks and the rest
    del dit
    gc.collect()
    assert not folder.exists()


def test_large_weights_go_with_the_last_who_needs_them(nodes, host, pocket, monkeypatch):
    """At once: the adapter, the module and diffusers' hooks refer to each other, so nothing else frees them."""
    monkeypatch.setattr(memory, "LARGE", 0)
    for loader in (nodes["SpacetimeLoadDiT"](), nodes["SpacetimeLoadTextEncoder"](), nodes["SpacetimeLoadVAE"]()):
        (one,) = loader.run(POCKET)
        module = weakref.ref(one.adapter.transformer if hasattr(type(one), "adapter") else one.module)
        if hasattr(type(one), "adapter"):
            sampled(nodes, one, pocket.text_encoder)
        assert module() is not None
        gc.disable()
        try:
            del one
            assert module() is None, loader
        finally:
            gc.enable()


def test_on_a_cpu_block_offload_says_that_it_saves_nothing(nodes, host, pocket):
    plain = sampled(nodes, pocket.dit, pocket.text_encoder)
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, device="cpu", memory="block offload")
    assert torch.equal(sampled(nodes, dit, pocket.text_encoder), plain)
    assert host.notices == ["block offload: a cpu has no memory of its own; only disk offload saves any there"]


def test_auto_offloads_where_the_weights_do_not_fit_and_says_so(nodes, host, pocket, monkeypatch):
    plain = sampled(nodes, pocket.dit, pocket.text_encoder)
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, device="cpu")
    assert torch.equal(sampled(nodes, dit, pocket.text_encoder), plain) and not host.notices
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10_000_000)
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, device="cpu")
    assert (sampled(nodes, dit, pocket.text_encoder) - plain).abs().max() <= 1e-6
    (said,) = host.notices
    assert said.startswith("memory: the DiT's weights take 21 MB") and "10 MB are free on cpu; disk offload: " in said


def test_auto_chooses_anew_for_a_video_that_needs_more(nodes, host, pocket, monkeypatch):
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, device="cpu")
    dit.ready(1000)
    first = weakref.ref(dit.adapter.transformer)
    dit.ready(2000)
    assert dit.adapter.transformer is first()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2500)
    dit.ready(3000)
    dit.adapter  # noqa: B018 - loads
    assert first() is None and "disk offload" in host.notices[-1]


def test_auto_takes_the_fastest_that_fits():
    sizes = {
        "fits": offload.Footprint(28, 28),
        "block offload": offload.Footprint(28, 3, 28),
        "leaf offload": offload.Footprint(28, 1, 28),
        "disk offload": offload.Footprint(28, 2, 1, 28),
    }

    def chosen(needed, free, computer=64, one_memory=False):
        return offload.choose(sizes, needed, free, computer, one_memory)

    assert chosen(10, 40) == "fits"
    assert chosen(10, 37) == "block offload"
    assert chosen(10, 12) == "leaf offload"
    assert chosen(10, 24, computer=20) == "disk offload"
    assert chosen(10, 5) == "disk offload"
    assert (chosen(2, 30, one_memory=True), chosen(3, 30, one_memory=True)) == ("fits", "disk offload")


def test_a_disk_that_is_too_full_is_one_line(nodes, host, monkeypatch):
    from spacetime_nodes.model_loaders import moves

    monkeypatch.setattr(moves.shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, memory="disk offload")
    with pytest.raises(OSError, match="disk offload writes 21 MB into .*temp, where 0 kB are free"):
        dit.adapter  # noqa: B018


PEAK = """
import sys, torch
from pathlib import Path
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as nodes

def figure(name):
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

def sample(dit, width):
    text = [[torch.zeros(1, 8, width), {}]]
    latent = {"samples": torch.zeros(1, 16, 1, 8, 8)}
    return nodes["SpacetimeSample"]().run(dit, text, text, latent, 0, 2, 4.0, preview=False)[0]["samples"]

sample(DiT(Path(sys.argv[3])), 64)  # all libraries are there
before = figure("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
x = sample(DiT(Path(sys.argv[1]), memory=sys.argv[2], scratch=Path(sys.argv[1])), 32)
print(figure("VmHWM") - before, float(x.abs().sum()))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")
def test_the_peak_of_the_dit_stage_is_far_below_the_weights(tmp_path):
    """Real memory of real processes: with all weights, once their size; with disk offload, a block's."""
    from diffusers import WanTransformer3DModel

    sizes = {"num_attention_heads": 8, "attention_head_dim": 64, "ffn_dim": 2048, "num_layers": 16, "text_dim": 32}
    config = {**read_json(WAN), **sizes}
    torch.manual_seed(0)
    transformer = WanTransformer3DModel.from_config(config)
    weight = sum(p.nbytes for p in transformer.parameters())
    transformer.save_pretrained(tmp_path)
    del transformer
    assert weight > 250e6

    def peak(way):
        command = [sys.executable, "-c", PEAK, str(tmp_path), way, str(POCKET_FOLDER / "transformer")]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return int(out[-2]), float(out[-1])

    (fits, plain), (disk, same) = peak("fits"), peak("disk offload")
    print(f"weights {weight / 1e6:.0f} MB; peak with all {fits / weight:.0%}, with disk offload {disk / weight:.0%}")
    assert 0.9 * weight < fits < 1.3 * weight, "loading never holds them twice"
    assert disk < 0.4 * weight
    assert abs(same - plain) <= 1e-6 * abs(plain)


# how they are kept


def test_fp8_is_what_diffusers_layerwise_casting_computes(nodes, pocket, stock):
    from diffusers import WanTransformer3DModel

    theirs = WanTransformer3DModel.from_pretrained(POCKET_FOLDER / "transformer")
    theirs.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, weights="fp8")
    ours = dit.adapter.transformer
    a, b = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert a.keys() == b.keys() and all(a[key].dtype == b[key].dtype for key in a)
    assert all(torch.equal(a[key].float(), b[key].float()) for key in a)
    assert held(dit) < 0.5 * held(pocket.dit) and dit.adapter.dtype == torch.float32
    assert 0 < far(sampled(nodes, dit, pocket.text_encoder), sampled(nodes, pocket.dit, pocket.text_encoder)) < 0.3


def test_fp8_and_disk_offload_go_together(nodes, host, pocket):
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, weights="fp8")
    (both,) = nodes["SpacetimeLoadDiT"]().run(POCKET, weights="fp8", memory="disk offload")
    plain = sampled(nodes, dit, pocket.text_encoder)
    assert (sampled(nodes, both, pocket.text_encoder) - plain).abs().max() <= 1e-6


def test_int8_weights_by_quanto(nodes, host, pocket):
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, weights="int8 (quanto)")
    assert 0 < far(sampled(nodes, dit, pocket.text_encoder), sampled(nodes, pocket.dit, pocket.text_encoder)) < 0.1
    assert type(dit.adapter.transformer.blocks[0].ffn.net[2]).__name__ == "QLinear"
    with pytest.raises(CheckpointError, match="can't move as 'block offload' does; take memory 'fits'"):
        nodes["SpacetimeLoadDiT"]().run(POCKET, weights="int8 (quanto)", memory="block offload")


def test_a_missing_package_is_named_with_its_command(nodes, host, monkeypatch):
    monkeypatch.setattr(offload, "QUANTO", ("not_installed.anywhere", "not-installed"))
    with pytest.raises(CheckpointError, match="need the package not-installed: pip install not-installed$"):
        nodes["SpacetimeLoadDiT"]().run(POCKET, weights="int8 (quanto)")


def wan(**changes):
    """Random weights of a small Wan; its config."""
    from diffusers import WanTransformer3DModel

    sizes = {"num_attention_heads": 4, "attention_head_dim": 64, "ffn_dim": 512, "num_layers": 2, "text_dim": 256}
    config = {**read_json(WAN), **sizes, **changes}
    torch.manual_seed(0)
    return WanTransformer3DModel.from_config(config).eval().requires_grad_(False), config


def answer(transformer):
    generator = torch.Generator().manual_seed(3)
    x, text = (torch.randn(shape, generator=generator) for shape in ((1, 16, 2, 8, 8), (1, 8, 256)))
    inputs = {"hidden_states": x, "timestep": torch.tensor([500.0]), "encoder_hidden_states": text}
    with torch.inference_mode():
        return transformer(**inputs, return_dict=False)[0].clone()


def built(path, make, storage=offload.AS_DTYPE, **more):
    return weights.build(make, locate(path, fingerprints.DIT), torch.float32, CPU, storage, **more)


def test_a_scaled_fp8_file_is_kept_in_fp8_without_losing_a_bit(tmp_path):
    """ComfyUI's: weights fp8, their factor beside. Kept as bytes or multiplied out while read, the same result."""
    module, config = wan()
    stored = {}
    for key, value in old.original(module.state_dict(), old.WAN).items():
        if value.ndim == 2 and key.startswith("blocks."):
            factor = value.abs().max() / 448
            stored[key] = (value / factor).to(torch.float8_e4m3fn)
            stored[key.removesuffix("weight") + "scale_weight"] = factor
        else:
            stored[key] = value.to(torch.bfloat16)
    save_file({**stored, "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text(json.dumps(config))
    multiplied = built(tmp_path / "a.safetensors", lambda: wan()[0])
    kept = built(tmp_path / "a.safetensors", lambda: wan()[0], offload.FP8)
    assert far(answer(multiplied), answer(module)) < 0.1
    assert torch.equal(answer(kept), answer(multiplied)) and kept.dtype == torch.float32
    assert kept.blocks[0].ffn.net[2].weight.nbytes * 4 == module.blocks[0].ffn.net[2].weight.nbytes
    moved = built(tmp_path / "a.safetensors", lambda: wan()[0], offload.FP8, way=offload.DISK, scratch=tmp_path)
    assert (answer(moved) - answer(kept)).abs().max() <= 1e-6


def write_gguf(path, state, kinds):
    """As city96's conversion writes them: original keys, five dimensions folded. Returns what the weights are worth."""
    import gguf
    import numpy as np

    writer, worth, chance = gguf.GGUFWriter(path, "wan"), {}, np.random.RandomState(0)
    matrices = [key for key, value in state.items() if value.ndim == 2]
    for key, value in state.items():
        data = value.float().numpy()
        if data.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{key}", list(data.shape))
            data = data.reshape(-1, data.shape[-1])
        kind = gguf.GGMLQuantizationType.F32
        if key in matrices:
            kind = gguf.GGMLQuantizationType[kinds[matrices.index(key) % len(kinds)]]
        if kind.name in D_AT:  # gguf itself can only read these
            block, size = gguf.GGML_QUANT_SIZES[kind]
            blocks = chance.randint(0, 256, (data.size // block, size)).astype(np.uint8)
            for at, factor in D_AT[kind.name]:
                blocks[:, at : at + 2] = np.frombuffer(np.float16(factor).tobytes(), np.uint8)
            packed = blocks.reshape(data.shape[0], -1)
        else:
            packed = data if kind.name == "F32" else gguf.quants.quantize(data, kind)
        read = packed if kind.name == "F32" else gguf.quants.dequantize(packed, kind)
        worth[key] = torch.from_numpy(np.array(read)).reshape(value.shape)
        writer.add_tensor(key, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return worth


# where a block keeps its factors
D_AT = {"Q4_K": ((0, 1e-4), (2, 1e-4)), "Q5_K": ((0, 1e-4), (2, 1e-4)), "Q6_K": ((208, 2e-5),), "Q3_K": ((108, 1e-4),)}
KINDS = ["Q8_0", "Q4_K", "Q6_K", "Q4_0", "Q5_1", "Q5_K", "BF16", "Q5_0", "Q3_K", "Q4_1", "F16"]


@pytest.mark.parametrize("way", [offload.FITS, offload.DISK])
def test_a_gguf_file_runs_on_its_quantised_weights(tmp_path, way):
    module, config = wan()
    path = tmp_path / "tiny.gguf"
    worth = write_gguf(path, old.original(module.state_dict(), old.WAN), KINDS)
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    names = dict(zip(old.original(module.state_dict(), old.WAN), module.state_dict(), strict=True))
    module.load_state_dict({names[key]: value for key, value in worth.items()})
    ours = built(path, lambda: wan()[0], way=way, scratch=tmp_path)
    assert far(answer(ours), answer(module)) < 3e-3  # diffusers unpacks to half precision
    assert far(answer(ours), answer(ours)) == 0
    linears = [p for p in ours.blocks.parameters() if p.dtype == torch.uint8]
    taken, whole = (sum(p.nbytes for p in one.parameters()) for one in (ours, module))
    assert len(linears) >= 16 and taken < 0.4 * whole
    if way == offload.FITS:  # small layers that are computed in float32 are unpacked while they are read
        early = ours.condition_embedder.time_embedder.linear_1.weight
        assert torch.allclose(early, module.condition_embedder.time_embedder.linear_1.weight, rtol=1e-3, atol=1e-6)


def test_a_gguf_file_is_offered_and_needs_its_package(nodes, host, monkeypatch):
    from spacetime_nodes.model_loaders import single_file

    folder = host.base / "models" / "unet"
    folder.mkdir(parents=True)
    module, config = wan()
    write_gguf(folder / "tiny-Q8_0.gguf", old.original(module.state_dict(), old.WAN), ["Q8_0"])
    (folder / "tiny-Q8_0.json").write_text(json.dumps(config))
    assert "tiny-Q8_0.gguf" in nodes["SpacetimeLoadDiT"].INPUT_TYPES()["required"]["model_name"][0]
    (dit,) = nodes["SpacetimeLoadDiT"]().run("tiny-Q8_0.gguf", weights="fp8")
    assert held(dit) < 0.5 * sum(p.nbytes for p in module.parameters())
    assert host.notices == ["weights 'fp8': GGUF weights stay quantised as their file has them"]
    monkeypatch.setattr(single_file, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="in GGUF, which needs the package gguf: pip install gguf$"):
        nodes["SpacetimeLoadDiT"]().run("tiny-Q8_0.gguf")


# the text encoder


def test_a_text_encoder_is_released_when_it_has_read_and_reads_again(nodes, host, pocket):
    (encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(POCKET, after_encoding="release")
    module = weakref.ref(encoder.module)
    first, again = (nodes["SpacetimeEncodePrompt"]().run(encoder, "red circle", "") for _ in range(2))
    assert module() is None and torch.equal(first[0][0][0], again[0][0][0])
    (encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(POCKET, after_encoding="keep")
    module = weakref.ref(encoder.module)
    nodes["SpacetimeEncodePrompt"]().run(encoder, "red circle", "")
    assert module() is encoder.module


def test_auto_releases_a_text_encoder_that_takes_much_of_the_device(nodes, host, monkeypatch):
    (encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(POCKET)
    size = sum(p.nbytes for p in encoder.module.parameters())
    assert encoder.rest() == 0
    monkeypatch.setattr(memory, "total_bytes", lambda device: 3 * size)
    assert encoder.rest() == size and encoder.rest() == 0


# told before


@pytest.mark.parametrize("storage", offload.WEIGHTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_footprint_is_what_the_weights_then_take(nodes, host, dtype, storage):
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, dtype, weights=storage)
    told, taken = dit.footprint("fits").weights, 0
    for tensor in dit.adapter.transformer.parameters():
        taken += (
            sum(part.nbytes for part in (tensor._data, tensor._scale)) if hasattr(tensor, "_data") else tensor.nbytes
        )
    assert told == pytest.approx(taken, rel=0.05)


def test_the_footprint_of_a_published_file_with_each_choice(tmp_path):
    """14 billion parameters in half precision, from the header of a file that is a hole."""
    from headers import shapes, write_header

    with torch.device("meta"):
        from diffusers import WanTransformer3DModel

        state = WanTransformer3DModel.from_config(
            read_json(CONFIGS / "wan-2.1-t2v-14b/transformer/config.json")
        ).state_dict()
    write_header(tmp_path / "wan2.1_t2v_14B_bf16.safetensors", shapes(old.original(state, old.WAN)))
    source = locate(tmp_path / "wan2.1_t2v_14B_bf16.safetensors", fingerprints.DIT)
    whole = offload.footprint(source, device="cuda")
    assert whole.weights == whole.device == pytest.approx(28.6e9, rel=0.01) and whole.computer == whole.disk == 0
    block = offload.footprint(source, device="cuda", memory="block offload")
    assert block.device < 0.07 * whole.weights and block.computer == whole.weights
    leaf = offload.footprint(source, device="cuda", memory="leaf offload")
    assert leaf.device < 0.012 * whole.weights  # its largest layer
    disk = offload.footprint(source, device="cpu", memory="disk offload")
    assert disk.device < 0.05 * disk.weights and disk.disk == disk.weights == pytest.approx(2 * whole.weights, rel=0.01)
    assert offload.footprint(source, device="cuda", weights="fp8").weights < 0.52 * whole.weights


def test_a_dry_run_says_what_the_choice_takes(nodes, host, pocket):
    plans = [nodes["SpacetimeLoadDiT"]().plan(model_name=POCKET, device="cpu", memory=way) for way in offload.MEMORY]
    told = {plan["report"]["memory"]: plan["report"] for plan in plans}
    assert "auto (all on the device, or disk offload with 4 MB at a time)" in told
    assert told["fits"]["weights"] == "21 MB" and told["fits"]["at a time"] == "" == told["fits"]["on disk"]
    assert told["disk offload"]["at a time"] == "4 MB of them" and told["disk offload"]["on disk"] == "21 MB"
    grids = []
    for plan in plans[:2] + plans[-1:]:
        asked = ("1:1", 64, 0, 0, 0.0, 8.0, 9, 1)
        grids.append(nodes["SpacetimeGrid"]().plan(plan["result"][0], pocket.vae, *asked)["report"]["weights_bytes"])
    assert grids[0] == grids[1] > grids[2] + 10e6
    encoder = nodes["SpacetimeLoadTextEncoder"]().plan(text_encoder_name=POCKET)["report"]
    assert encoder["after encoding"] == "auto" and encoder["weights_bytes"] > 100_000
