"""What the plan says a VAE's decode will take is what its tensors take at their most, and a little for the kernels."""

import json

import diffusers
import pytest
import torch
from counted import Counted
from spacetime_nodes.model_loaders.folders import CONFIGS
from spacetime_nodes.model_loaders.vae import VAE
from tiny_files import make

SIDE, FRAMES = 256, 17
SD = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
PUBLISHED = (
    *("wan-2.1-vae", "wan-2.2-ti2v-5b", "hunyuan-video-t2v", "hunyuan-video-1.5-t2v-480p"),
    *("ltx-2b-0.9.0", "ltx-13b", "ltx-2-19b", "ltx-2.3-22b"),
)
BY_DEFAULT = {"Mochi": {}, "Allegro": {}, "Magvit": {}, "CogVideoX": {}, "": SD}  # classes whose defaults are published


def folder_of(name, tmp_path):
    if name in PUBLISHED:
        return CONFIGS / name / "vae"
    with torch.device("meta"):
        config = getattr(diffusers, f"AutoencoderKL{name}")(**BY_DEFAULT[name]).config
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": f"AutoencoderKL{name}", **config}))
    return tmp_path


@pytest.mark.parametrize("name", [*PUBLISHED, *BY_DEFAULT])
def test_decoding_takes_what_the_plan_says(name, tmp_path, monkeypatch):
    # torch's attention for tensors without values writes out every score, which no real kernel does
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda q, *_, **__: torch.empty_like(q))
    vae = VAE(folder_of(name, tmp_path))
    facts, module = vae.config, make(vae.source.config, "meta").eval()
    cells = (FRAMES - 1) // facts.time_factor + 1, SIDE // facts.space_factor, SIDE // facts.space_factor
    with torch.no_grad(), Counted() as counted:
        for chunk in vae.family.decode_chunks(module, torch.zeros(1, facts.channels, *cells, device="meta")):
            del chunk
    assert 1.05 < vae.decoding_bytes(SIDE, SIDE, FRAMES) / counted.peak < 1.8
