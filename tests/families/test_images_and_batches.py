"""Of every family: one frame alone, which is an image, two videos at once, and none guided, as diffusers' pipelines
make them. (LTX-2, HunyuanVideo 1.5, Cosmos, diffusion forcing: in their own files.)"""

import pytest
import torch
from bench import GUIDANCE, NEGATIVE, PROMPT, SEED, free_cells, grid, load, picture, result, sample, stock
from einops import rearrange
from test_cogvideox import raw as cogvideox
from test_mochi import raw as mochi
from test_wan import raw as wan


def scaled(pipeline, latents):
    return latents / pipeline.vae.config.scaling_factor


def multiplied(pipeline, latents):
    return 1 / pipeline.vae.config.scaling_factor * latents


def as_they_are(pipeline, latents):
    return latents


def unpacked(pipeline, latents):
    return rearrange(latents, "b (t h w) c -> b c t h w", h=2, w=2)


SHORT = {"max_sequence_length": 16}
CASES = {  # model: pixels a side, frames, its pipeline's latents → raw, more that it is asked
    "Wan2.1-T2V": (32, 9, wan, SHORT),
    "Wan2.2-T2V-A14B": (32, 9, wan, SHORT),
    "Wan2.2-TI2V-5B": (64, 9, wan, SHORT),
    "Wan2.1-VACE": (32, 9, wan, SHORT),
    "SkyReels-V2-T2V": (32, 9, wan, SHORT),
    "LTX-0.9.0": (64, 17, unpacked, {"frame_rate": 8}),
    "LTX-0.9.5": (64, 17, as_they_are, {"frame_rate": 8}),
    "HunyuanVideo": (32, 9, scaled, {"negative_prompt": None}),
    "HunyuanVideo-CFG": (32, 9, scaled, {"guidance_scale": 1.0, "true_cfg_scale": GUIDANCE}),
    "CogVideoX-2B": (32, 9, cogvideox, {}),
    "CogVideoX-5B": (32, 9, cogvideox, {}),
    "CogVideoX1.5-5B": (32, 9, cogvideox, {}),
    "Mochi": (32, 13, mochi, {}),
    "EasyAnimate": (32, 9, multiplied, {}),
    "EasyAnimate-InP": (32, 9, multiplied, {}),
    "Sana-Video": (32, 9, wan, {"use_resolution_binning": False}),
    "Sana-Video-720p": (128, 17, as_they_are, {"use_resolution_binning": False}),
    "Allegro": (128, 24, multiplied, {}),
}
FAMILY = {
    "SkyReels-V2-T2V": "SkyReels-V2",
    "SkyReels-V2-I2V": "SkyReels-V2",
    "LTX-0.9.0": "LTX-Video 0.9.0",
    "LTX-0.9.5": "LTX-Video 0.9.5",
}
LENGTH = {"Sana-Video": "frames", "Sana-Video-720p": "frames"}
OURS = {"Allegro": 21}  # frames of the same latents
# two videos that begin with a picture: of HunyuanVideo-I2V and VACE diffusers makes one at a time
CASES_WITH_PICTURE = {  # and how often the picture is given
    "Wan2.1-I2V": (32, 9, wan, SHORT, 1),
    "Wan2.2-I2V-A14B": (32, 9, wan, SHORT, 1),
    "SkyReels-V2-I2V": (32, 9, wan, SHORT, 1),
    "CogVideoX-5B-I2V": (32, 9, cogvideox, {}, 2),
    "CogVideoX1.5-5B-I2V": (32, 9, cogvideox, {}, 2),
    "SkyReels-V1-I2V": (32, 9, scaled, {"guidance_scale": 1.0, "true_cfg_scale": GUIDANCE}, 2),
}


def made(pipeline, name, frames, count, **asked):
    """The pipeline's latents of so many frames, `count` videos, raw."""
    side, _, raw, more, *_ = {**CASES, **CASES_WITH_PICTURE}[name]
    told = {"prompt": [PROMPT] * count, "negative_prompt": [NEGATIVE] * count} if count > 1 else {}
    size = {"width": side, "height": side, LENGTH.get(name, "num_frames"): frames}
    latents = stock(pipeline, **{**told, **size, **more, **asked})
    return raw(pipeline, latents, frames) if raw is cogvideox else raw(pipeline, latents)


@pytest.mark.parametrize("name", [name for name in CASES if name != "Wan2.1-VACE"])  # diffusers makes one of these
def test_two_at_once(pipelines, same, name):
    side, frames, *_ = CASES[name]
    theirs = made(pipelines(name), name, frames, 2)
    model = load(name)
    canvas = grid(model, side, side, OURS.get(name, frames), batch=2)
    run = lambda guidance: sample(model, canvas, guidance)["samples"]  # noqa: E731
    assert same(FAMILY.get(name, name), "T2V, two at once", run, theirs) == 0.0
    assert (theirs[0] - theirs[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", CASES_WITH_PICTURE)
def test_two_that_begin_with_a_picture(pipelines, same, name):
    side, frames, _, _, times = CASES_WITH_PICTURE[name]
    image, pixels = picture(side, side)
    theirs = made(pipelines(name), name, frames, 2, image=[image] * times if times > 1 else image)
    model = load(name)
    canvas = grid(model, side, side, frames, batch=2)
    canvas = result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, pixels)[0]
    run, free = free_cells(model, canvas)
    assert same(FAMILY.get(name, name), "I2V, two at once", run, theirs[:, :, free], "beside x") == 0.0


@pytest.mark.parametrize("name", CASES)
def test_guidance_1_is_none(pipelines, name):
    """One pass a step, as distilled models are used."""
    side, frames, _, more = CASES[name]
    off = dict.fromkeys(("guidance_scale", "true_cfg_scale") if "true_cfg_scale" in more else ("guidance_scale",), 1.0)
    theirs = made(pipelines(name), name, frames, 1, **off)
    model = load(name)
    canvas = grid(model, side, side, OURS.get(name, frames))
    assert torch.equal(sample(model, canvas, 1.0)["samples"], theirs)


def test_two_of_Latte(pipelines, same):
    """Of one prompt LattePipeline cuts the padding off; of two it puts zeros in its place, which the model reads
    (diffusers 0.42): the same noise makes another video. Here it gets one cut prompt twice."""
    pipeline, size = pipelines("Latte"), {"width": 64, "height": 64, "video_length": 16}
    noise = torch.randn(2, 4, 16, 8, 8, generator=torch.Generator().manual_seed(SEED))
    padded = stock(pipeline, latents=noise, num_images_per_prompt=2, **size)
    cut = pipeline.encode_prompt(PROMPT, negative_prompt=NEGATIVE)
    names = "prompt_embeds", "negative_prompt_embeds"
    words = dict(zip(names, (each.expand(2, -1, -1) for each in cut), strict=True))
    theirs = stock(pipeline, prompt=None, negative_prompt=None, **words, **size)
    alone = stock(pipeline, latents=noise[:1], **size)
    assert (padded[0] - alone).abs().max() > 1 > 1e-2 > (theirs[0] - alone).abs().max()
    model = load("Latte")
    canvas = grid(model, 64, 64, 16, batch=2)
    run = lambda guidance: sample(model, canvas, guidance)["samples"]  # noqa: E731
    assert same("Latte", "T2V, two at once", run, multiplied(pipeline, theirs)) == 0.0


@pytest.mark.parametrize("name", [name for name in CASES if name != "Allegro"])
def test_an_image(pipelines, same, name):
    side = CASES[name][0]
    theirs = made(pipelines(name), name, 1, 1)
    model = load(name)
    canvas = grid(model, side, side, 1)
    assert (
        same(FAMILY.get(name, name), "T2I", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0
    )
