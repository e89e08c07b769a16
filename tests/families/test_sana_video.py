"""Sana-Video with Wan's VAE and with LTX-2's equals diffusers: text- and image-to-video."""

from types import SimpleNamespace

import pytest
import torch
from bench import PROMPT, free_cells, grid, load, picture, result, sample, stock
from test_wan import raw

SIZES = {"use_resolution_binning": False}
# with Wan's VAE, and with LTX-2's, whose latents come normalised
BOTH = {"Sana-Video": (32, 32, 9), "Sana-Video-720p": (128, 64, 17)}


def sizes(name):
    return {**SIZES, **dict(zip(("width", "height", "frames"), BOTH[name], strict=True))}


def as_ours(name, pipeline, latents):
    return raw(pipeline, latents) if name == "Sana-Video" else latents


@pytest.mark.parametrize("name", BOTH)
def test_text_to_video(pipelines, same, name):
    pipeline = pipelines(name)
    theirs = as_ours(name, pipeline, stock(pipeline, **sizes(name)))
    model = load(name)
    canvas = grid(model, *BOTH[name])
    assert same(name, "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


@pytest.mark.parametrize("name", BOTH)
def test_image_to_video(pipelines, same, name, monkeypatch):
    from diffusers import SanaImageToVideoPipeline

    pipeline = SanaImageToVideoPipeline(**pipelines(name).components)
    pipeline.set_progress_bar_config(disable=True)
    image, pixels = picture(*BOTH[name][:2])
    model = load(name)
    canvas = result("PlaceFrames", model.vae, grid(model, *BOTH[name]), "start", "cover", 1.0, pixels)[0]
    if name == "Sana-Video-720p":  # SanaImageToVideoPipeline takes times 1/std what LTX2's divides by std: the last bit
        vae, cell = pipeline.vae, canvas["samples"][:, :, :1]
        own = vae.encode(2 * pixels.permute(0, 3, 1, 2)[:, :, None] - 1).latents
        mean, std = (each.view(1, -1, 1, 1, 1) for each in (vae.latents_mean, vae.latents_std))
        assert torch.allclose((own - mean) * (1.0 / std), cell, atol=1e-6)
        monkeypatch.setattr(vae, "encode", lambda image: SimpleNamespace(latents=cell))
        monkeypatch.setattr(vae, "latents_mean", torch.zeros_like(vae.latents_mean))
        monkeypatch.setattr(vae, "latents_std", torch.ones_like(vae.latents_std))
    theirs = as_ours(name, pipeline, stock(pipeline, image=image, **sizes(name)))
    assert same(name, "I2V", free_cells(model, canvas)[0], theirs[:, :, 1:], "clean, at time 0") == 0.0


def test_diffusers_cannot_build_it_with_an_image_autoencoder():
    """Its pipelines name AutoencoderDC too, but ask it for a factor of time that it has not (diffusers 0.42)."""
    import diffusers

    vae = diffusers.AutoencoderDC(
        latent_channels=4, encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1), encoder_block_types="ResBlock",
        decoder_block_types="ResBlock", encoder_qkv_multiscales=((), ()), decoder_qkv_multiscales=((), ()),
    )  # fmt: skip
    with pytest.raises(AttributeError, match="scale_factor_temporal"):
        diffusers.SanaVideoPipeline(tokenizer=None, text_encoder=None, vae=vae, transformer=None, scheduler=None)


def test_only_what_should_be_seen_follows_the_instruction(pipelines):
    pipelines("Sana-Video")
    encoder = load("Sana-Video").text_encoder
    asked, plain = (encoder.encode(PROMPT, negative) for negative in (False, True))
    assert asked[0].shape == plain[0].shape == (1, 300, 32)
    assert (asked[0] - plain[0]).abs().max() > 1e-3
