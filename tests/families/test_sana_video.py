"""Sana-Video with Wan's VAE equals diffusers: text- and image-to-video."""

import torch
from bench import PROMPT, grid, load, picture, result, sample, stock
from test_wan import raw

WIDTH, HEIGHT, FRAMES = 32, 32, 9
SIZES = {"width": WIDTH, "height": HEIGHT, "frames": FRAMES, "use_resolution_binning": False}


def test_text_to_video(pipelines, same):
    pipeline = pipelines("Sana-Video")
    theirs = raw(pipeline, stock(pipeline, **SIZES))
    model = load("Sana-Video")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert same("Sana-Video", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def test_image_to_video(pipelines, same):
    from diffusers import SanaImageToVideoPipeline

    pipeline = SanaImageToVideoPipeline(**pipelines("Sana-Video").components)
    pipeline.set_progress_bar_config(disable=True)
    image, pixels = picture(WIDTH, HEIGHT)
    theirs = raw(pipeline, stock(pipeline, image=image, **SIZES))
    model = load("Sana-Video")
    canvas = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), "start", "cover", 1.0, pixels)[0]

    def free_cells(guidance):
        done = sample(model, canvas, guidance)["samples"]
        assert torch.equal(done[:, :, :1], canvas["samples"][:, :, :1])
        return done[:, :, 1:]

    assert same("Sana-Video", "I2V", free_cells, theirs[:, :, 1:], "clean, at time 0") == 0.0


def test_only_what_should_be_seen_follows_the_instruction(pipelines):
    pipelines("Sana-Video")
    encoder = load("Sana-Video").text_encoder
    asked, plain = (encoder.encode(PROMPT, negative) for negative in (False, True))
    assert asked[0].shape == plain[0].shape == (1, 300, 32)
    assert (asked[0] - plain[0]).abs().max() > 1e-3
