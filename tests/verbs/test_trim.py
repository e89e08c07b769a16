"""Trim and join: of videos and latents, what is kept is kept bit for bit."""

import math

import clips
import pytest
import torch
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.spacetime import recut

from .conftest import build, decoded, video_of


@pytest.mark.parametrize(
    "start, end, frames", [(0.0, 0.0, (0, 12)), (0.5, 1.0, (4, 8)), (-0.5, 0.0, (8, 12)), (0.25, -0.25, (2, 10))]
)
def test_a_part_of_a_video_has_its_frames_and_its_sound(nodes, start, end, frames):
    video, pixels = video_of(12)
    part, told = build(nodes, "SpacetimeTrim", video, start, end)
    first, last = frames
    assert torch.equal(torch.cat(list(part.frames())), pixels[first:last])
    assert part.get_frame_count() == last - first and told.startswith(f"{last - first} frames")
    assert torch.equal(part.get_audio()["waveform"][0, 0], torch.arange(first * 2.0, last * 2.0))


def test_clips_follow_each_other_with_their_sound(nodes, host):
    (left, a), (right, b), (silent, c) = video_of(5), video_of(4, seed=1), clips.video_of(3, seed=2)
    film, told = build(nodes, "SpacetimeJoinClips", left, right, "cover", silent)
    assert torch.equal(torch.cat(list(film.frames())), torch.cat([a, b, c])) and told == "12 frames, 1.50 s"
    waves = [clip.get_audio()["waveform"] for clip in (left, right)]
    assert film.get_audio()["sample_rate"] == clips.RATE
    assert torch.equal(film.get_audio()["waveform"], torch.cat([*waves, torch.zeros(1, 2, 6)], dim=2))
    assert host.notices == []


def test_a_joined_clip_of_another_size_or_rate_is_fitted_and_said(nodes, host):
    (left, a), (other, _) = video_of(5), video_of(8, size=64, fps=16.0)
    film, told = build(nodes, "SpacetimeJoinClips", left, other, "cover")
    frames = torch.cat(list(film.frames()))
    assert frames.shape == (9, 48, 48, 3) and torch.equal(frames[:5], a) and told == "9 frames, 1.12 s"
    assert torch.equal(film.get_audio()["waveform"][..., 10:], other.audio["waveform"][..., :8])
    assert host.notices == ["clip 2: 16 frames per second → 8", "clip 2: 64×64 → 48×48 (cover)"]
    plain, _ = build(nodes, "SpacetimeJoinClips", clips.video_of(2)[0], clips.video_of(2)[0], "cover")
    assert plain.get_audio() is None and plain.get_frame_count() == 4


def test_trimming_reads_no_frame(nodes):
    def frames():
        raise AssertionError("read")

    part, _ = build(nodes, "SpacetimeTrim", StreamVideo(frames, width=8, height=8, frame_count=9, fps=8), 0.5, 1.0)
    assert part.get_frame_count() == 4


OUTSIDE = [(1.0, 0.5), (1.0, 1.0), (2.0, 3.0), (0.0, 9.0), (-9.0, 0.0), (0.0, -9.0), (1.0, 1.01), (1.125, 0.0)]
NO_NUMBERS = [(math.nan, 0.0), (0.0, math.nan), (math.inf, 0.0), (0.0, -math.inf), (1e308, 0.0)]


@pytest.mark.parametrize("start, end", OUTSIDE + NO_NUMBERS)
def test_a_part_that_is_none_is_one_clear_line(nodes, pocket, grid, start, end):
    video, _ = video_of(9)
    says = "is no part of a clip of 1.125 s; start before end" if (start, end) in OUTSIDE else "can't be"
    recut_as = (start, end, "same", 0.0, 0.0, 0.0, "cover")
    for node, asked in (
        ("Trim", (video, start, end)),
        ("TrimLatent", (pocket.vae, grid, start, end)),
        ("Recut", (pocket.vae, grid, *recut_as, video)),
    ):
        with pytest.raises(ValueError, match=says) as error:
            build(nodes, f"Spacetime{node}", *asked)
        assert "\n" not in str(error.value)


def test_one_frame_is_a_clip_too():
    assert recut.frames_between(0, 0, 1, 8) == (0, 1)
    with pytest.raises(ValueError, match="no part"):
        recut.frames_between(0.5, 0, 1, 8)


def random_latent(latent_frames, batch=1):
    torch.manual_seed(3)
    return {"samples": torch.randn(batch, 16, latent_frames, 6, 6), "fps": 8.0, "kept": "as it was"}


def test_a_latent_cut_at_its_end_is_a_slice(nodes, pocket, host):
    latent = random_latent(4)
    latent["noise_mask"] = torch.linspace(0, 1, 4).view(1, 1, 4, 1, 1).expand(1, 1, 4, 6, 6)
    cut, told = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, 1.0)
    assert torch.equal(cut["samples"], latent["samples"][:, :, :3]) and told == "9 frames, 1.12 s"
    assert torch.equal(cut["noise_mask"], latent["noise_mask"][:, :, :3]) and cut["kept"] == "as it was"
    assert host.notices == ["8 frames → 9 (whole latent frames of 4)"]
    assert torch.equal(decoded(nodes, pocket, cut), decoded(nodes, pocket, latent)[:9])
    assert latent["samples"].shape[2] == 4  # a copy of the dict


@pytest.mark.parametrize("start, end, frames", [(0.5, 1.125, (4, 9)), (0.25, 0.0, (2, 11)), (-0.125, 0.0, (12, 13))])
def test_a_latent_cut_at_its_start_shows_the_same_frames(nodes, pocket, host, start, end, frames):
    latent, (first, last) = random_latent(4), frames
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, start, end)
    assert torch.equal(decoded(nodes, pocket, cut), decoded(nodes, pocket, latent)[first:last])
    assert cut["samples"].shape[2] == (last - first - 1) // 4 + 1
    assert not cut["noise_mask"].any() and cut["kept"] == "as it was"


def test_a_batch_cut_at_its_start_shows_each_of_its_own_videos(nodes, pocket, host):
    latent = random_latent(4, batch=2)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.5, 1.125)
    whole = decoded(nodes, pocket, latent).split(13)
    again = torch.cat([torch.cat(list(pocket.vae.encode_stream([one[4:9]])), 2) for one in whole])
    assert torch.equal(cut["samples"], again) and not {"noise_mask", "timeline"} & set(cut)
    assert "Decode shows what the VAE keeps of it" in host.notices[0]


@pytest.mark.parametrize("end", [34, 30, 20])  # in the new part, at the join, inside the clip
def test_a_cut_extension_keeps_the_clip_as_it_was(nodes, pocket, grid, end):
    video, pixels = video_of(30)
    latent, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", video=video)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, end / 8)
    frames = decoded(nodes, pocket, cut)
    kept = {34: 34, 30: 30, 20: 21}[end]
    assert len(frames) == kept and torch.equal(frames[:30], pixels[:kept])
    if end >= 30:
        assert torch.equal(cut["samples"], latent["samples"][:, :, : cut["samples"].shape[2]])


@pytest.mark.parametrize("end", [16, 18])  # inside the new part, at its end
def test_new_frames_before_a_clip_that_is_cut_off_stay_the_same(nodes, pocket, grid, host, end):
    (left, _), (right, _) = video_of(10), video_of(6, seed=1)
    latent, _ = build(nodes, "SpacetimeConnect", pocket.vae, grid, 1.0, 0.0, "cover", left, right)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, end / 8)
    frames = decoded(nodes, pocket, cut)
    assert len(frames) == 17 and torch.equal(frames, decoded(nodes, pocket, latent)[:17])


def test_nothing_cut_is_the_latent_itself(nodes, pocket, grid, host):
    video, _ = video_of(9)
    latent, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "backward", 1.0, 0.0, "cover", video=video)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, 0.0)
    assert cut is not latent and cut.keys() == latent.keys() and all(cut[key] is latent[key] for key in cut)


@pytest.mark.parametrize("start, end, frames", [(0.0, 1.125, (0, 9)), (0.5, 0.0, (4, 13))])
def test_a_cut_ring_is_a_ring_no_more_and_shows_the_same_frames(nodes, pocket, host, start, end, frames):
    latent, (first, last) = {**random_latent(4), "ring": True}, frames
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, start, end)
    assert torch.equal(decoded(nodes, pocket, cut), decoded(nodes, pocket, latent)[first:last]) and "ring" not in cut


def test_a_cut_inpainting_keeps_its_clip_and_its_hole(nodes, pocket, grid, host):
    video, pixels = video_of(13)
    box = (0.25, 0.25, 0.5, 0.5, 0.0, 0.0, 0, 0, 0, 0, 0, "cover")
    latent, _ = build(nodes, "SpacetimeMaskRegion", pocket.vae, grid, *box, video=video)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, 1.125)
    inside = torch.zeros(48, 48, dtype=torch.bool)
    inside[12:36, 12:36] = True
    frames = decoded(nodes, pocket, cut)
    assert torch.equal(frames, decoded(nodes, pocket, latent)[:9])
    assert torch.equal(frames[:, ~inside], pixels[:9, ~inside]) and not torch.equal(frames, pixels[:9])
    assert cut["timeline"][-1].last == 9 == len(cut["timeline"][-1].free)


def test_a_latent_without_a_rate_has_no_seconds(nodes, pocket):
    with pytest.raises(ValueError, match="no frame rate"):
        build(nodes, "SpacetimeTrimLatent", pocket.vae, {"samples": torch.zeros(1, 16, 3, 6, 6)}, 0.0, 0.5)
