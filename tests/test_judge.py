"""The judge must be right about real clips before it may judge generated ones."""

import random

import torch
from spacetime_nodes.spacetime.quality import seam_score, wrap_score
from spacetime_nodes.training import world
from spacetime_nodes.training.evaluate import evaluate_judge, rates
from spacetime_nodes.training.judge import compare, look


def test_the_judge_is_right_on_real_clips_and_at_chance_on_shuffled_captions():
    table = evaluate_judge(60)
    for key in ("background", "colour", "shape", "motion", "all four"):
        assert table["real clips"][key] >= 98, table["real clips"]
    assert table["shuffled"]["all four"] <= 3
    assert table["shuffled"]["background"] <= 45  # one in four by chance


def test_a_wrong_clip_is_found_wrong_in_just_that():
    thing = world.Thing("square", "green", "right", x=0.35, y=0.5)
    scene = world.Scene("gray", (thing,))
    clip = world.render([scene], 64, 64, 17)[0]
    assert compare(look(clip), scene)["in full"]
    assert not compare(look(clip.flip(0)), scene)["motion"]  # played backwards
    assert not compare(look(clip[..., [1, 0, 2]]), scene)["colour"]  # red and green swapped
    darker = world.render([world.Scene("black", (thing,))], 64, 64, 17)[0]
    assert not compare(look(darker), scene)["background"]
    empty = world.render([world.Scene("gray", (world.Thing("square", "green", x=9.0),))], 64, 64, 17)[0]
    assert rates([compare(look(empty), scene)]) == {
        "background": 100, "colour": 0, "shape": 0, "motion": 0, "speed": 0, "size": 0, "all four": 0, "in full": 0,
    }  # fmt: skip


def test_seams_and_wraps_stand_out():
    scene = world.sample_scene(random.Random(2), width=64, height=64, frames=33, things=1, motions=("left",), pan=0.0)
    clip = world.render([scene], 64, 64, 33)[0]
    assert seam_score(clip, 16) < 1.25
    spliced = torch.cat([clip[:16], clip[22:]])
    assert seam_score(spliced, 16) > 2
    still = clip[:1].expand(9, -1, -1, -1)
    assert seam_score(still, 4) == 1.0 and wrap_score(still) == 1.0
    assert wrap_score(clip) > 2
    there_and_back = torch.cat([clip[:9], clip[1:8].flip(0)])
    assert wrap_score(there_and_back) < 1.25
