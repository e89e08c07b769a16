"""CogVideoX equals diffusers: 2B and 5B, text-, image- and video-to-video, and 1.5, which pairs latent frames."""

import json

import pytest
import torch
from bench import free_cells, grid, load, picture, result, sample, stock
from einops import rearrange
from spacetime_nodes.model_loaders.checkpoint import CheckpointError
from spacetime_nodes.model_loaders.families import cogvideox
from tiny import MODELS

WIDTH, HEIGHT, FRAMES = 32, 32, 9
SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES}


def raw(pipeline, latents, frames=FRAMES):
    """[B, T, C, H, W] without the frames 1.5 pads with, as the pipeline denormalises them."""
    latents = rearrange(latents, "b t c h w -> b c t h w")[:, :, -((frames - 1) // 4 + 1) :]
    return 1 / pipeline.vae_scaling_factor_image * latents


@pytest.mark.parametrize("name", ["CogVideoX-2B", "CogVideoX-5B", "CogVideoX1.5-5B"])
def test_text_to_video(pipelines, same, name):
    theirs = raw(pipelines(name), stock(pipelines(name), **SIZES))
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert same(name, "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


@pytest.mark.parametrize("name", ["CogVideoX-5B-I2V", "CogVideoX1.5-5B-I2V"])
def test_image_to_video(pipelines, same, hosted, name):
    image, pixels = picture(WIDTH, HEIGHT)
    theirs = raw(pipelines(name), stock(pipelines(name), image=image, **SIZES))
    model = load(name)
    canvas = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), "start", "cover", 1.0, pixels)[0]
    run, free = free_cells(model, canvas)
    assert same(name, "I2V", run, theirs[:, :, free], "beside x") == 0.0
    assert any("known cells go in beside x" in notice for notice in hosted.notices)


@pytest.mark.parametrize(("name", "frames"), [("CogVideoX-5B-Fun-Control", 9), ("CogVideoX1.5-5B-Fun-Control", 13)])
def test_control_video(pipelines, same, name, frames):
    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(frames)), strict=True)
    pipeline, size = pipelines(name), {"width": WIDTH, "height": HEIGHT}
    vars(pipeline.vae).pop("encode", None)  # it takes the mean by itself
    theirs = raw(pipeline, stock(pipeline, control_video=list(images), **size), frames)
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, frames)
    canvas = result("ControlVideo", model.vae, canvas, "start", "cover", 1.0, images=torch.cat(pixels))[0]
    assert same(name, "control video", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def test_a_control_video_of_odd_latent_frames_is_led_in_as_the_canvas_is(pipelines):
    """The pipeline refuses to pair them."""
    name = "CogVideoX1.5-5B-Fun-Control"
    pipelines(name)
    model, given = load(name), []
    adapter, course = model.dit.adapter, torch.cat([picture(WIDTH, HEIGHT, seed)[1] for seed in range(FRAMES)])
    predict = adapter.predict
    adapter.predict = lambda x, *more: given.append(x) or predict(x, *more)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    canvas = result("ControlVideo", model.vae, canvas, "start", "cover", 1.0, images=course)[0]
    done = sample(model, canvas, windows="whole")["samples"]
    cells = adapter.normalise(torch.cat(list(model.vae.encode_stream([course])), dim=2))
    assert given[0].shape[2] == 4 and not given[0][:, 4:, 0].any()
    assert torch.equal(given[0][:1, 4:, 1:], cells) and done.isfinite().all()


@pytest.mark.parametrize(("index", "named", "followed"), [
    ({"_class_name": "CogVideoXPipeline"}, "CogVideoX-Fun-V1.1-5b-InP", ("control video",)),  # as its makers publish it
    ({"_class_name": "CogVideoXFunControlPipeline"}, "mine", ("control video",)),
    ({"_class_name": "CogVideoXImageToVideoPipeline"}, "Control", ()),
    (None, "CogVideoX-Fun-V1.1-5b-Pose", ("control video",)),
    (None, "CogVideoX-5b-I2V", ()),
])  # fmt: skip
def test_image_to_video_and_Fun_Control_of_one_shape_are_told_apart(tmp_path, index, named, followed):
    config = {**dict(MODELS["CogVideoX-5B"]().transformer.config), "in_channels": 8}
    folder = tmp_path / named / "transformer"
    folder.mkdir(parents=True)
    if index:
        (folder.parent / "model_index.json").write_text(json.dumps(index))
    assert cogvideox.facts(config, folder).follows == followed
    with pytest.raises(CheckpointError, match="is CogVideoX for 9 channels, such as CogVideoX-Fun InP; this version"):
        cogvideox.facts({**config, "in_channels": 9}, folder)


@pytest.mark.parametrize(
    ("name", "frames"), [("CogVideoX-2B", FRAMES), ("CogVideoX-5B", FRAMES), ("CogVideoX1.5-5B", 13)]
)
def test_video_to_video(pipelines, same, name, frames):
    """Of 1.5 its pipeline takes pairs of latent frames alone; here 4."""
    from diffusers import CogVideoXVideoToVideoPipeline

    text = pipelines(name)
    pipeline = CogVideoXVideoToVideoPipeline(**text.components)
    pipeline.set_progress_bar_config(disable=True)
    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(frames)), strict=True)
    size = {"width": WIDTH, "height": HEIGHT}
    theirs = raw(text, stock(pipeline, video=list(images), strength=0.6, **size), frames)
    model = load(name)
    canvas = {"samples": torch.cat(list(model.vae.encode_stream(pixels)), dim=2), "fps": 8.0}
    assert same(
        name, "V2V", lambda guidance: sample(model, canvas, guidance, denoise=0.6)["samples"], theirs,
        "all, noised to 0.6",
    ) == 0.0  # fmt: skip


def test_decoded_frames_are_the_pipelines(pipelines):
    pipeline, model = pipelines("CogVideoX-5B"), load("CogVideoX-5B")
    theirs = stock(pipeline, output_type="pt", **SIZES)[0].permute(0, 2, 3, 1)
    (images,) = result("DecodeImages", model.vae, sample(model, grid(model, WIDTH, HEIGHT, FRAMES)))
    assert torch.equal(images, theirs)


def test_a_solver_for_flow_models_is_refused_by_name(pipelines):
    pipelines("CogVideoX-2B")
    model = load("CogVideoX-2B")
    with pytest.raises(ValueError, match="'unipc' is for flow-matching models; this one's is CogVideoXDDIMScheduler"):
        sample(model, grid(model, WIDTH, HEIGHT, FRAMES), scheduler="unipc")


@pytest.mark.parametrize("frames", [5, 9])
def test_paired_latent_frames_make_any_length(pipelines, frames):
    pipelines("CogVideoX1.5-5B")
    model = load("CogVideoX1.5-5B")
    done = sample(model, grid(model, WIDTH, HEIGHT, frames), windows="overlapping", window=3)["samples"]
    assert done.shape[2] == (frames - 1) // 4 + 1 and done.isfinite().all()
