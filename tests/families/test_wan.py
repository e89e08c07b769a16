"""Wan equals diffusers: 2.1 text-, image- and first-last-frame-to-video, the two experts of 2.2 A14B, TI2V-5B, VACE.

(Pocket's own: tests/test_parity.py.)
"""

import copy

import pytest
import torch
from bench import GUIDANCE, STEPS, free_cells, free_region, grid, load, picture, result, sample, stock

WIDTH, HEIGHT, FRAMES = 32, 32, 9
LOW = 2.5  # guidance of the expert for low noise
SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES, "max_sequence_length": 16}


def raw(pipeline, latents):
    """As WanPipeline denormalises before decoding."""
    mean = torch.tensor(pipeline.vae.config.latents_mean).view(1, -1, 1, 1, 1)
    return latents / (1.0 / torch.tensor(pipeline.vae.config.latents_std).view(1, -1, 1, 1, 1)) + mean


def placed(model, *times, seeds=(0, 1), width=WIDTH, height=HEIGHT):
    canvas = grid(model, width, height, FRAMES)
    for time, seed in zip(times, seeds, strict=False):
        canvas = result("PlaceFrames", model.vae, canvas, time, "cover", 1.0, picture(width, height, seed)[1])[0]
    return canvas


@pytest.mark.parametrize("name", ["Wan2.1-T2V", "Wan2.2-T2V-A14B"])
def test_text_to_video(pipelines, same, name):
    theirs = raw(pipelines(name), stock(pipelines(name), **SIZES))
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert same(name, "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


FOLDED = {**SIZES, "width": 96, "height": 64}  # TI2V's tokens are 32 pixels a side


def test_TI2V_text_to_video(pipelines, same):
    name = "Wan2.2-TI2V-5B"
    theirs = raw(pipelines(name), stock(pipelines(name), **FOLDED))
    model = load(name)
    canvas = grid(model, 96, 64, FRAMES)
    assert canvas["samples"].shape == (1, 48, 3, 4, 6)
    assert same(name, "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def test_TI2V_image_to_video(pipelines, same):
    """Its first frame is clean to it: WanImageToVideoPipeline with expand_timesteps."""
    from diffusers import WanImageToVideoPipeline

    name, (image, _) = "Wan2.2-TI2V-5B", picture(96, 64)
    text = pipelines(name)
    parts = {part: text.components[part] for part in ("tokenizer", "text_encoder", "transformer", "vae", "scheduler")}
    pipeline = WanImageToVideoPipeline(**parts, expand_timesteps=True)
    pipeline.set_progress_bar_config(disable=True)
    theirs = raw(text, stock(pipeline, image=image, **FOLDED))
    model = load(name)
    run, free = free_cells(model, placed(model, "start", width=96, height=64))
    assert same(name, "I2V", run, theirs[:, :, free], "clean, at time 0") == 0.0


@pytest.mark.parametrize(
    ("name", "mode", "transformer"),
    [("Wan2.1-T2V", "V2V", "transformer"), ("Wan2.2-T2V-A14B", "V2V, low noise", "transformer_2")],
)
def test_video_to_video(pipelines, same, name, mode, transformer):
    """WanVideoToVideoPipeline has one transformer. At strength 0.6 every step of A14B is the low-noise expert's."""
    pipeline, clip = video_to_video(pipelines(name), transformer, WIDTH, HEIGHT)
    theirs = raw(pipeline, stock(pipeline, **clip))
    model = load(name)
    assert same(name, mode, restyled(model, WIDTH, HEIGHT), theirs, "all, noised to 0.6") == 0.0


def test_TI2V_video_to_video(pipelines, same, monkeypatch):
    """WanVideoToVideoPipeline doesn't know TI2V (diffusers 0.42): it counts 8 pixels a cell whatever the VAE says, and
    tells the transformer one time for all, where WanPipeline says it token by token (the same but for the last bits).
    Here it counts 16 and says it so."""
    name, text = "Wan2.2-TI2V-5B", pipelines("Wan2.2-TI2V-5B")
    pipeline, clip = video_to_video(text, "transformer", 96, 64)
    with pytest.raises(RuntimeError, match="must match the size"):  # once this runs, it needn't be told
        stock(pipeline, **clip)
    pipeline, clip = video_to_video(text, "transformer", 96, 64)
    pipeline.vae_scale_factor_spatial = 16
    blunt = raw(text, stock(pipeline, **clip))
    forward = text.transformer.forward

    def by_token(hidden_states, timestep, **more):
        tokens = hidden_states[0, 0].numel() // 4
        return forward(hidden_states=hidden_states, timestep=timestep[:, None].expand(-1, tokens), **more)

    monkeypatch.setattr(text.transformer, "forward", by_token)
    theirs = raw(text, stock(pipeline, **clip))
    assert (blunt - theirs).abs().max() < 1e-4
    model = load(name)
    assert same(name, "V2V", restyled(model, 96, 64), theirs, "all, noised to 0.6") == 0.0


def video_to_video(text, transformer, width, height):
    """WanVideoToVideoPipeline from a text-to-video one's parts, and what it is asked."""
    from diffusers import WanVideoToVideoPipeline

    parts = {part: text.components[part] for part in ("tokenizer", "text_encoder", "vae")}
    pipeline = WanVideoToVideoPipeline(
        transformer=text.components[transformer], scheduler=copy.deepcopy(text.scheduler), **parts
    )
    pipeline.set_progress_bar_config(disable=True)
    video = [picture(width, height, seed)[0] for seed in range(FRAMES)]
    return pipeline, {"video": video, "strength": 0.6, "width": width, "height": height, "max_sequence_length": 16}


def restyled(model, width, height):
    """guidance → the same clip made anew from 0.6 of the noise."""
    pixels = [picture(width, height, seed)[1] for seed in range(FRAMES)]
    canvas = {"samples": torch.cat(list(model.vae.encode_stream(pixels)), dim=2), "fps": 8.0}
    return lambda guidance: sample(model, canvas, guidance, denoise=0.6)["samples"]


def test_both_experts_have_their_part(pipelines):
    pipelines("Wan2.2-T2V-A14B")
    model = load("Wan2.2-T2V-A14B")
    high, low = model.dit.adapter.experts
    seen = []
    for name, expert in (("high", high), ("low", low)):
        expert.register_forward_pre_hook(lambda *_, name=name, **__: seen.append(name), with_kwargs=True)
    sample(model, grid(model, WIDTH, HEIGHT, FRAMES), 1.0)
    assert seen == sorted(seen) and set(seen) == {"high", "low"}


@pytest.mark.parametrize("name", ["Wan2.1-I2V", "Wan2.2-I2V-A14B"])
def test_image_to_video(pipelines, same, hosted, name):
    image, _ = picture(WIDTH, HEIGHT)
    theirs = raw(pipelines(name), stock(pipelines(name), image=image, **SIZES))
    model = load(name)
    run, free = free_cells(model, placed(model, "start"))
    assert same(name, "I2V", run, theirs[:, :, free], "beside x") == 0.0
    assert any("known cells go in beside x, as pixels" in notice for notice in hosted.notices)


@pytest.mark.parametrize("name", ["Wan2.1-FLF2V", "Wan2.2-I2V-A14B"])
def test_first_and_last_frame(pipelines, same, name):
    first, last = (picture(WIDTH, HEIGHT, seed)[0] for seed in (0, 1))
    theirs = raw(pipelines(name), stock(pipelines(name), image=first, last_image=last, **SIZES))
    model = load(name)
    run, free = free_cells(model, placed(model, "start", "end"))
    assert same(name, "first-last", run, theirs[:, :, free], "beside x") == 0.0


@pytest.mark.parametrize("name", ["Wan2.1-I2V", "SkyReels-V2-I2V"])
def test_a_last_frame_without_training_for_it(pipelines, same, monkeypatch, name):
    """Of two pictures their pipelines show CLIP both, as those of two videos, which only FLF2V's transformer can read
    (diffusers 0.42). Here CLIP sees the first, as it does where this is the only one; ours does the same."""
    pipeline, images = pipelines(name), [picture(WIDTH, HEIGHT, seed)[0] for seed in (0, 1)]
    more = {"image": images[0], "last_image": images[1], **SIZES}
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):  # once this runs, it needn't be mended
        stock(pipeline, **more)
    encode = pipeline.encode_image
    monkeypatch.setattr(pipeline, "encode_image", lambda images, device: encode(images[0], device))
    theirs = raw(pipeline, stock(pipeline, **more))
    model = load(name)
    run, free = free_cells(model, placed(model, "start", "end"))
    assert (
        same(name.removesuffix("-I2V") if "Sky" in name else name, "first-last", run, theirs[:, :, free], "beside x")
        == 0.0
    )


def test_a_clip_read_without_its_pixels_still_keeps_its_cells(pipelines):
    """As from a .latent file: the cells stand for the frames they hold."""
    pipelines("Wan2.1-I2V")
    model = load("Wan2.1-I2V")
    canvas = {key: value for key, value in placed(model, "start").items() if key not in ("encoder", "shown")}
    done = sample(model, canvas)["samples"]
    assert torch.equal(done[:, :, :1], canvas["samples"][:, :, :1]) and done.isfinite().all()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("Wan2.2-T2V-A14B", "T2V"),
        ("Wan2.2-VACE-A14B", "T2V"),
        ("Wan2.2-I2V-A14B", "I2V"),
        ("Wan2.2-I2V-A14B", "first-last"),
    ],
)
def test_each_expert_has_its_own_guidance(pipelines, same, hosted, name, mode):
    times = {"T2V": (), "I2V": ("start",), "first-last": ("start", "end")}[mode]
    shown = {key: picture(WIDTH, HEIGHT, i)[0] for i, key in enumerate(("image", "last_image")[: len(times)])}
    theirs = raw(pipelines(name), stock(pipelines(name), guidance_scale_2=LOW, **shown, **SIZES))
    model = load(name)
    canvas = placed(model, *times)
    free = canvas["noise_mask"][0, 0, :, 0, 0] == 1 if times else slice(None)

    def run(guidance, low=LOW):
        return sample(model, canvas, guidance, guidance_low=low)["samples"][:, :, free]

    known = "beside x" if times else "none"
    assert same(name, f"{mode}, each expert's guidance", run, theirs[:, :, free], known) == 0.0
    assert (run(GUIDANCE, 1.02 * LOW) - theirs[:, :, free]).abs().max() > 1e-5
    assert torch.equal(run(GUIDANCE, 0.0), run(GUIDANCE, GUIDANCE))
    assert not any("guidance_low" in notice for notice in hosted.notices)


def test_a_model_of_one_expert_says_that_it_has_one_guidance(pipelines, hosted):
    pipelines("Wan2.1-T2V")
    model = load("Wan2.1-T2V")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert torch.equal(sample(model, canvas, guidance_low=LOW)["samples"], sample(model, canvas)["samples"])
    assert hosted.notices == ["guidance_low is for models of two experts; this one is guided by guidance alone"]


def test_an_expert_without_guidance_makes_one_pass_a_step(pipelines):
    pipelines("Wan2.2-T2V-A14B")
    model = load("Wan2.2-T2V-A14B")
    passes = []
    for name, expert in zip(("high", "low"), model.dit.adapter.experts, strict=True):
        expert.register_forward_pre_hook(lambda *_, name=name, **__: passes.append(name), with_kwargs=True)
    done = sample(model, grid(model, WIDTH, HEIGHT, FRAMES), guidance_low=1.0)["samples"]
    assert done.isfinite().all() and 2 * STEPS == passes.count("high") + 2 * passes.count("low") and "low" in passes


VACES = ["Wan2.1-VACE", "Wan2.2-VACE-A14B"]


@pytest.mark.parametrize("name", VACES)
def test_VACE_text_to_video(pipelines, same, name):
    theirs = raw(pipelines(name), stock(pipelines(name), **SIZES))
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert same(name, "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


@pytest.mark.parametrize("name", VACES)
@pytest.mark.parametrize(("mode", "shown"), [("I2V", [0]), ("first-last", [0, -1]), ("extend", range(5))])
def test_VACE_known_frames(pipelines, same, name, mode, shown):
    video, mask = torch.full((FRAMES, 3, HEIGHT, WIDTH), 0.5), torch.ones(FRAMES, 3, HEIGHT, WIDTH)
    pixels = [picture(WIDTH, HEIGHT, seed)[1] for seed in range(len(shown))]
    for at, frame in zip(shown, pixels, strict=True):
        video[at], mask[at] = frame[0].permute(2, 0, 1), 0
    theirs = raw(pipelines(name), stock(pipelines(name), video=video[None], mask=mask[None], **SIZES))
    model = load(name)
    if mode == "extend":
        canvas, clip = grid(model, WIDTH, HEIGHT, FRAMES), torch.cat(pixels)
        canvas = result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, clip)[0]
    else:
        canvas = placed(model, *["start", "end"][: len(shown)])
    run, free = free_cells(model, canvas)
    assert same(name, mode, run, theirs[:, :, free], "beside x") == 0.0


@pytest.mark.parametrize("name", VACES)
def test_VACE_a_region_made_anew(pipelines, same, name):
    """A box of the picture in every frame; what lies under it isn't seen, as VACE's makers do it, with gray."""
    clip = torch.cat([picture(WIDTH, HEIGHT, seed)[1] for seed in range(FRAMES)])  # F, height, width, 3
    mask = torch.zeros(FRAMES, HEIGHT, WIDTH)
    mask[:, HEIGHT // 2 :, : WIDTH // 2] = 1
    video = torch.where(mask[..., None] > 0, 0.5, clip).permute(0, 3, 1, 2)
    inputs = {"video": video[None], "mask": mask[None, :, None].expand(-1, -1, 3, -1, -1)}
    theirs = raw(pipelines(name), stock(pipelines(name), **inputs, **SIZES))
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    box, whole = (0.0, 0.5, 0.5, 0.5), (0.0, 0.0, 0)  # x, y, width, height; start, end, feather
    canvas = result("MaskRegion", model.vae, canvas, *box, *whole, 0, 0, 0, 0, "cover", images=clip)[0]
    run, free = free_region(model, canvas)
    assert 0.2 < free.float().mean() < 0.3
    assert same(name, "a region", run, theirs[free], "beside x") == 0.0


def referring(model, canvas, *seeds, size=(16, 48)):
    """The canvas, and pictures of another shape that are shown with it: as PIL images too."""
    shown = [picture(*size, seed) for seed in seeds]
    for _, pixels in shown:
        canvas = result("ReferenceImages", model.vae, canvas, pixels)[0]
    return canvas, [image for image, _ in shown]


@pytest.mark.parametrize("name", VACES)
@pytest.mark.parametrize("seeds", [(5,), (5, 6)])
def test_VACE_reference_images(pipelines, same, name, seeds):
    """They are latent frames before the video's, whose outcome is thrown away."""
    model = load(name)
    canvas, images = referring(model, grid(model, WIDTH, HEIGHT, FRAMES), *seeds)
    theirs = raw(pipelines(name), stock(pipelines(name), reference_images=images, **SIZES))[:, :, len(seeds) :]
    mode = "reference images" if len(seeds) > 1 else "a reference image"
    assert same(name, mode, lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


@pytest.mark.parametrize("name", VACES)
def test_VACE_control_video(pipelines, same, name):
    video = torch.cat([picture(WIDTH, HEIGHT, seed)[1] for seed in range(FRAMES)])
    theirs = raw(pipelines(name), stock(pipelines(name), video=video.permute(0, 3, 1, 2)[None], **SIZES))
    model = load(name)
    canvas = controlled(model, grid(model, WIDTH, HEIGHT, FRAMES), video)
    assert same(name, "control video", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def controlled(model, canvas, video, strength=1.0):
    return result("ControlVideo", model.vae, canvas, "start", "cover", strength, images=video)[0]


@pytest.mark.parametrize("name", VACES)
def test_VACE_region_that_follows_a_control_video_and_a_picture_half(pipelines, same, name):
    """All at once: a box of the clip made anew, another video followed in it, a picture, at half their strength."""
    clip, course = (
        torch.cat([picture(WIDTH, HEIGHT, seed)[1] for seed in range(first, first + FRAMES)]) for first in (0, 20)
    )
    mask = torch.zeros(FRAMES, HEIGHT, WIDTH)
    mask[:, HEIGHT // 2 :, : WIDTH // 2] = 1
    video = torch.where(mask[..., None] > 0, course, clip).permute(0, 3, 1, 2)
    inputs = {"video": video[None], "mask": mask[None, :, None].expand(-1, -1, 3, -1, -1)}
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    box, whole = (0.0, 0.5, 0.5, 0.5), (0.0, 0.0, 0)
    canvas = result("MaskRegion", model.vae, canvas, *box, *whole, 0, 0, 0, 0, "cover", images=clip)[0]
    canvas, images = referring(model, controlled(model, canvas, course, 0.5), 5)
    inputs |= {"reference_images": images, "conditioning_scale": 0.5}
    theirs = raw(pipelines(name), stock(pipelines(name), **inputs, **SIZES))[:, :, 1:]
    run, free = free_region(model, canvas)
    assert same(name, "a region, control video, a reference image", run, theirs[free], "beside x") == 0.0
