"""Recut: the part that is kept stands where it was, the rest is made anew."""

import math

import pytest
import torch
from spacetime_nodes.spacetime import canvas, recut, timeline

from .conftest import build, video_of


def flat_encoder(factor=4):
    """A VAE that keeps nothing but how many frames it saw."""

    def stream(chunks):
        count = sum(len(chunk) for chunk in chunks)
        assert (count - 1) % factor == 0
        return (torch.zeros(1, 16, 1, 1, 1) for _ in range((count - 1) // factor + 1))

    return canvas.Encoder(factor, stream)


def empty(latent_frames):
    return {"samples": torch.zeros(1, 16, latent_frames, 1, 1), "fps": 8.0}


def places(spans):
    """[(frame of the video at which a source begins, its Part)]."""
    at, found = 0, []
    for span in spans:
        if span.source:
            found.append((at, span.source))
        at += span.frame_count
    return found


@pytest.mark.parametrize("count", [*range(1, 11), 16, 17])
def test_whatever_is_kept_of_whatever_clip_stands_where_it_was(count):
    clip, _ = video_of(count, size=8)
    for first, last in ((a, b) for a in range(count) for b in range(a + 1, count + 1)):
        try:
            latent = recut.recut(clip, first, last, flat_encoder(), empty)
        except ValueError as error:
            assert "nothing is left to make anew" in str(error) and first < 5 and count - last < 6
            continue
        ((at, kept),) = places(latent["timeline"])
        assert at == kept.first <= first and kept.last >= last and last - first + 6 >= kept.frame_count
        assert abs(timeline.frame_count(latent["timeline"]) - count) <= 2
        free = latent["noise_mask"][0, 0, :, 0, 0]
        assert free.any() and not free.all() and latent["timeline"][-1].last == (len(free) - 1) * 4 + 1


@pytest.mark.parametrize(
    "start, end, kept, total", [(1.0, 1.5, (5, 13), 17), (0.0, 0.5, (0, 5), 17), (-0.5, 0.0, (13, 17), 17)]
)
def test_recut_keeps_the_part_and_makes_the_rest_anew(nodes, pocket, grid, watch, host, start, end, kept, total):
    video, pixels = video_of(17)
    asked = (start, end, "same", 0.0, 0.0, 0.0, "cover")
    latent, told = build(nodes, "SpacetimeRecut", pocket.vae, grid, *asked, video=video)
    frames, (first, last) = watch(latent), kept
    assert torch.equal(frames[first:last], pixels[first:last]) and len(frames) == total
    assert all(not torch.equal(frames[i], pixels[i]) for i in range(total) if not first <= i < last)
    assert told == f"{total} frames, 2.12 s; {total - last + first} of them new"
    grown = last - first - round(((end or 2.125) - start) * 8) if start >= 0 else 0
    assert any("are kept for" in notice for notice in host.notices) == bool(grown)


def test_recut_takes_a_length_before_and_after(nodes, pocket, grid, watch):
    video, pixels = video_of(17)
    asked = (0.5, 1.25, "chosen", 1.0, 0.5, 0.0, "cover")
    latent, told = build(nodes, "SpacetimeRecut", pocket.vae, grid, *asked, video=video)
    frames = watch(latent)
    assert torch.equal(frames[9:15], pixels[4:10]) and len(frames) == 9 + 6 + 4
    assert told == "19 frames, 2.38 s; 13 of them new"


@pytest.mark.parametrize("before, after", [(math.nan, 1.0), (1.0, math.inf), (-1.0, 1.0)])
def test_new_video_that_cannot_be_is_one_clear_line_before_anything_is_loaded(nodes, before, after):
    with pytest.raises(ValueError, match="before .* s and after .* s can't be; both are seconds from 0 on"):
        nodes["SpacetimeRecut"]().plan(None, None, 0.0, 0.0, "chosen", before, after, 0.0, "cover")


@pytest.mark.parametrize("before, after", [(1.0, 0.5), (0.0, 1.0), (1.5, 0.0)])
def test_a_dry_run_tells_the_canvas_of_a_recut(nodes, pocket, grid, before, after):
    planned = nodes["SpacetimeGrid"]().plan(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9)["result"][0]
    asked = (0.0, 0.0, "chosen", before, after, 0.0, "cover")
    done, _ = build(nodes, "SpacetimeRecut", pocket.vae, grid, *asked, video=video_of(30)[0])
    plan = nodes["SpacetimeRecut"]().plan(pocket.vae, planned, *asked)
    assert plan["result"][0]["shape"] == list(done["samples"].shape)
    whole = nodes["SpacetimeRecut"]().plan(pocket.vae, planned, 0.0, 0.0, "same", *asked[3:])[0]
    assert whole["assumed"] and whole["shape"] == planned["shape"], "how long the video is, only the run knows"
    assert nodes["SpacetimeRecut"]().plan(pocket.vae, None, *asked) == (None,)


def test_a_recut_that_keeps_everything_is_one_clear_line(nodes, pocket, grid):
    for video, asked in ((video_of(9)[0], "same"), (video_of(1)[0], "same"), (video_of(9)[0], "chosen")):
        with pytest.raises(ValueError, match="nothing (is left to make anew|to extend by)"):
            build(nodes, "SpacetimeRecut", pocket.vae, grid, 0.0, 0.0, asked, 0.0, 0.0, 0.0, "cover", video=video)
