"""EasyAnimate 5.1 equals diffusers: text-to-video, and InP, which takes what is known as pixels on black."""

import pytest
import torch
from bench import free_cells, grid, load, picture, result, sample, stock
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from spacetime_nodes.spacetime.schedule import make_scheduler
from test_wan import placed

BOX, WHOLE = (0.0, 0.5, 0.5, 0.5), (0.0, 0.0, 0)  # x, y, width, height; start, end, feather
WIDTH, HEIGHT, FRAMES = 32, 32, 9
SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES}


def raw(pipeline, latents):
    return 1 / pipeline.vae.config.scaling_factor * latents


@pytest.mark.parametrize("name", ["EasyAnimate", "EasyAnimate-InP"])
def test_text_to_video(pipelines, same, name):
    theirs = raw(pipelines(name), stock(pipelines(name), **SIZES))
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert same(name, "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


@pytest.mark.parametrize(("mode", "times"), [("I2V", ["start"]), ("first-last", ["start", "end"])])
def test_known_frames(pipelines, same, hosted, mode, times):
    from diffusers.pipelines.easyanimate.pipeline_easyanimate_inpaint import get_image_to_video_latent

    name, images = "EasyAnimate-InP", [picture(WIDTH, HEIGHT, seed)[0] for seed in (0, 1)]
    pipeline = pipelines(name)
    vars(pipeline.vae).pop("encode", None)  # it takes the mean by itself
    video, mask = get_image_to_video_latent(*[*images[: len(times)], None][:2], FRAMES, (HEIGHT, WIDTH))
    theirs = raw(pipeline, stock(pipeline, video=video, mask_video=mask, **SIZES))
    model = load(name)
    run, free = free_cells(model, placed(model, *times))
    assert same(name, mode, run, theirs[:, :, free], "beside x") == 0.0
    assert any("known cells go in beside x, as pixels with the rest in black" in notice for notice in hosted.notices)


@pytest.mark.parametrize("shown", [(), ("control video",), ("reference image",), ("control video", "reference image")])
def test_control(pipelines, same, shown):
    """Its pipeline can't be called as diffusers 0.42 has it: it names an argument that `encode_prompt` doesn't take."""
    name, pipeline = "EasyAnimate-Control", pipelines("EasyAnimate-Control")
    vars(pipeline.vae).pop("encode", None)
    encode = type(pipeline).encode_prompt
    pipeline.encode_prompt = lambda text_encoder_index, **more: encode(pipeline, **more)
    course = torch.cat([picture(WIDTH, HEIGHT, seed)[1] for seed in range(FRAMES)])
    image = picture(WIDTH, HEIGHT, 20)[1]
    given = {"control_video": course, "ref_image": image}
    named = dict(zip(("control video", "reference image"), given, strict=True))
    asked = {named[one]: given[named[one]].permute(3, 0, 1, 2)[None] for one in shown}
    theirs = raw(pipeline, stock(pipeline, **asked, **SIZES))
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    if "control video" in shown:
        canvas = result("ControlVideo", model.vae, canvas, "start", "cover", 1.0, images=course)[0]
    if "reference image" in shown:
        canvas = result("ReferenceImages", model.vae, canvas, image)[0]
    run = same(name, ", ".join(shown) or "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs)
    assert run == 0.0


def test_more_than_one_reference_image_is_refused(pipelines):
    pipelines("EasyAnimate-Control")
    model = load("EasyAnimate-Control")
    canvas = result("ReferenceImages", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), torch.rand(2, 32, 32, 3))[0]
    with pytest.raises(ValueError, match="an EasyAnimate .*transformer.* takes one reference image, found 2"):
        sample(model, canvas)


def clip():
    """Of the pipeline [1, 3, F, height, width] and ours [F, height, width, 3]."""
    pixels = torch.cat([picture(WIDTH, HEIGHT, seed)[1] for seed in range(FRAMES)])
    return pixels.permute(3, 0, 1, 2)[None], pixels


@pytest.fixture
def inpainting(pipelines, monkeypatch):
    """InP's pipeline, which takes a mean for what is known and a sample for what it begins with; here the mean too."""
    pipeline = pipelines("EasyAnimate-InP")
    vars(pipeline.vae).pop("encode", None)
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", DiagonalGaussianDistribution.mode)
    return pipeline


def box():
    mask = torch.zeros(FRAMES, HEIGHT, WIDTH)
    mask[:, HEIGHT // 2 :, : WIDTH // 2] = 1
    return mask


@pytest.mark.parametrize("mode", ["V2V", "a region", "V2V of a region"])
def test_a_clip_made_anew(inpainting, same, mode):
    """Whole, from 0.6 of the noise; a box in every frame; and that box from 0.6 of the noise."""
    name, model = "EasyAnimate-InP", load("EasyAnimate-InP")
    video, pixels = clip()
    mask = 255 * (box() if "region" in mode else torch.ones_like(box()))[None, None]
    strength = {"strength": 0.6} if "V2V" in mode else {}
    theirs = raw(inpainting, stock(inpainting, video=video, mask_video=mask, **strength, **SIZES))
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    if mode == "a region":
        canvas = result("MaskRegion", model.vae, canvas, *BOX, *WHOLE, 0, 0, 0, 0, "cover", images=pixels)[0]
    else:
        shown = {"mask": box(), "feather": 0} if "region" in mode else {}
        canvas = result("Restyle", model.vae, canvas, 0.6, "cover", images=pixels, **shown)[0]
    free = torch.ones_like(canvas["samples"]) if mode == "V2V" else canvas["noise_mask"].expand_as(canvas["samples"])
    known = "all, noised to 0.6" if mode == "V2V" else "beside x"
    run = lambda guidance: sample(model, canvas, guidance)["samples"][free > 0]  # noqa: E731
    assert same(name, mode, run, theirs[free > 0], known) == 0.0


def test_diffusers_cannot_keep_frames_without_InP(pipelines):
    """EasyAnimateInpaintPipeline with the text-to-video transformer noises what is known from step to step, as ours
    does, but hands its own solver the noise in the place of a data type (diffusers 0.42)."""
    from diffusers import EasyAnimateInpaintPipeline

    pipeline = EasyAnimateInpaintPipeline(**pipelines("EasyAnimate").components)
    pipeline.set_progress_bar_config(disable=True)
    vars(pipeline.vae).pop("encode", None)
    with pytest.raises(TypeError, match="positional argument"):
        stock(pipeline, video=clip()[0], mask_video=255 * box()[None, None], **SIZES)


@pytest.mark.parametrize("solver", ["unipc", "dpm++ 2m", "heun"])
def test_other_solvers_run(pipelines, solver):
    """With its pipelines' shift of e, where they can shift so: 3/4 becomes 3/4 · e / (1 + 3/4 · (e - 1))."""
    pipelines("EasyAnimate")
    model = load("EasyAnimate")
    assert sample(model, grid(model, WIDTH, HEIGHT, FRAMES), scheduler=solver)["samples"].isfinite().all()
    scheduler = make_scheduler(solver, model.dit.config.scheduler)
    model.dit.adapter.set_timesteps(scheduler, 4, (1, 4, 3, 4, 4))
    assert abs(scheduler.sigmas[1] - 0.8907) < 1e-3 or solver == "heun"


def test_decoded_frames_are_the_pipelines(pipelines):
    pipeline, model = pipelines("EasyAnimate"), load("EasyAnimate")
    theirs = stock(pipeline, output_type="pt", **SIZES)[0].permute(0, 2, 3, 1)
    (images,) = result("DecodeImages", model.vae, sample(model, grid(model, WIDTH, HEIGHT, FRAMES)))
    assert torch.equal(images, theirs)


def test_two_streams_through_one_VAE_keep_apart(pipelines):
    pipelines("EasyAnimate")
    vae, latent = load("EasyAnimate").vae, torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    alone = [torch.cat(list(vae.decode_stream(one[None]))) for one in latent]
    turns = zip(*(vae.decode_stream(one[None]) for one in latent), strict=True)
    together = [torch.cat(chunks) for chunks in zip(*turns, strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
