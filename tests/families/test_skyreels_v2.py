"""SkyReels-V2 equals diffusers: text- and image-to-video, and diffusion forcing, where a frame has its own time."""

import pytest
import torch
from bench import NEGATIVE, PROMPT, free_cells, grid, load, picture, result, sample, stock
from diffusers import UniPCMultistepScheduler
from test_wan import placed, raw

WIDTH, HEIGHT, FRAMES = 32, 32, 9
SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES, "max_sequence_length": 16}


class Careful(UniPCMultistepScheduler):
    """diffusers' diffusion-forcing pipelines hand the solver a view of their latents and then write into it; UniPC
    remembers that view as its last sample, so it corrects with the new one (diffusers 0.42). Here it keeps its own."""

    def step(self, prediction, t, x, **more):
        return super().step(prediction, t, x.clone(), **more)


def test_text_to_video(pipelines, same):
    pipeline, model = pipelines("SkyReels-V2-T2V"), None
    theirs = raw(pipeline, stock(pipeline, **SIZES))
    model = load("SkyReels-V2-T2V")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert same("SkyReels-V2", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def test_image_to_video(pipelines, same):
    image, _ = picture(WIDTH, HEIGHT)
    theirs = raw(pipelines("SkyReels-V2-I2V"), stock(pipelines("SkyReels-V2-I2V"), image=image, **SIZES))
    model = load("SkyReels-V2-I2V")
    run, free = free_cells(model, placed(model, "start"))
    assert same("SkyReels-V2", "I2V", run, theirs[:, :, free], "beside x") == 0.0


def test_diffusion_forcing(pipelines, same):
    pipeline = pipelines("SkyReels-V2-DF")
    more = {**SIZES, "fps": 8, "ar_step": 0}
    own, corrupted = pipeline.scheduler, raw(pipeline, stock(pipeline, **more))
    pipeline.scheduler = Careful.from_config(own.config)
    theirs = raw(pipeline, stock(pipeline, **more))
    pipeline.scheduler = own
    model = load("SkyReels-V2-DF")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert same("SkyReels-V2 DF", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0
    assert (corrupted - theirs).abs().max() > 1e-3  # the day this fails, upstream is mended and Careful can go


@pytest.mark.parametrize(
    ("mode", "frames", "fps", "count"),
    [("T2V, 16 frames a second", FRAMES, 16, 1), ("T2I", 1, 8, 1), ("T2V, two at once", FRAMES, 8, 2)],
)
def test_other_ways_of_diffusion_forcing(pipelines, same, monkeypatch, mode, frames, fps, count):
    """16 frames a second it tells from all other rates. Told a rate for each of two videos, the transformer adds one to
    the other's times (diffusers 0.42), which fails: here it is told the rate of both once."""
    pipeline = pipelines("SkyReels-V2-DF")
    prompts = {"prompt": [PROMPT] * count, "negative_prompt": [NEGATIVE] * count}
    told = {**SIZES, **prompts, "num_frames": frames, "ar_step": 0}
    if count > 1:
        with pytest.raises(RuntimeError, match="must match the size"):  # once this runs, it needn't be mended
            stock(pipeline, **told)
        forward = pipeline.transformer.forward
        monkeypatch.setattr(pipeline.transformer, "forward", lambda fps, **more: forward(fps=fps[:1], **more))
    own, pipeline.scheduler = pipeline.scheduler, Careful.from_config(pipeline.scheduler.config)
    theirs, other = (raw(pipeline, stock(pipeline, fps=rate, **told)) for rate in (fps, 24))
    pipeline.scheduler = own
    assert torch.equal(theirs, other) == (fps != 16)
    model = load("SkyReels-V2-DF")
    canvas = grid(model, WIDTH, HEIGHT, frames, float(fps), count)
    run = lambda guidance: sample(model, canvas, guidance)["samples"]  # noqa: E731
    assert same("SkyReels-V2 DF", mode, run, theirs) == 0.0


def test_a_known_first_frame(pipelines, same):
    from diffusers import SkyReelsV2DiffusionForcingImageToVideoPipeline

    pipeline = SkyReelsV2DiffusionForcingImageToVideoPipeline(**pipelines("SkyReels-V2-DF").components)
    pipeline.scheduler = Careful.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    image, pixels = picture(WIDTH, HEIGHT)
    more = {**SIZES, "fps": 8, "ar_step": 0}
    theirs = raw(pipeline, stock(pipeline, image=image, **more))
    model = load("SkyReels-V2-DF")
    canvas = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), "start", "cover", 1.0, pixels)[0]

    run, free = free_cells(model, canvas)
    assert same("SkyReels-V2 DF", "I2V", run, theirs[:, :, free], "clean, at time 0") == 0.0


def test_a_clip_that_goes_on(pipelines, same):
    """Within one window: the windows of a longer video draw their noise one by one there, and here all at once."""
    from diffusers import SkyReelsV2DiffusionForcingVideoToVideoPipeline

    pipeline = SkyReelsV2DiffusionForcingVideoToVideoPipeline(**pipelines("SkyReels-V2-DF").components)
    pipeline.scheduler = Careful.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(5)), strict=True)
    more = {**SIZES, "fps": 8, "ar_step": 0, "base_num_frames": FRAMES, "overlap_history": len(images)}
    theirs = raw(pipeline, stock(pipeline, video=list(images), **more))
    model = load("SkyReels-V2-DF")
    canvas = result(
        "PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), "start", "cover", 1.0, torch.cat(pixels)
    )[0]
    run, free = free_cells(model, canvas)
    assert free.sum() == 1
    assert same("SkyReels-V2 DF", "extend", run, theirs[:, :, free], "clean, at time 0") == 0.0
