"""Blend: from one clip to another along a curve."""

import math

import pytest
import torch
from spacetime_nodes.spacetime import curves

from .conftest import build, video_of


def blended(nodes, pocket, grid, first, second, curve="linear", keypoints="", strength=0.7, keep=True):
    return build(nodes, "SpacetimeBlend", pocket.vae, grid, curve, keypoints, strength, keep, "cover", first, second)


def test_a_blend_begins_as_the_first_clip_and_ends_as_the_second(nodes, pocket, grid, watch, host):
    (first, a), (second, b) = video_of(17), video_of(17, seed=1)
    latent, told = blended(nodes, pocket, grid, first, second, "custom", "0:0, 0.5:0, 1.5:1")
    frames = watch(latent)
    assert latent["denoise"] == 0.7 and told == "17 frames, 2.12 s" and len(frames) == 17
    assert torch.equal(frames[:5], a[:5]) and torch.equal(frames[9:], b[9:])
    assert not any(torch.equal(frames[i], clip[i]) for clip in (a, b) for i in range(5, 9))


def test_without_keep_ends_the_whole_mix_is_sampled(nodes, pocket, grid, watch):
    (first, a), (second, b) = video_of(9), video_of(9, seed=1)
    latent, _ = blended(nodes, pocket, grid, first, second, strength=1.0, keep=False)
    assert not {"noise_mask", "timeline"} & set(latent)
    frames = watch(latent)
    assert not torch.equal(frames[0], a[0]) and not torch.equal(frames[-1], b[-1])


def test_what_counts_for_nothing_leaves_no_trace(nodes, pocket, grid):
    (first, a), (second, b) = video_of(9), video_of(9, seed=1)
    latent, _ = blended(nodes, pocket, grid, first, second, keep=False)
    for at, clip in ((0, a), (2, b)):
        alone = torch.cat(list(pocket.vae.encode_stream([clip])), 2)
        assert torch.equal(latent["samples"][:, :, at], alone[:, :, at])


def test_a_blend_is_as_long_as_the_shorter_clip_and_says_so(nodes, pocket, grid, host):
    (first, _), (second, _) = video_of(17), video_of(24, size=64, fps=16.0, seed=1)
    first.audio = second.audio = None
    latent, _ = blended(nodes, pocket, grid, first, second)
    assert latent["samples"].shape[2] == 3 and host.notices == [
        "the clip: 16 frames per second → 8",
        "the clip: 64×64 → 48×48 (cover)",
        "17 and 12 frames → 9: as long as the shorter (4k+1)",
    ]


def test_at_a_jump_from_clip_to_clip_the_model_has_room(nodes, pocket, grid):
    (first, _), (second, _) = video_of(25), video_of(25, seed=1)
    latent, _ = blended(nodes, pocket, grid, first, second, "step")
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert [(span.first, span.last) for span in latent["timeline"]] == [(0, 5), (5, 13), (13, 25)]


def test_a_blend_that_leaves_nothing_or_cannot_be_is_one_clear_line(nodes, pocket, grid):
    (first, _), (second, _), (short, _) = video_of(9), video_of(9, seed=1), video_of(4)
    for asked, says in (
        ({"curve": "custom", "keypoints": "0:1"}, "no frame is left to make"),
        ({"strength": 1.5}, "strength 1.5 can't be"),
        ({"strength": math.nan}, "strength nan can't be"),
        ({"second": short}, "9 and 4 frames are too short to blend; at least 5"),
        ({"curve": "custom", "keypoints": "0:0, 2:1"}, "2 s lies behind the end of the blend, which is 1.125 s long"),
        ({"curve": "zigzag"}, "curve 'zigzag' can't be; one of linear, "),
    ):
        with pytest.raises(ValueError, match=says) as error:
            blended(nodes, pocket, grid, **{"first": first, "second": second, **asked})
        assert "\n" not in str(error.value)


def test_a_batch_of_the_grid_is_a_batch_of_blends(nodes, pocket, host):
    grid = nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9, 2)["result"][0]
    video, _ = video_of(9)
    assert len(blended(nodes, pocket, grid, video, video)[0]["samples"]) == 2


@pytest.mark.parametrize("curve", curves.CURVES)
def test_every_curve_goes_from_the_first_clip_to_the_second(curve):
    drawn = curves.weights(curve, "", 9, 0.5, 4.1)
    assert drawn[0] == 0 and drawn[-1] == 1 and drawn == sorted(drawn)
    steep = [b - a for a, b in zip(drawn, drawn[1:], strict=False)]
    shapes = {
        "linear": steep == [0.125] * 8,
        "smooth": steep[0] == steep[-1] < steep[4],
        "ease in": steep == sorted(steep) and steep[0] < steep[1],
        "ease out": steep == sorted(steep, reverse=True) and steep[0] > steep[1],
        "step": steep.count(0) == 7,
    }
    assert shapes[curve]


def test_a_curve_of_ones_own_goes_straight_from_point_to_point():
    drawn = curves.weights("custom", " 0.5:0.2, 1:0.6,1:1 , 2.1:0", 5, 0.5, 2.125)
    assert drawn == pytest.approx([0.2, 0.2, 1, 0.5, 0])  # the last, behind the last latent frame, counts there
    assert curves.weights("custom", "0:0.25", 3, 0.5, 1) == [0.25] * 3


@pytest.mark.parametrize(
    "keypoints, says",
    [
        ("", "'' can't be read; write time:weight"),
        ("0:0,", "'' can't be read"),
        ("0:0, 1", "'1' can't be read"),
        ("0:0:0", "can't be read"),
        ("0;0", "can't be read"),
        ("x" * 1000, "'x{40}' can't be read"),
        ("nan:0", "'nan:0' can't be; seconds"),
        ("inf:0", "can't be; seconds"),
        ("0:nan", "can't be; seconds"),
        ("0:1.1", "a weight from 0 to 1"),
        ("-1:0", "seconds from 0 on"),
        ("1:0, 0.5:1", "'0.5:1' comes after 1 s; times only rise"),
    ],
)
def test_a_malformed_curve_is_one_clear_line_before_anything_is_loaded(nodes, keypoints, says):
    with pytest.raises(ValueError, match=says) as error:
        nodes["SpacetimeBlend"]().plan(None, None, "custom", keypoints, 0.7, True, "cover")
    assert "\n" not in str(error.value)


def test_choices_that_graphs_have_saved_stay(nodes):
    choices = {node: nodes[f"Spacetime{node}"].INPUT_TYPES()["required"] for node in ("Recut", "Blend")}
    assert choices["Recut"]["length"][0][:2] == ["same", "chosen"]
    assert choices["Blend"]["curve"][0] == ["linear", "smooth", "ease in", "ease out", "step", "custom"]


def test_a_curve_that_is_not_asked_for_is_not_read(nodes):
    assert nodes["SpacetimeBlend"]().plan(None, None, "smooth", "nonsense", 0.7, True, "cover") == (None,)
