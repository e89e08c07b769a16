"""Latte equals diffusers, with the frames of either image VAE."""

import pytest
import torch
from bench import PROMPT, grid, load, result, sample, stock

WIDTH, HEIGHT, FRAMES = 64, 64, 16
SIZES = {"width": WIDTH, "height": HEIGHT, "video_length": FRAMES}
BOTH = ["Latte", "Latte-temporal"]


@pytest.mark.parametrize("name", BOTH)
def test_text_to_video(pipelines, same, name):
    pipeline = pipelines(name)
    theirs = 1 / pipeline.vae.config.scaling_factor * stock(pipeline, **SIZES)
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert canvas["samples"].shape[2] == FRAMES
    assert same(name, "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


@pytest.mark.parametrize("name", BOTH)
def test_decoded_frames_are_the_pipelines(pipelines, name):
    theirs = stock(pipelines(name), output_type="pt", decode_chunk_size=14, **SIZES)[0]
    model = load(name)
    (images,) = result("DecodeImages", model.vae, sample(model, grid(model, WIDTH, HEIGHT, FRAMES)))
    far = (images - theirs.permute(0, 2, 3, 1)).abs().max()
    assert far == 0.0 if name == "Latte-temporal" else far < 1e-5  # the plain VAE's frames come one by one


@pytest.mark.parametrize("frames", [1, 6, 19])
def test_its_positions_in_time_go_on(pipelines, frames):
    """diffusers runs 16 frames alone; windows, rings and longer videos need others."""
    pipelines("Latte")
    model = load("Latte")
    assert sample(model, grid(model, WIDTH, HEIGHT, frames))["samples"].isfinite().all()
    adapter = model.dit.adapter
    assert (adapter.times(20)[:, :16] - adapter.times(16)).abs().max() < 1e-6
    assert torch.equal(adapter.times(16).cpu(), pipelines("Latte").transformer.temp_pos_embed)


def test_the_negative_prompt_is_as_long_as_the_positive_one(pipelines):
    """So diffusers cuts it, whatever it says; guided in two passes as in one."""
    pipelines("Latte")
    model = load("Latte")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    one, two = (sample(model, canvas, evaluation=way)["samples"] for way in ("batched", "two passes"))
    assert torch.allclose(one, two, rtol=1e-3, atol=1e-2)  # of some hundreds
    embeddings, more = model.text_encoder.encode(PROMPT.upper() + " ")
    assert torch.equal(embeddings, model.text_encoder.encode(PROMPT)[0]) and embeddings.shape[1] == 120
