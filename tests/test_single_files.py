"""Single files in their makers' layout load as the diffusers folders of the same model do: bit for bit, no hub."""

import json
import struct

import original_layout as old
import pytest
import torch
from safetensors.torch import save_file
from spacetime_nodes.model_loaders import fingerprints, single_file, weights
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, TensorInfo, read_json
from spacetime_nodes.model_loaders.identify import components, identify_file
from spacetime_nodes.model_loaders.single_file import CONFIGS, locate, pieces

PARTS = {"transformer": fingerprints.DIT, "vae": fingerprints.VAE, "text_encoder": fingerprints.TEXT}
WAN_DITS = [
    *("wan-2.1-t2v-1.3b", "wan-2.1-t2v-14b", "wan-2.1-i2v-1.3b", "wan-2.1-i2v-14b-480p", "wan-2.1-flf2v-14b"),
    *("wan-2.1-vace-1.3b", "wan-2.1-vace-14b", "wan-2.2-i2v-a14b", "wan-2.2-ti2v-5b", "skyreels-v2-df-1.3b"),
]
HUNYUAN_DITS = ["hunyuan-video-t2v", "hunyuan-video-t2v-cfg", "hunyuan-video-i2v"]
# config folder and part → the renames that lead back to the original
LAYOUTS = {
    **{(name, "transformer"): old.WAN for name in WAN_DITS},
    **{(name, "transformer"): old.LTX for name in ("ltx-2b-0.9.0", "ltx-2b-0.9.5", "ltx-13b")},
    **{(name, "transformer"): old.HUNYUAN for name in HUNYUAN_DITS},
    ("wan-2.1-vae", "vae"): old.WAN_VAE,
    ("wan-2.2-ti2v-5b", "vae"): old.WAN_22_VAE,
    **{(f"ltx-2b-{version}", "vae"): renames for version, renames in old.LTX_VAES.items()},
    ("hunyuan-video-t2v", "vae"): old.HUNYUAN_VAE,
}
ORACLES = {
    "WanTransformer3DModel": "convert_wan_transformer_to_diffusers",
    "WanVACETransformer3DModel": "convert_wan_transformer_to_diffusers",
    "SkyReelsV2Transformer3DModel": "convert_wan_transformer_to_diffusers",
    "LTXVideoTransformer3DModel": "convert_ltx_transformer_checkpoint_to_diffusers",
    "HunyuanVideoTransformer3DModel": "convert_hunyuan_video_transformer_to_diffusers",
    "AutoencoderKLLTXVideo": "convert_ltx_vae_checkpoint_to_diffusers",
    "AutoencoderKLWan": "convert_wan_vae_to_diffusers",
}
UNCONVERTED = {"pos_embed", "fps_projection"}  # diffusers' conversion forgets these: FLF2V and SkyReels-DF fail there


def make(config, device="meta", **changes):
    import diffusers

    torch.manual_seed(0)
    with torch.device(device):
        return getattr(diffusers, config["_class_name"]).from_config({**config, **changes})


def shapes(state):
    return {key: tuple(value.shape) for key, value in state.items()}


def to_original(state, name, part, prefix=""):
    state = old.fused(state) if "hunyuan" in name and part == "transformer" else state
    return old.original(state, LAYOUTS[name, part], prefix)


def write_header(path, state, dtype="BF16", size=2):
    """A file of that size and header whose weights are a hole in the disk."""
    header, at = {}, 0
    for key, value in state.items():
        header[key] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [at, at + size * value.numel()]}
        at += size * value.numel()
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


@pytest.mark.parametrize(("name", "part"), LAYOUTS)
def test_every_tensor_of_the_published_size_finds_its_place(name, part, tmp_path):
    """Real widths, and as many layers as published; no weights. The file is told by its header, its config is ours."""
    module = make(read_json(CONFIGS / name / part / "config.json"))
    state = module.state_dict()
    path = tmp_path / "model.safetensors"
    write_header(path, to_original(state, name, part))
    source = locate(path, PARTS[part])
    assert source.identity.layout == "original"
    assert source.config == read_json(CONFIGS / name / part / "config.json")
    fitting = weights._fitting(module, pieces(source), source)
    assert {key: piece.shape for key, piece in fitting.items()} == shapes(state)


@pytest.mark.parametrize(("name", "part"), [key for key in LAYOUTS if "hunyuan" not in key[0] or key[1] != "vae"])
def test_the_names_are_those_that_diffusers_itself_converts(name, part):
    import diffusers.loaders.single_file_utils as utils

    config = read_json(CONFIGS / name / part / "config.json")
    if config.get("is_residual"):
        pytest.skip("diffusers' conversion knows the Wan 2.1 VAE only")
    state = make(config).state_dict()
    prefix = "vae." if config["_class_name"] == "AutoencoderKLLTXVideo" else ""
    theirs = getattr(utils, ORACLES[config["_class_name"]])(to_original(state, name, part, prefix))
    if prefix:  # these statistics diffusers' own conversion drops, for want of a mean-of-stds
        state = {key: value for key, value in state.items() if not key.startswith("latents_mean")}
        theirs.pop("latents_mean", None)
    known = {key: value for key, value in state.items() if not UNCONVERTED & set(key.split("."))}
    assert shapes({key: theirs[key] for key in known}) == shapes(known)


TINY = {
    "wan-2.1-t2v-1.3b": {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "ffn_dim": 32, "text_dim": 16},
    "wan-2.1-vace-1.3b": {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "ffn_dim": 32,
                          "text_dim": 16, "vace_layers": [0], "vace_in_channels": 96},
    "ltx-2b-0.9.5": {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "cross_attention_dim": 16,
                     "caption_channels": 16},
    "hunyuan-video-t2v": {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "num_single_layers": 2,
                          "num_refiner_layers": 1, "text_embed_dim": 16, "pooled_projection_dim": 8,
                          "rope_axes_dim": [2, 2, 4]},
}  # fmt: skip
TINY_VAES = {
    "wan-2.1-vae": {"base_dim": 4},
    "wan-2.2-ti2v-5b": {"base_dim": 4, "decoder_base_dim": 8},
    "ltx-2b-0.9.0": {"block_out_channels": [4, 8, 16, 16], "decoder_block_out_channels": [4, 8, 16, 16]},
    "ltx-2b-0.9.1": {"block_out_channels": [4, 8, 16, 16], "decoder_block_out_channels": [8, 16, 32]},
    "hunyuan-video-t2v": {"block_out_channels": [4, 8, 8, 8], "norm_num_groups": 2},
}
SMALL = [
    *((name, "transformer", changes) for name, changes in TINY.items()),
    *((name, "vae", changes) for name, changes in TINY_VAES.items()),
]


def random_state(module):
    """Not the initial values: those are zeros and ones in many places, and would hide a swapped name."""
    generator = torch.Generator().manual_seed(1)
    return {key: torch.randn(value.shape, generator=generator) for key, value in module.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize(("name", "part", "changes"), SMALL)
def test_the_values_of_a_tiny_model_arrive_where_they_belong(name, part, changes, prefix, tmp_path):
    config = {**read_json(CONFIGS / name / part / "config.json"), **changes}
    module = make(config, "cpu")
    state = random_state(module)
    prefix = {"": "", "vae": "vae."}.get(part if prefix else "", prefix)
    path = tmp_path / "tiny.safetensors"
    save_file(to_original(state, name, part, prefix), path)
    (tmp_path / "tiny.json").write_text(json.dumps(config))  # of no published size: it brings its settings
    source = locate(path, PARTS[part])
    assert source.config == config
    built = weights.build(lambda: make(config, "cpu"), source, torch.float32, torch.device("cpu"))
    loaded = built.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_convolution_of_one_pixel_is_a_matrix(tmp_path):
    """ComfyUI's HunyuanVideo VAE keeps its attention's weights with three dimensions of length 1 more."""
    config = {**read_json(CONFIGS / "hunyuan-video-t2v" / "vae" / "config.json"), **TINY_VAES["hunyuan-video-t2v"]}
    state = random_state(make(config, "cpu"))
    swollen = {
        key: value[..., None, None, None] if "attentions" in key and value.ndim == 2 else value
        for key, value in state.items()
    }
    save_file(
        {key: value.contiguous() for key, value in to_original(swollen, "hunyuan-video-t2v", "vae").items()},
        tmp_path / "vae.safetensors",
    )
    (tmp_path / "vae.json").write_text(json.dumps(config))
    source = locate(tmp_path / "vae.safetensors", fingerprints.VAE)
    loaded = weights.build(lambda: make(config, "cpu"), source, torch.float32, torch.device("cpu")).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
