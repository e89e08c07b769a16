"""SkyReels-V2 equals diffusers: text- and image-to-video, and diffusion forcing, where a frame has its own time."""

import torch
from bench import free_cells, grid, load, picture, result, sample, stock
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
