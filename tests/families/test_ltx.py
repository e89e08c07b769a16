"""LTX-Video equals diffusers: LTXPipeline, LTXImageToVideoPipeline, LTXConditionPipeline (0.9.5 and later)."""

from shutil import copytree

import bench
import pytest
import torch
from bench import free_cells, grid, load, picture, result, sample, stock
from einops import rearrange

WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 17, 25.0


@pytest.fixture(scope="module")
def early(pipelines):
    return pipelines("LTX-0.9.0")


@pytest.fixture(scope="module")
def late(pipelines):
    return pipelines("LTX-0.9.5")


def video(latents):
    """Packed [B, N, C] → [B, C, T, H, W]."""
    size = {"t": (FRAMES - 1) // 8 + 1, "h": HEIGHT // 32, "w": WIDTH // 32}
    return rearrange(latents, "b (t h w) c -> b c t h w", **size)


SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES}


def test_text_to_video(early, same):
    model = load("LTX-0.9.0")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES, FPS)
    theirs = video(stock(early, frame_rate=FPS, **SIZES))
    assert same("LTX-Video 0.9.0", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def test_the_frame_rate_reaches_the_model(early):
    model = load("LTX-0.9.0")
    slow, fast = (sample(model, grid(model, WIDTH, HEIGHT, FRAMES, fps))["samples"] for fps in (8.0, 25.0))
    assert (slow - fast).abs().max() > 1e-3


def test_image_to_video(early, same):
    from diffusers import LTXImageToVideoPipeline

    pipeline = LTXImageToVideoPipeline(**early.components)
    pipeline.set_progress_bar_config(disable=True)
    image, pixels = picture(WIDTH, HEIGHT)
    theirs = video(stock(pipeline, image=image, frame_rate=FPS, **SIZES))
    model = load("LTX-0.9.0")
    canvas = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES, FPS), "start", "cover", 1.0, pixels)[0]
    assert same(
        "LTX-Video 0.9.0", "I2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs,
        "clean, at time 0",
    ) == 0.0  # fmt: skip


def test_text_to_video_with_causal_coordinates(late, same):
    theirs = stock(late, frame_rate=FPS, **SIZES)
    model = load("LTX-0.9.5")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES, FPS)
    assert same("LTX-Video 0.9.5", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


@pytest.mark.parametrize("steps", [8, 4])
def test_a_distilled_one_takes_the_steps_it_was_made_for(late, same, base, hosted, monkeypatch, steps):
    """Fewer steps lie evenly along the eight. diffusers leaves to the user to say them, and not to shift them."""
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES

    folder = base / "models" / "diffusion_models"
    copytree(folder / "LTX-0.9.5", folder / "LTX-0.9.7-distilled", dirs_exist_ok=True)
    monkeypatch.setattr(bench, "STEPS", steps)
    unshifted = {"use_dynamic_shifting": False, "shift_terminal": None, "shift": 1.0}
    pipeline = type(late)(**late.components)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler.from_config(late.scheduler.config, **unshifted)
    pipeline.set_progress_bar_config(disable=True)
    timesteps = [1000 * sigma for sigma in DISTILLED_SIGMA_VALUES[:: 8 // steps]]
    theirs = stock(pipeline, frame_rate=FPS, timesteps=timesteps, **SIZES)
    model = load("LTX-0.9.7-distilled", "LTX-0.9.5", "LTX-0.9.5")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES, FPS)
    ours = lambda guidance: sample(model, canvas, guidance)["samples"]  # noqa: E731
    assert same("LTX-Video 0.9.7", f"T2V, distilled, {steps} steps", ours, theirs) == 0.0
    assert any("LTX-0.9.7-distilled is distilled: guidance 1 and 8 steps" in line for line in hosted.notices)


def test_extension_of_a_clip(late, same):
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(9)), strict=True)
    clip = LTXVideoCondition(video=list(images), frame_index=0)
    theirs = stock(late, conditions=[clip], frame_rate=FPS, image_cond_noise_scale=0.0, **SIZES)
    model = load("LTX-0.9.5")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES, FPS)
    canvas = result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, torch.cat(pixels))[0]
    assert (canvas["noise_mask"][0, 0, :, 0, 0] == torch.tensor([0.0, 0.0, 1.0])).all()
    assert same(
        "LTX-Video 0.9.5", "extend", lambda guidance: sample(model, canvas, guidance)["samples"], theirs,
        "clean, at time 0",
    ) == 0.0  # fmt: skip


def test_first_frame_of_the_later_ones(late, same):
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    image, pixels = picture(WIDTH, HEIGHT)
    shown = [LTXVideoCondition(image=image, frame_index=0)]
    theirs = stock(late, conditions=shown, frame_rate=FPS, image_cond_noise_scale=0.0, **SIZES)
    model = load("LTX-0.9.5")
    canvas = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES, FPS), "start", "cover", 1.0, pixels)[0]
    run, free = free_cells(model, canvas)
    assert same("LTX-Video 0.9.5", "I2V", run, theirs[:, :, free], "clean, at time 0") == 0.0


def test_a_clip_that_leads_to_a_picture(late, same):
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(10)), strict=True)
    conditions = [LTXVideoCondition(video=list(images[:9]), frame_index=0),
                  LTXVideoCondition(image=images[9], frame_index=24)]  # fmt: skip
    size = {**SIZES, "num_frames": 25}
    theirs = stock(late, conditions=conditions, frame_rate=FPS, image_cond_noise_scale=0.0, **size)
    model = load("LTX-0.9.5")
    canvas = grid(model, WIDTH, HEIGHT, 25, FPS)
    for time, shown in (("start", pixels[:9]), ("end", pixels[9:])):
        canvas = result("PlaceFrames", model.vae, canvas, time, "cover", 1.0, torch.cat(shown))[0]
    run, free = free_cells(model, canvas)
    assert free.tolist() == [False, False, True, False]
    assert same("LTX-Video 0.9.5", "extend to a picture", run, theirs[:, :, free], "clean, as tokens of its own") == 0.0


@pytest.mark.parametrize(("mode", "shown"), [
    ("I2V", {"start": 1}), ("extend", {"start": 9}), ("first-last", {"start": 1, "end": 1}),
    ("keyframes", {"start": 9, "0.8": 1, "end": 1}),
])  # fmt: skip
def test_known_frames_as_the_pipeline_comes(late, same, hosted, mode, shown):
    """With its image_cond_noise_scale of 0.15."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    frames, model, conditions = 33, load("LTX-0.9.5"), []
    canvas = grid(model, WIDTH, HEIGHT, frames, FPS)
    for seed, (time, count) in enumerate(shown.items()):
        images, pixels = zip(*(picture(WIDTH, HEIGHT, 10 * seed + i) for i in range(count)), strict=True)
        first = {"start": 0, "end": frames - 1}.get(time) if time in ("start", "end") else round(float(time) * FPS)
        what = {"image": images[0]} if count == 1 else {"video": list(images)}
        conditions.append(LTXVideoCondition(**what, frame_index=first))
        canvas = result("PlaceFrames", model.vae, canvas, time, "cover", 1.0, torch.cat(pixels))[0]
    theirs = stock(late, conditions=conditions, frame_rate=FPS, **{**SIZES, "num_frames": frames})
    free = canvas["noise_mask"][0, 0, :, 0, 0] > 0

    def run(guidance):
        done = sample(model, canvas, guidance, known_noise=150)["samples"]
        assert torch.equal(done[:, :, ~free], canvas["samples"][:, :, ~free])
        return done[:, :, free]

    known = "under 150 thousandths of noise"
    assert same("LTX-Video 0.9.5", f"{mode}, as it comes", run, theirs[:, :, free], known) == 0.0
    assert any(f"tokens of its own, {known}" in line for line in hosted.notices)
    assert (sample(model, canvas)["samples"][:, :, free] - theirs[:, :, free]).abs().max() > 1e-5


@pytest.mark.parametrize("kept", [False, True])
def test_video_to_video(late, same, kept):
    """LTXConditionPipeline takes the clip as latents. kept: its first frame stays, which is encoded alone there: the
    last bits of that."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(FRAMES)), strict=True)
    model = load("LTX-0.9.5")
    canvas = {"samples": torch.cat(list(model.vae.encode_stream(pixels)), dim=2), "fps": FPS}
    more, mode, known = {}, "V2V", "all, noised to 0.6"
    if kept:
        more = {"conditions": [LTXVideoCondition(image=images[0], frame_index=0)], "image_cond_noise_scale": 0.0}
        mode, known = "V2V, first frame kept", "clean, at time 0"
        canvas["samples"][:, :, :1] = next(iter(model.vae.encode_stream(pixels[:1])))
        canvas["noise_mask"] = torch.ones(1, 1, *canvas["samples"].shape[2:]).index_fill(2, torch.tensor([0]), 0)
    theirs = stock(late, latents=canvas["samples"], denoise_strength=0.6, frame_rate=FPS, **SIZES, **more)[:, :, kept:]
    run = lambda guidance: sample(model, canvas, guidance, denoise=0.6)["samples"][:, :, kept:]  # noqa: E731
    assert same("LTX-Video 0.9.5", mode, run, theirs, known) == 0.0


@pytest.mark.parametrize("times", [("end",), ("start", "end")])
def test_keyframes(late, same, hosted, times):
    """A picture that isn't the first frame goes in as tokens of its own; the canvas keeps the cell it was placed on."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    model, conditions = load("LTX-0.9.5"), []
    canvas = grid(model, WIDTH, HEIGHT, FRAMES, FPS)
    for seed, time in enumerate(times):
        image, pixels = picture(WIDTH, HEIGHT, seed)
        conditions.append(LTXVideoCondition(image=image, frame_index=0 if time == "start" else FRAMES - 1))
        canvas = result("PlaceFrames", model.vae, canvas, time, "cover", 1.0, pixels)[0]
    theirs = stock(late, conditions=conditions, frame_rate=FPS, image_cond_noise_scale=0.0, **SIZES)
    run, free = free_cells(model, canvas)
    mode = "first-last" if len(times) > 1 else "last frame"
    assert same("LTX-Video 0.9.5", mode, run, theirs[:, :, free], "clean, as tokens of its own") == 0.0
    assert any("a picture after the first frame as tokens of its own" in notice for notice in hosted.notices)


def test_a_keyframe_reaches_the_windows_that_hold_it(late):
    model, made = load("LTX-0.9.5"), []
    for seed in range(2):
        canvas = grid(model, WIDTH, HEIGHT, 41, FPS)
        canvas = result("PlaceFrames", model.vae, canvas, "end", "cover", 1.0, picture(WIDTH, HEIGHT, seed)[1])[0]
        run, free = free_cells(model, canvas)
        assert free.tolist() == [True] * 5 + [False]
        sampled = sample(model, canvas, windows="overlapping", window=4, overlap=2)["samples"]
        assert torch.equal(sampled[:, :, ~free], canvas["samples"][:, :, ~free])
        made.append(sampled[:, :, free])
    far = (made[0] - made[1]).abs().amax((0, 1, 3, 4))
    assert far.isfinite().all() and far[-1] > 1e-3


def test_decoded_frames_are_the_pipelines(early):
    model = load("LTX-0.9.0")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES, FPS)
    theirs = stock(early, frame_rate=FPS, output_type="pt", **SIZES)[0].permute(0, 2, 3, 1)
    (images,) = result("DecodeImages", model.vae, sample(model, canvas))
    assert torch.equal(images, theirs)


def test_a_decoder_that_denoises_is_given_its_last_bit_of_noise(late):
    """0.9.1 and later: as the pipeline with decode_timestep 0.05 and decode_noise_scale 0.025, from one seed."""
    model = load("LTX-0.9.5")
    latent = grid(model, WIDTH, HEIGHT, FRAMES, FPS)
    latent["samples"] = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(3))
    z = late._denormalize_latents(latent["samples"], late.vae.latents_mean, late.vae.latents_std)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = late.vae.decode((1 - 0.025) * z + 0.025 * noise, torch.tensor([0.05]), return_dict=False)[0]
    (images,) = result("DecodeImages", model.vae, latent)
    assert torch.equal(images, (theirs * 0.5).add(0.5).clamp(0, 1)[0].permute(1, 2, 3, 0))
    (again,) = result("DecodeImages", model.vae, latent)
    assert torch.equal(again, images)


@pytest.mark.parametrize("name", ["unipc", "dpm++ 2m", "heun"])
def test_other_solvers_run_with_its_shift(early, name):
    model = load("LTX-0.9.0")
    done = sample(model, grid(model, WIDTH, HEIGHT, FRAMES, FPS), scheduler=name)["samples"]
    assert done.isfinite().all()
