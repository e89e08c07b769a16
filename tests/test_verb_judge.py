"""What judges the verbs: right about real clips, and it finds what was spoiled."""

import pytest
import torch
from spacetime_nodes.training import verbs, world
from spacetime_nodes.training.evaluate import Pocket
from spacetime_nodes.training.judge import compare, look, track

THING = world.Thing("circle", "orange", "right", radius=0.16, x=0.3, y=0.5)
SCENE = world.Scene("navy", (THING,))


def test_a_thing_is_followed_where_it_is():
    clip = world.render([SCENE], 64, 64, 17)[0]
    path = torch.tensor(world.trajectory(SCENE, 0, 64, 64, 17))[:, :2]
    assert (track(clip, "navy", "orange") - path).abs().max() < 0.01
    assert track(clip, "navy", "cyan").isnan().all()
    assert verbs.correlation(track(clip, "navy", "orange")[:, 0], path[:, 0]) > 0.99
    assert verbs.correlation(track(clip.flip(0), "navy", "orange")[:, 0], path[:, 0]) < 0
    assert verbs.correlation(path[:, 1], path[:, 1]) == 0  # what stands still has no course to keep


def test_a_border_in_the_picture_stands_out():
    clip = world.render([SCENE], 64, 64, 17)[0]
    assert verbs.border_seam(clip, 2, 40) < 1.3 and verbs.border_seam(clip, 1, 56) < 1.3
    spoiled = clip.clone()
    spoiled[:, :, 40:] = (spoiled[:, :, 40:] + 0.1).clamp(0, 1)
    assert verbs.border_seam(spoiled, 2, 40) > 2


def test_what_is_kept_and_what_goes_on():
    clip, real = world.render([SCENE], 64, 64, 9)[0], verbs.footage(SCENE, 9)
    assert verbs.kept(clip, SCENE) and verbs.same_motion(clip, real)
    assert not verbs.kept(clip[..., [2, 1, 0]], SCENE) and not verbs.same_motion(clip.flip(0), real)
    assert not verbs.same_motion(torch.zeros_like(clip), real)
    assert (real * 255 - (real * 255).round()).abs().max() < 1e-4


def test_two_cards_can_be_shown_and_are_told_apart():
    cards = verbs.two_cards(60)
    shown = [[look(world.render([card], 64, 64, 17)[0]) for card in pair] for pair in cards]
    right = [compare(seen, card)["all four"] for pair, sights in zip(cards, shown, strict=True)
             for seen, card in zip(sights, pair, strict=True)]  # fmt: skip
    mistaken = [compare(seen, card)["all four"] for pair, sights in zip(cards, shown, strict=True)
                for seen, card in zip(sights, reversed(pair), strict=True)]  # fmt: skip
    assert sum(right) >= 0.98 * len(right) and sum(mistaken) <= 0.02 * len(mistaken)
    for first, second in cards:
        end = world.trajectory(first, 0, 64, 64, 17)[-1]
        assert (second.things[0].x, second.things[0].y) == end[:2]


def test_shares_and_middles():
    assert verbs.share([True, False, True, True]) == 75.0
    assert (verbs.middle([1, 9, 2]), verbs.most([*range(1, 101)])) == (2, 95)


@pytest.fixture(scope="module")
def pocket_parts():
    return Pocket()


@pytest.mark.parametrize("verb", ["image to video", "extend both ways", "outpaint"])
def test_a_verb_is_measured_through_the_nodes(pocket_parts, verb):
    (figures,) = verbs.evaluate(pocket_parts, 1, [verb]).values()
    exact = {key: value for key, value in figures.items() if "exact" in key}
    assert len(exact) == 1 and set(exact.values()) == {100.0}


def test_a_frame_that_a_loop_shows_twice_is_found_though_it_isnt_bit_for_bit():
    clip = world.render([SCENE], 64, 64, 8)[0]
    ring = torch.cat([clip, clip[1:-1].flip(0)])  # there and back
    twice = torch.cat([ring, ring[:1] + 1e-4])
    for loop, wanted in ((ring, False), (twice, True)):
        assert verbs.shown_twice(verbs.quality.frame_distances(torch.cat([loop, loop[:1]]))) is wanted
