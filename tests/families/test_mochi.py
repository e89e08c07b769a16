"""Mochi equals diffusers, though its time runs the other way round."""

import pytest
import torch
from bench import GUIDANCE, grid, load, result, sample, stock
from spacetime_nodes.spacetime.schedule import level, make_scheduler

WIDTH, HEIGHT, FRAMES = 32, 32, 13
SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES}


@pytest.fixture(scope="module")
def mochi(pipelines):
    return pipelines("Mochi")


def raw(pipeline, latents):
    config = pipeline.vae.config
    mean, std = (torch.tensor(config[f"latents_{name}"]).view(1, 12, 1, 1, 1) for name in ("mean", "std"))
    return latents * std / config.scaling_factor + mean


def test_text_to_video(mochi, same):
    theirs = raw(mochi, stock(mochi, **SIZES))
    model = load("Mochi")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert canvas["samples"].shape[2] == 3
    assert same("Mochi", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def test_an_empty_negative_prompt_is_nothing_where_the_pipeline_says_so(mochi, same):
    """force_zeros_for_empty_prompt, as the original Mochi has it: no token of it is read. MochiPipeline's default is
    to read the prompt's end."""
    theirs = raw(mochi, stock(mochi, negative_prompt="", **SIZES))
    model = load("Mochi")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)

    def run(guidance):
        return sample(model, canvas, guidance, negative="")["samples"]

    assert same("Mochi", "T2V, empty negative prompt", run, theirs) == 0.0
    index = model.text_encoder.folder.parent / "model_index.json"
    told = index.read_text()
    index.write_text(told.replace('"force_zeros_for_empty_prompt": true', '"force_zeros_for_empty_prompt": false'))
    mochi.register_to_config(force_zeros_for_empty_prompt=False)
    try:
        theirs = raw(mochi, stock(mochi, negative_prompt="", **SIZES))
        model = load("Mochi")
        assert torch.equal(run(GUIDANCE), theirs)
    finally:
        index.write_text(told)
        mochi.register_to_config(force_zeros_for_empty_prompt=True)


def test_decoded_frames_are_the_pipelines(mochi):
    theirs = stock(mochi, output_type="pt", **SIZES)[0].permute(0, 2, 3, 1)
    model = load("Mochi")
    (images,) = result("DecodeImages", model.vae, sample(model, grid(model, WIDTH, HEIGHT, FRAMES)))
    assert torch.equal(images, theirs)


def test_time_runs_from_noise_to_the_picture(mochi):
    model = load("Mochi")
    scheduler = make_scheduler("auto", model.dit.config.scheduler)
    model.dit.adapter.set_timesteps(scheduler, 4, (1, 12, 3, 4, 4))
    levels = [[float(part) for part in level(scheduler, i, t)] for i, t in enumerate(scheduler.timesteps)]
    alphas, sigmas = zip(*levels, strict=True)
    assert alphas[0] < 0.01 and sigmas[0] > 0.99 and list(alphas) == sorted(alphas)
    assert all(abs(alpha + sigma - 1) < 1e-6 for alpha, sigma in levels)


def test_a_restyled_clip_begins_at_its_own_noise_level(mochi):
    """Strength 0.25 of 4 steps is the last step: most of the clip is left, at strength 1 nothing."""
    model = load("Mochi")
    clip = grid(model, WIDTH, HEIGHT, FRAMES)["samples"] + 3.0
    near, far = (sample(model, {"samples": clip, "fps": 8.0}, denoise=d)["samples"] for d in (0.25, 1.0))
    assert (near - clip).abs().mean() < (far - clip).abs().mean()
