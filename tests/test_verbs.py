"""Sora's verbs as people wire them: grid → builder → sampler → decode, with pocket."""

import pytest
import torch
from spacetime_nodes.media.video import StreamVideo


def video_of(frames, size=48, fps=8.0, seed=0):
    pixels = (torch.rand(frames, size, size, 3, generator=torch.Generator().manual_seed(seed)) * 255).round() / 255
    return StreamVideo(lambda: iter(pixels.split(2)), width=size, height=size, frame_count=frames, fps=fps), pixels


@pytest.fixture
def grid(nodes, pocket, host):
    return nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9)["result"][0]


@pytest.fixture
def watch(nodes, pocket, host):
    """Samples a canvas in two steps and returns the video's frames, having checked what the video promised."""

    def run(latent):
        text = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle moving right", "")
        (latent,) = nodes["SpacetimeSample"]().run(pocket.dit, *text, latent, 0, 2, 4.0)
        ((video,),) = nodes["SpacetimeDecode"]().run(pocket.vae, latent)
        frames = torch.cat(list(video.frames()))
        assert len(frames) == video.get_frame_count()
        assert torch.equal(nodes["SpacetimeDecodeImages"]().run(pocket.vae, latent)[0], frames)
        return frames

    return run


def build(nodes, name, *args, **kwargs):
    result = nodes[name]().run(*args, **kwargs)
    return result["result"][0], result["ui"]["text"][0]


def test_an_image_becomes_the_first_frame_bit_for_bit(nodes, pocket, grid, watch):
    _, pixels = video_of(1)
    latent, told = build(nodes, "SpacetimePlaceFrames", pocket.vae, grid, "start", "cover", 1.0, images=pixels)
    frames = watch(latent)
    assert torch.equal(frames[0], pixels[0]) and not torch.equal(frames[1], pixels[0]) and told.startswith("frames 0–0")


def test_first_and_last_frame_are_two_nodes_in_a_row(nodes, pocket, grid, watch):
    (_, first), (_, last) = video_of(1), video_of(1, seed=1)
    latent, _ = build(nodes, "SpacetimePlaceFrames", pocket.vae, grid, "start", "cover", 1.0, images=first)
    latent, _ = build(nodes, "SpacetimePlaceFrames", pocket.vae, latent, "end", "cover", 1.0, images=last)
    frames = watch(latent)
    assert torch.equal(frames[0], first[0]) and torch.equal(frames[8], last[0])


def test_a_keyframe_stands_at_its_second(nodes, pocket, grid, watch):
    _, pixels = video_of(1)
    latent, _ = build(nodes, "SpacetimePlaceFrames", pocket.vae, grid, "0.5", "cover", 1.0, images=pixels)
    assert torch.equal(watch(latent)[4], pixels[0])


@pytest.mark.parametrize("time", ["later", "", "nan", "inf", "9", "-1"])
def test_a_time_that_cannot_be_is_one_clear_line(nodes, pocket, grid, time):
    _, pixels = video_of(1)
    with pytest.raises(ValueError, match="time .* can't be; start, end|don't lie on a canvas of 9"):
        build(nodes, "SpacetimePlaceFrames", pocket.vae, grid, time, "cover", 1.0, images=pixels)


def test_part_of_a_clip_that_cannot_be_known_is_said(nodes, pocket, grid, host):
    video, _ = video_of(7)
    build(nodes, "SpacetimePlaceFrames", pocket.vae, grid, "start", "cover", 1.0, video=video)
    assert host.notices == ["7 frames → 5 (0–4): only whole latent frames of 4 can be known; the rest is made anew"]


@pytest.mark.parametrize("direction, at, total", [("forward", 0, 21), ("backward", 9, 22), ("both", 9, 30)])
def test_extend_shows_the_whole_clip_as_it_was(nodes, pocket, grid, watch, direction, at, total):
    video, pixels = video_of(13)
    latent, told = build(nodes, "SpacetimeExtend", pocket.vae, grid, direction, 1.0, 0.0, "cover", video=video)
    frames = watch(latent)
    assert torch.equal(frames[at : at + 13], pixels) and len(frames) == total
    assert told == f"{total} frames, {total / 8:.2f} s; {total - 13} of them new"


def test_extend_takes_images_and_latents_too(nodes, pocket, grid, watch):
    video, pixels = video_of(9)
    by_video, by_images = (
        build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 0.5, 0.0, "cover", **clip)[0]
        for clip in ({"video": video}, {"images": pixels})
    )
    assert torch.equal(by_video["samples"], by_images["samples"])
    clip = {"samples": torch.cat(list(pocket.vae.encode_stream([pixels])), 2), "fps": 8.0}
    by_latent, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 0.5, 0.0, "cover", clip=clip)
    decoded = torch.cat(list(pocket.vae.decode_stream(clip["samples"])))
    assert torch.equal(watch(by_latent)[:9], decoded)


def test_more_context_shows_the_model_more_of_the_clip(nodes, pocket, grid):
    video, _ = video_of(30)
    sizes = [
        build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, context, "cover", video=video)[0]["samples"]
        for context in (0.5, 2.0)
    ]
    assert [samples.shape[2] for samples in sizes] == [1 + 1 + 2, 1 + 4 + 2]


def test_footage_of_another_size_and_rate_is_fitted_and_said(nodes, pocket, grid, watch, host):
    video, _ = video_of(24, size=64, fps=16.0)
    latent, told = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", video=video)
    assert host.notices == ["the clip: 16 frames per second → 8", "the clip: 64×64 → 48×48 (cover)"]
    assert watch(latent).shape == (12 + 8, 48, 48, 3)


def test_connect_shows_both_clips_as_they_were(nodes, pocket, grid, watch):
    (left, a), (right, b) = video_of(10), video_of(6, seed=1)
    latent, told = build(nodes, "SpacetimeConnect", pocket.vae, grid, 1.0, 0.0, "cover", left, right)
    frames = watch(latent)
    assert torch.equal(frames[:10], a) and torch.equal(frames[-6:], b) and told.startswith("24 frames")


def test_one_clip_is_wired_no_more_no_less(nodes, pocket, grid):
    video, pixels = video_of(5)
    for clips, says in (({}, "no clips are wired"), ({"video": video, "images": pixels}, "2 clips are wired")):
        with pytest.raises(ValueError, match=says):
            build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", **clips)


def test_a_latent_without_a_rate_is_refused(nodes, pocket, grid):
    with pytest.raises(ValueError, match="no frame rate; start from Spacetime Grid"):
        build(
            nodes, "SpacetimePlaceFrames", pocket.vae, {"samples": grid["samples"]}, "start", "cover", 1.0,
            images=torch.rand(1, 48, 48, 3),
        )  # fmt: skip


def test_a_builder_leaves_its_canvas_as_it_was(nodes, pocket, grid):
    before = {key: value.clone() if hasattr(value, "clone") else value for key, value in grid.items()}
    build(nodes, "SpacetimePlaceFrames", pocket.vae, grid, "start", "cover", 1.0, images=torch.rand(1, 48, 48, 3))
    assert grid.keys() == before.keys() and torch.equal(grid["samples"], before["samples"])


def test_saving_a_latent_says_that_the_clip_itself_stays_behind(nodes, pocket, grid, host):
    video, _ = video_of(9)
    latent, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", video=video)
    nodes["SpacetimeSaveLatent"]().run(latent, "latents/kept")
    assert host.notices == [
        "a .latent file keeps the cells, not your own frames; save the video to keep those bit for bit"
    ]


@pytest.mark.parametrize("cells", [(3, 7, 6), (3, 6, 5), (5000, 6, 6)])
def test_a_latent_that_the_transformer_cannot_cut_is_refused(nodes, pocket, host, cells):
    text = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    with pytest.raises(ValueError, match="cells doesn't fit this DiT"):
        nodes["SpacetimeSample"]().run(pocket.dit, *text, {"samples": torch.empty(1, 16, *cells)}, 0, 2, 4.0)


def test_too_little_denoise_is_said(nodes, pocket, grid, host):
    text = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    (out,) = nodes["SpacetimeSample"]().run(pocket.dit, *text, grid, 0, 4, 4.0, denoise=0.2)
    assert host.notices == ["denoise 0.2 of 4 steps is less than one step: the latent stays as it is"]
    assert torch.allclose(out["samples"], grid["samples"], atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_a_dry_run_tells_the_canvas_that_will_be_sampled(nodes, pocket, grid, direction):
    planned_grid = nodes["SpacetimeGrid"]().plan(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9)["result"][0]
    video, _ = video_of(30)
    asked = (direction, 1.0, 0.0, "cover")
    done, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, *asked, video=video)
    plan = nodes["SpacetimeExtend"]().plan(pocket.vae, planned_grid, *asked)
    assert plan["result"][0]["shape"] == list(done["samples"].shape)
    assert plan["report"]["tokens"] == plan["result"][0]["shape"][2] * 9
    done, _ = build(nodes, "SpacetimeConnect", pocket.vae, grid, 1.0, 0.0, "cover", video, video)
    plan = nodes["SpacetimeConnect"]().plan(pocket.vae, planned_grid, 1.0, 0.0, "cover")
    assert plan["result"][0]["shape"] == list(done["samples"].shape)
