"""Sora's verbs as people wire them: grid → builder → sampler → decode, with pocket."""

import pytest
import torch
from clips import video_of

from .conftest import build, mask_region


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
    with pytest.raises(ValueError, match="time .* can't be; start, end|doesn't lie in a video of 9"):
        build(nodes, "SpacetimePlaceFrames", pocket.vae, grid, time, "cover", 1.0, images=pixels)


def test_seconds_are_those_of_the_video_a_long_clip_included(nodes, pocket, grid, watch):
    (video, pixels), (_, picture) = video_of(41), video_of(1, seed=1)
    longer, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", video=video)
    latent, _ = build(nodes, "SpacetimePlaceFrames", pocket.vae, longer, "5.875", "cover", 1.0, images=picture)
    frames = watch(latent)
    assert len(frames) == 49 and torch.equal(frames[:41], pixels) and torch.equal(frames[47], picture[0])
    at_end, _ = build(nodes, "SpacetimePlaceFrames", pocket.vae, longer, "end", "cover", 1.0, images=picture)
    assert torch.equal(watch(at_end)[48], picture[0])
    with pytest.raises(ValueError, match="frame 32 lies in the clip, which the video shows as frames 0–40"):
        build(nodes, "SpacetimePlaceFrames", pocket.vae, longer, "4", "cover", 1.0, images=picture)


def test_a_ring_has_no_known_frames(nodes, pocket, grid, host):
    ring, _ = build(nodes, "SpacetimeLoop", pocket.vae, grid, 1.0, 0.0, "cover")
    with pytest.raises(ValueError, match="a loop made anew has no known frames; give Loop the clip or the image"):
        build(nodes, "SpacetimePlaceFrames", pocket.vae, ring, "start", "cover", 1.0, images=torch.rand(1, 48, 48, 3))
    extended, _ = build(nodes, "SpacetimeExtend", pocket.vae, ring, "forward", 1.0, 0.0, "cover", video=video_of(9)[0])
    assert "ring" not in extended  # of the grid only the size and the rate count


def test_a_second_sampling_is_not_turned_down_by_the_first_ones_restyle(nodes, pocket, grid):
    restyled, _ = build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.5, "cover", video=video_of(5)[0])
    text = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle", "")
    (once,) = nodes["SpacetimeSample"]().run(pocket.dit, *text, restyled, 0, 2, 1.0)
    assert restyled["denoise"] == 0.5 and "denoise" not in once


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
    assert nodes["SpacetimeExtend"]().plan(pocket.vae, None, *asked) == (None,)  # after a node without a plan
    plan = nodes["SpacetimeConnect"]().plan(pocket.vae, planned_grid, 1.0, 0.0, "cover")
    assert plan["result"][0]["shape"] == list(done["samples"].shape)


def test_restyle_turns_the_sampler_down_and_keeps_less_the_stronger_it_is(nodes, pocket, grid, watch, host):
    video, pixels = video_of(10)
    distances = []
    for strength in (0.0, 0.5, 1.0):
        latent, told = build(nodes, "SpacetimeRestyle", pocket.vae, grid, strength, "cover", video=video)
        assert latent["denoise"] == strength and told == "9 frames"
        distances.append((watch(latent) - pixels[:9]).square().mean())
    assert distances[0] < distances[1] < distances[2]
    assert host.notices[0] == "10 frames → 9 (4k+1)"
    with pytest.raises(ValueError, match="strength 1.5 can't be"):
        build(nodes, "SpacetimeRestyle", pocket.vae, grid, 1.5, "cover", video=video)


def test_a_batch_of_the_grid_is_a_batch_of_every_verb(nodes, pocket, host):
    grid = nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9, 2)["result"][0]
    video, _ = video_of(9)
    for name, asked in (("Restyle", (0.5, "cover")), ("Extend", ("forward", 1.0, 0.0, "cover"))):
        latent, _ = build(nodes, f"Spacetime{name}", pocket.vae, grid, *asked, video=video)
        assert len(latent["samples"]) == 2
    assert len(mask_region(nodes, pocket, grid, video=video)[0]["samples"]) == 2


def test_what_other_packs_keep_in_a_latent_stays_there(nodes, pocket, grid):
    video, _ = video_of(9)
    for name, asked in (("Restyle", (0.5, "cover")), ("Extend", ("forward", 1.0, 0.0, "cover"))):
        latent, _ = build(nodes, f"Spacetime{name}", pocket.vae, {**grid, "other_pack": 7}, *asked, video=video)
        assert latent["other_pack"] == 7
    assert mask_region(nodes, pocket, {**grid, "other_pack": 7}, video=video)[0]["other_pack"] == 7


def test_of_a_batch_wired_as_a_clip_the_first_is_used_and_that_is_said(nodes, pocket, grid, host):
    batch = {**grid, "samples": torch.randn(2, *grid["samples"].shape[1:])}
    latent, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", clip=batch)
    assert host.notices == ["the clip is a latent of 2 videos; only the first is used"]
    alone = {**grid, "samples": batch["samples"][:1]}
    same, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", clip=alone)
    assert torch.equal(latent["samples"], same["samples"]) and len(host.notices) == 1


def test_a_clip_made_of_pictures_with_an_alpha_channel_is_taken_without_it(nodes, pocket, grid):
    from spacetime_nodes.host.core_nodes import CreateVideo

    pictures = torch.rand(9, 48, 48, 4)
    (video,) = CreateVideo().run(pictures, 8.0)
    latent, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", video)
    assert torch.equal(torch.cat(list(latent["timeline"][0].source.frames())), pictures[..., :3])


@pytest.mark.parametrize("masked", [False, True])
def test_a_restyle_of_no_strength_is_the_clip_bit_for_bit(nodes, pocket, grid, watch, masked):
    video, pixels = video_of(9)
    mask = {"mask": torch.ones(1, 48, 48)} if masked else {}
    latent, _ = build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.0, "cover", video=video, **mask)
    assert torch.equal(watch(latent), pixels)


def test_a_new_loop_is_a_ring_of_whole_latent_frames(nodes, pocket, grid, watch):
    latent, told = build(nodes, "SpacetimeLoop", pocket.vae, grid_of(nodes, pocket, 17), 1.0, 0.0, "cover")
    frames = watch(latent)
    assert len(frames) == 16 and told == "16 frames, a ring"
    # no place is the seam: a ring that begins elsewhere is the same video, begun elsewhere
    ring = nodes["SpacetimeSample"]().run(pocket.dit, *text_of(nodes, pocket), latent, 0, 2, 4.0)[0]
    turned = {**ring, "samples": ring["samples"].roll(-2, dims=2)}
    straight, rolled = (nodes["SpacetimeDecodeImages"]().run(pocket.vae, each)[0] for each in (ring, turned))
    assert (straight.roll(-8, dims=0) - rolled).abs().max() < 0.5 / 255


def test_a_clip_is_closed_into_a_loop_and_stays_bit_for_bit(nodes, pocket, grid, watch):
    video, pixels = video_of(11)
    latent, told = build(nodes, "SpacetimeLoop", pocket.vae, grid, 1.0, 0.0, "cover", video=video)
    frames = watch(latent)
    assert torch.equal(frames[:11], pixels) and len(frames) == 19 and told == "19 frames, 2.38 s; 8 of them new"


def test_an_image_becomes_a_loop_that_leaves_it_and_comes_back(nodes, pocket, grid, watch):
    _, pixels = video_of(1)
    latent, _ = build(nodes, "SpacetimeLoop", pocket.vae, grid, 2.0, 0.0, "cover", images=pixels)
    frames = watch(latent)
    assert torch.equal(frames[0], pixels[0]) and len(frames) == 17
    assert (latent["noise_mask"][0, 0, :, 0, 0] == torch.tensor([0.0, 1, 1, 1, 1, 0])).all()


def test_a_loop_that_cannot_be_is_one_clear_line(nodes, pocket, grid):
    loop = nodes["SpacetimeLoop"]()
    with pytest.raises(ValueError, match="1 latent frames are too short for a loop; at least 3"):
        loop.run(pocket.vae, grid_of(nodes, pocket, 1), 1.0, 0.0, "cover")
    placed = build(nodes, "SpacetimePlaceFrames", pocket.vae, grid, "start", "cover", 1.0, images=video_of(1)[1])[0]
    with pytest.raises(ValueError, match="a loop made anew has no known frames; give Loop the clip to close instead"):
        loop.run(pocket.vae, placed, 1.0, 0.0, "cover")


def test_a_saved_ring_stays_a_ring(nodes, pocket, grid, host):
    latent, _ = build(nodes, "SpacetimeLoop", pocket.vae, grid, 1.0, 0.0, "cover")
    nodes["SpacetimeSaveLatent"]().run(latent, "ring")
    (loaded,) = nodes["SpacetimeLoadLatent"]().run("ring_00001_.latent [output]")
    assert loaded["ring"] is True and loaded["fps"] == 8.0


def grid_of(nodes, pocket, frames):
    return nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, frames)["result"][0]


def text_of(nodes, pocket):
    return nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle moving right", "")
