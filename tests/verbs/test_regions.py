"""Which part of a clip is made anew: a box, a mask, a span of seconds, new picture around it."""

import pytest
import torch
from clips import video_of
from spacetime_nodes.media.video import StreamVideo

from .conftest import build, mask_region


@pytest.mark.parametrize("feather", [0, 3])
def test_inpainting_leaves_every_pixel_outside_the_box_bit_for_bit(nodes, pocket, grid, watch, feather):
    video, pixels = video_of(9)
    latent, told = mask_region(nodes, pocket, grid, video=video, feather=feather)
    frames = watch(latent)
    inside = torch.zeros(48, 48, dtype=torch.bool)
    inside[12:36, 12:36] = True
    assert torch.equal(frames[:, ~inside], pixels[:, ~inside]) and told == "9 frames; 44% of the cells are made anew"
    assert (frames[:, 20:28, 20:28] != pixels[:, 20:28, 20:28]).float().mean() > 0.9


def test_a_span_of_seconds_leaves_the_frames_outside_it(nodes, pocket, grid, watch):
    video, pixels = video_of(9)
    frames = watch(mask_region(nodes, pocket, grid, video=video, start=0.5, end=1.0)[0])
    assert torch.equal(frames[:4], pixels[:4]) and torch.equal(frames[8], pixels[8])
    assert not torch.equal(frames[5], pixels[5])


def test_a_mask_says_which_pixels(nodes, pocket, grid, watch, host):
    video, pixels = video_of(9)
    mask = torch.zeros(1, 24, 24)
    mask[:, :, 12:] = 1
    frames = watch(mask_region(nodes, pocket, grid, video=video, mask=mask)[0])
    assert torch.equal(frames[:, :, :24], pixels[:, :, :24]) and not torch.equal(frames[:, :, 24:], pixels[:, :, 24:])
    assert host.notices == ["the mask: 24×24 → 48×48", "known cells go in clean, at time 0"]
    with pytest.raises(ValueError, match="3 masks for 9 frames; one, or one a frame"):
        mask_region(nodes, pocket, grid, video=video, mask=torch.zeros(3, 48, 48))


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("drawn", [1, 2])
def test_a_mask_goes_where_the_picture_goes(nodes, pocket, grid, fit, drawn):
    """A white bar on a wide clip, and the mask drawn over it; drawn: at so many times the clip's size."""
    wide = torch.zeros(9, 48, 96, 3)
    wide[:, 8:40, 20:60] = 1
    video = StreamVideo(lambda: iter([wide]), width=96, height=48, frame_count=9, fps=8)
    mask = wide[:1, ..., 0].repeat_interleave(drawn, 1).repeat_interleave(drawn, 2)
    latent, _ = mask_region(nodes, pocket, grid, video=video, mask=mask, fit=fit)
    free, source = latent["timeline"][0].free, torch.cat(list(latent["timeline"][0].source.frames()))
    shown = slice(12, 36) if fit == "contain" else slice(48)  # rows; the others are a blur behind it
    white, asked = source[:, shown].mean(-1) > 0.5, free.stacked() > 0
    assert white[0].sum() > 200 and torch.equal(asked[:, shown], white) and asked.sum() == white.sum()


def test_a_mask_a_frame_of_the_clip_is_one_a_frame_of_the_canvas(nodes, pocket, grid):
    video, pixels = video_of(27, fps=24.0)
    mask = torch.zeros(27, 48, 48)
    mask[torch.arange(27), torch.arange(27)] = 1  # row i in frame i
    latent, _ = mask_region(nodes, pocket, grid, video=video, mask=mask)
    free, source = latent["timeline"][0].free, torch.cat(list(latent["timeline"][0].source.frames()))
    assert len(free) == len(source) == 9
    for region, frame in zip(free, source, strict=True):
        (shown,) = [i for i in range(27) if torch.equal(frame, pixels[i])]
        assert region[shown].all() and region.sum() == 48


def test_one_box_for_a_long_clip_is_held_once(nodes, pocket, grid):
    video, _ = video_of(33)
    for span, pictures in (({}, 1), ({"start": 1.0, "end": 2.0}, 2)):
        latent, _ = mask_region(nodes, pocket, grid, video=video, **span)
        for region in (latent["timeline"][0].free, latent["shown"][0].free):
            assert len(region) == 33 and len(region.pictures) == pictures


def test_outpainting_grows_the_canvas_around_the_clip(nodes, pocket, grid, watch):
    video, pixels = video_of(9)
    frames = watch(mask_region(nodes, pocket, grid, video=video, left=16, bottom=32)[0])
    assert frames.shape == (9, 80, 64, 3) and torch.equal(frames[:, :48, 16:], pixels)
    with pytest.raises(ValueError, match="multiples of 16"):
        mask_region(nodes, pocket, grid, video=video, left=8)


@pytest.mark.parametrize("span", [(1.0, 0.5), (2.0, 3.0), (0.0, 9.0)])
def test_a_span_outside_the_clip_is_one_clear_line(nodes, pocket, grid, span):
    video, _ = video_of(9)
    with pytest.raises(ValueError, match="is no span of a clip of 1.125 s"):
        mask_region(nodes, pocket, grid, video=video, start=span[0], end=span[1])


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("Place Frames.time=later", "time 'later' can't be; start, end, or seconds such as 1.5"),
        ("Place Frames.time=nan", "time 'nan' can't be"),
        ("Mask Region.left=8", "must be multiples of 16"),
        ("Mask Region.start=2.0", "2–1 s is no span; it must start before it ends"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(nodes, setting, why, capsys):
    from spacetime_nodes.host.cli import main

    node, end = setting.partition(".")[0], ["--set", "Mask Region.end=1.0"]
    graph = {"Place Frames": "image_to_video", "Mask Region": "inpaint_video"}[node]
    more = end if node == "Mask Region" else []
    assert main(["run", f"workflows/{graph}.json", "--dry-run", *more]) == 0
    capsys.readouterr()
    assert main(["run", f"workflows/{graph}.json", "--dry-run", *more, "--set", setting]) != 0
    told = capsys.readouterr().err
    assert why in told and len(told.splitlines()) == 1


def test_an_empty_mask_is_refused(nodes, pocket, grid):
    video, _ = video_of(9)
    with pytest.raises(ValueError, match="empty"):
        mask_region(nodes, pocket, grid, video=video, mask=torch.zeros(1, 48, 48))


def test_a_masked_restyle_leaves_every_pixel_outside_the_mask_bit_for_bit(nodes, pocket, grid, watch):
    video, pixels = video_of(9)
    mask = torch.zeros(1, 48, 48)
    mask[:, 16:32, :24] = 1
    latent, _ = build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.8, "cover", video=video, mask=mask, feather=0)
    frames, outside = watch(latent), mask[0] == 0
    assert latent["denoise"] == 0.8 and (latent["noise_mask"] < 1).any()
    assert torch.equal(frames[:, outside], pixels[:, outside])
    assert (frames[:, ~outside] != pixels[:, ~outside]).float().mean() > 0.9
    with pytest.raises(ValueError, match="the region to make anew is empty"):
        build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.8, "cover", video=video, mask=torch.zeros(1, 48, 48))
