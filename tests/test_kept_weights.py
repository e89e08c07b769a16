"""How a DiT's weights are kept: fp8, int8, GGUF; each against what it stands for."""

import json

import original_layout as old
import pytest
import torch
from dits import far, held, sampled
from safetensors.torch import save_file
from spacetime_nodes.model_loaders import fingerprints, offload, weights
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, read_json
from spacetime_nodes.model_loaders.folders import POCKET, POCKET_FOLDER
from spacetime_nodes.model_loaders.single_file import CONFIGS, locate

CPU = torch.device("cpu")
WAN = CONFIGS / "wan-2.1-t2v-1.3b" / "transformer" / "config.json"


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
    with pytest.raises(ValueError, match="can't move as 'block offload' does; take memory 'fits'"):
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
