"""SkyReels-V2's diffusion forcing as a wave, in windows and with noise on what is known equals diffusers' pipelines."""

from types import SimpleNamespace

import diffusers
import pytest
import torch
from bench import SEED, STEPS, free_cells, grid, load, picture, result, sample, stock
from spacetime_nodes.model_loaders.outlook import Wish, sampled
from spacetime_nodes.spacetime.forcing import Forcing
from test_skyreels_v2 import SIZES, Careful
from test_wan import raw

WIDTH, HEIGHT, CELLS = 32, 32, 4  # latent cells a side
MODEL, FAMILY, CLEAN = "SkyReels-V2-DF", "SkyReels-V2 DF", "clean, at time 0"
LAG, BLOCK = 2, 2


@pytest.fixture
def theirs(pipelines):
    """`theirs(kind, frames, …)`: raw latents of the pipeline of this kind."""
    transformer = pipelines(MODEL).transformer

    def run(kind, frames, noise=None, **more):
        pipeline = getattr(diffusers, f"SkyReelsV2DiffusionForcing{kind}Pipeline")(**pipelines(MODEL).components)
        pipeline.scheduler = Careful.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        if noise is not None:
            pipeline.prepare_latents = of_one_noise(pipeline.prepare_latents, noise)
        return raw(pipeline, stock(pipeline, **{**SIZES, "num_frames": frames, "fps": 8, **more}))

    yield run
    transformer.register_to_config(num_frame_per_block=1)  # a pipeline leaves it causal


def of_one_noise(prepare, noise):
    """Each window's noise cut from that of the whole canvas, as ours is; the pipeline draws it window by window."""

    def prepared(*args, **more):
        _, frames, *rest = prepare(*args, **more)
        first = 0
        if more["long_video_iter"]:
            first = more["long_video_iter"] * (more["base_latent_num_frames"] - more["overlap_history_latent_frames"])
        return noise[:, :, first : first + frames].clone(), frames, *rest

    return prepared


def ours(frames, **more):
    model = load(MODEL)
    return lambda guidance: sample(model, grid(model, WIDTH, HEIGHT, frames), guidance, **more)["samples"]


def noise_of(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(SEED))


def with_pictures(frames, count, **more):
    """(the pictures for their pipeline, guidance → our free latent frames, which of them are free)."""
    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(count)), strict=True)
    model = load(MODEL)
    canvas = grid(model, WIDTH, HEIGHT, frames)
    canvas = result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, torch.cat(pixels))[0]
    run, free = free_cells(model, canvas, **more)
    return list(images), run, free


def test_frames_that_lag_behind(theirs, same):
    wave = theirs("", 13, ar_step=LAG)
    assert same(FAMILY, "T2V, lag", ours(13, lag=LAG), wave) == 0.0


def test_causal_blocks_that_lag_behind(theirs, same):
    wave = theirs("", 21, ar_step=LAG, causal_block_size=3)
    assert same(FAMILY, "T2V, lag, causal blocks", ours(21, lag=LAG, block=3, causal=True), wave) == 0.0


def test_causal_blocks_all_together(theirs, same):
    wave = theirs("", 13, ar_step=0, causal_block_size=BLOCK)
    assert same(FAMILY, "T2V, causal blocks", ours(13, block=BLOCK, causal=True), wave) == 0.0


def test_blocks_that_see_each_other(pipelines, theirs, same, monkeypatch):
    """As SkyReels' own program makes them unless it is told --causal_attention; diffusers can't have the one without
    the other."""
    monkeypatch.setattr(type(pipelines(MODEL).transformer), "_set_ar_attention", lambda *_: None)
    wave = theirs("", 13, ar_step=LAG, causal_block_size=BLOCK)
    assert same(FAMILY, "T2V, lag, blocks", ours(13, lag=LAG, block=BLOCK), wave) == 0.0


def test_a_lag_longer_than_the_steps_is_block_after_block(theirs, same):
    wave = theirs("", 13, ar_step=3 * STEPS)
    assert same(FAMILY, "T2V, frame by frame", ours(13, lag=3 * STEPS), wave) == 0.0


def test_frames_that_lag_behind_a_picture(theirs, same):
    (image,), run, free = with_pictures(13, 1, lag=LAG)
    wave = theirs("ImageToVideo", 13, image=image, ar_step=LAG)
    assert same(FAMILY, "I2V, lag", run, wave[:, :, free], CLEAN) == 0.0


@pytest.mark.parametrize(("mode", "lag"), [("first-last", 0), ("first-last, lag", LAG)])
def test_frames_between_two_pictures(pipelines, theirs, same, monkeypatch, mode, lag):
    """The pipeline's last picture is a latent frame of its own, encoded alone, that isn't decoded. Here it encodes the
    two one after another, as we do: in one batch they differ in the last bit."""
    vae, encode = pipelines(MODEL).vae, pipelines(MODEL).vae.encode

    def each(pictures):
        return SimpleNamespace(latents=torch.cat([encode(one[None]).latents for one in pictures]))

    monkeypatch.setattr(vae, "encode", each)
    (first, pixels), (last, last_pixels) = (picture(WIDTH, HEIGHT, seed) for seed in (0, 1))
    noise = noise_of((1, 4, 5, CELLS, CELLS))
    video = theirs("ImageToVideo", 13, noise, image=first, last_image=last, ar_step=lag)
    model = load(MODEL)
    canvas, alone = grid(model, WIDTH, HEIGHT, 17), grid(model, WIDTH, HEIGHT, 1)
    canvas, alone = (
        result("PlaceFrames", model.vae, one, "start", "cover", 1.0, shown)[0]
        for one, shown in ((canvas, pixels), (alone, last_pixels))
    )
    canvas["samples"][:, :, 4:], canvas["noise_mask"][:, :, 4:] = alone["samples"], 0
    run, free = free_cells(model, canvas, lag=lag)
    assert same(FAMILY, mode, run, video[:, :, free], CLEAN) == 0.0


def test_blocks_that_lag_behind_a_clip(theirs, same):
    video, run, free = with_pictures(21, 5, lag=LAG, block=BLOCK, causal=True)
    more = {"ar_step": LAG, "causal_block_size": BLOCK, "base_num_frames": 21, "overlap_history": len(video)}
    wave = theirs("VideoToVideo", 21, video=video, **more)
    assert same(FAMILY, "extend, lag, causal blocks", run, wave[:, :, free], CLEAN) == 0.0


@pytest.mark.parametrize("windows", [{"windows": "whole"}, {"windows": "autoregressive", "window": 6, "overlap": 2}])
def test_the_plan_counts_every_pass_of_the_wave(windows):
    model, seen = load(MODEL), []
    canvas, block = grid(model, WIDTH, HEIGHT, 37), 3
    hook = model.dit.adapter.transformer.blocks[0].register_forward_hook(lambda *_: seen.append(1))
    try:
        sample(model, canvas, lag=LAG, block=block, **windows)
    finally:
        hook.remove()
    wish = Wish(tuple(canvas["samples"].shape), 8.0, STEPS, 4.0, forcing=Forcing(LAG, block), **windows)
    way = sampled(model.dit, wish)
    assert way.steps == STEPS + LAG * (3 if windows["windows"] == "whole" else 1)
    assert len(seen) == way.steps * way.views * way.predictions


# a longer video: windows of 5 latent frames that share 2, the second one full as ours are

LONG, WINDOWS = 29, {"base_num_frames": 17, "overlap_history": 5}
SEEN = {"windows": "autoregressive", "window": 5, "overlap": 2}
SHAPE = (1, 4, 8, CELLS, CELLS)


def test_windows(theirs, same):
    long = theirs("", LONG, noise_of(SHAPE), ar_step=0, **WINDOWS)
    assert same(FAMILY, "T2V in windows", ours(LONG, **SEEN), long, CLEAN) == 0.0


def test_windows_of_frames_that_lag_behind(theirs, same):
    long = theirs("", LONG, noise_of(SHAPE), ar_step=LAG, **WINDOWS)
    assert same(FAMILY, "T2V in windows, lag", ours(LONG, **SEEN, lag=LAG), long, CLEAN) == 0.0


@pytest.mark.parametrize(("mode", "lag"), [("known_noise", 0), ("known_noise, lag", LAG)])
def test_windows_with_noise_on_what_they_share(theirs, same, monkeypatch, mode, lag):
    """The pipeline draws this noise from torch's global generator, which no seed given to it reaches."""
    drawn = torch.Generator().manual_seed(SEED)
    noise = torch.randn(SHAPE, generator=drawn)

    def after_the_first(shared):
        return torch.randn((*shared.shape[:2], 5, *shared.shape[3:]), generator=drawn)[:, :, : shared.shape[2]]

    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn_like", after_the_first)
        long = theirs("", LONG, noise, ar_step=lag, addnoise_condition=20, **WINDOWS)
    run = ours(LONG, **SEEN, lag=lag, known_noise=20)
    assert same(FAMILY, f"T2V in windows, {mode}", run, long, "at 20 thousandths of noise") == 0.0


def test_noise_on_what_is_known_is_said(hosted):
    _, run, _ = with_pictures(9, 1, known_noise=20)
    run(4.0)
    assert hosted.notices == ["known cells go in clean, at time 0, under 20 thousandths of noise"]


# where we do otherwise; the day one of these fails, upstream is mended


def test_no_frame_is_left_as_noise(pipelines, theirs):
    """diffusers forgets what is left after the last whole block (its issue 13609); here the last block is shorter, and
    where the model's mask knows whole blocks only the canvas is refused."""
    left = theirs("", 9, ar_step=LAG, causal_block_size=BLOCK)
    noise = raw(pipelines(MODEL), noise_of((1, 4, 3, CELLS, CELLS)))
    assert torch.equal(left[:, :, 2:], noise[:, :, 2:])
    done = ours(9, lag=LAG, block=BLOCK)(4.0)
    assert (done[:, :, 2:] - left[:, :, 2:]).abs().max() > 0.1
    with pytest.raises(ValueError, match="causal: 3 latent frames aren't whole blocks of 2; 2 or 4 are"):
        ours(9, lag=LAG, block=BLOCK, causal=True)(4.0)


def test_a_picture_stays_within_its_block(theirs):
    """diffusers denoises a known frame that doesn't fill its block as if it were noise."""
    (image,), run, free = with_pictures(13, 1, lag=LAG, block=BLOCK)
    lost = theirs("ImageToVideo", 13, image=image, ar_step=LAG, causal_block_size=BLOCK)
    kept = theirs("ImageToVideo", 13, image=image, ar_step=0, causal_block_size=1)
    assert (lost[:, :, :1] - kept[:, :, :1]).abs().max() > 0.1
    run(4.0)  # sees to it that what is known comes out as it went in


def test_the_model_is_as_it_was_for_the_next_run(pipelines, theirs):
    """diffusers leaves it causal."""
    theirs("", 13, causal_block_size=BLOCK)
    assert pipelines(MODEL).transformer.config.num_frame_per_block == BLOCK
    model = load(MODEL)
    canvas = grid(model, WIDTH, HEIGHT, 13)
    before = sample(model, canvas)["samples"]
    causal = sample(model, canvas, lag=LAG, block=BLOCK, causal=True)["samples"]
    assert (causal - before).abs().max() > 1e-3
    assert torch.equal(sample(model, canvas)["samples"], before)
