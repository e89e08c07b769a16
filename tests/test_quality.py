"""Each figure is right about untouched clips of the world, and finds those that were tampered with."""

import gc
import random
import weakref
from dataclasses import replace

import pytest
import torch
from spacetime_nodes.spacetime import quality
from spacetime_nodes.spacetime.colour import ciede2000, lab
from spacetime_nodes.spacetime.flow import optical_flow
from spacetime_nodes.spacetime.quality import measure, seam_scores, wrap_scores
from spacetime_nodes.training import world

FRAMES, JOIN = 17, 9
THING = world.Thing("square", "red", "left", quick=True, x=0.7, y=0.5)


def drawn(frames=FRAMES, background="gray", **changed):
    scene = world.Scene(background, (replace(THING, **changed),), dapple=(0.3, 0.1))
    return world.render([scene], 64, 64, frames)[0]


def noise(like, levels):
    return levels / 255 * torch.randn(like.shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def clip():
    return drawn()


@pytest.fixture(scope="module")
def still(clip):
    return clip[:1].expand(FRAMES, -1, -1, -1)


@pytest.fixture(scope="module")
def real(clip):
    return measure([clip], [(4, 12)])


@pytest.fixture(scope="module")
def growing():
    """A clip whose picture changes without any fault: a shape grows from a twelfth of it to a quarter."""
    return measure([drawn(motion="grow", quick=False, x=0.5)], [(4, 12)])


ramp = torch.linspace(0, 1, FRAMES)[:, None, None, None]  # from the first frame to the last


# seams


def test_no_step_of_an_untouched_clip_stands_out(real):
    for join in range(5, 13):
        assert max(seam_scores(real, join).values()) < 1.5


def test_a_splice_stands_out_by_error_structure_and_flow():
    long = drawn(29, quick=False)
    scores = seam_scores(measure([long[:JOIN], long[21:]]), JOIN)
    assert min(scores[kind] for kind in ("error", "structure", "flow")) > 2, scores


def test_motion_that_stops_at_a_join_stands_out_by_flow_alone(clip):
    scores = seam_scores(measure([clip[:JOIN], clip[JOIN - 1 : JOIN].expand(8, -1, -1, -1)]), JOIN)
    assert scores["error"] <= 1 and scores["structure"] <= 1 and scores["flow"] > 2, scores


def test_a_frame_shown_twice_at_a_join_is_a_hitch(clip):
    scores = seam_scores(measure([clip[:JOIN], clip[JOIN - 1 : -1]]), JOIN)
    assert scores["error"] < 1 and scores["hitch"] > 2, scores


def test_a_still_clip_divides_by_the_floor(still):
    nudged = torch.cat([still[:JOIN], still[JOIN:] + 1 / 255])
    assert set(seam_scores(measure([still]), JOIN).values()) == {1.0}
    assert seam_scores(measure([nudged]), JOIN)["error"] == 1.0, "less than can be seen is no seam"
    jumped = seam_scores(measure([torch.cat([still[:JOIN], still[JOIN:] + 20 / 255])]), JOIN)
    assert jumped["error"] == pytest.approx(10, rel=0.01)


def test_the_walk_measures_what_the_functions_on_whole_clips_do(clip, real):
    assert seam_scores(real, 6)["error"] == pytest.approx(quality.seam_score(clip, 6))
    assert wrap_scores(real)["error"] == pytest.approx(quality.wrap_score(clip))
    for score in (lambda join: quality.seam_score(clip, join), lambda join: seam_scores(real, join)):
        for join in (0, FRAMES):
            with pytest.raises(ValueError, match=f"no join before frame {join} of 17 frames; it must be 1 to 16"):
                score(join)


# wrap


def test_a_loop_closes_and_a_cut_one_does_not():
    turn = drawn(12, motion="spin", quick=False, x=0.5)  # a quarter of a turn: a square looks as before
    whole, cut, doubled = (wrap_scores(measure([one])) for one in (turn, turn[:8], torch.cat([turn, turn[:1]])))
    assert max(whole.values()) < 1.5, whole
    assert max(cut["error"], cut["structure"], cut["flow"]) > 2, cut
    assert doubled["hitch"] > 2, "one frame twice is what makes loops stutter"


# dissolve


def test_a_cross_fade_is_found_and_motion_is_none(clip, real, growing):
    weight = torch.linspace(0, 1, 9)[:, None, None, None]
    faded = torch.cat([clip[:4], torch.lerp(clip[4], clip[12], weight), clip[13:]])
    slow = torch.cat([clip[:4], torch.lerp(clip[4], clip[12], weight**2) + noise(clip[4:13], 2), clip[13:]])
    assert measure([faded], [(4, 12)]).dissolves[0].found
    assert measure([slow], [(4, 12)]).dissolves[0].found, "whatever its pace, and with the noise of a codec"
    assert not real.dissolves[0].found and not growing.dissolves[0].found


def test_frames_that_go_to_and_fro_between_two_are_no_cross_fade(clip):
    weight = torch.tensor([0.1, 0.9, 0.1, 0.9, 0.1, 0.9, 0.5])[:, None, None, None]
    residual, monotone, distinct = quality.cross_fade(clip[4], clip[12], torch.lerp(clip[4], clip[12], weight))
    assert residual < 0.01 and distinct and not monotone


def test_two_ends_alike_are_no_cross_fade(still):
    dissolve = measure([still], [(4, 12)]).dissolves[0]
    assert not dissolve.distinct and not dissolve.found


# drift


def test_what_moves_or_grows_is_no_drift_of_colour(real, growing):
    for measures in (real, growing):
        assert quality.drift(measures)["colour"] < 1
    assert quality.drift(real)["contrast"] == pytest.approx(1, abs=0.15)
    assert quality.drift(real)["texture"] == pytest.approx(1, abs=0.15)


def test_a_tint_that_creeps_in_is_measured_in_ciede2000(clip):
    tinted = clip + ramp * torch.tensor([0.06, 0.0, -0.03])
    assert quality.drift(measure([tinted]))["colour"] > 5


def test_saturation_that_climbs_is_a_drift_of_colour():
    clip = drawn(background="beige")
    grey = clip.mean(-1, keepdim=True)
    burnt = (grey + (clip - grey) * (1 + 0.4 * ramp)).clamp(0, 1)
    assert quality.drift(measure([clip]))["colour"] < 1 < 2.5 < quality.drift(measure([burnt]))["colour"]


def test_contrast_and_texture_that_compound_are_measured(clip):
    harder = quality.drift(measure([(0.45 + (clip - 0.45) * (1 + 0.5 * ramp)).clamp(0, 1)]))
    assert harder["contrast"] > 1.3
    grainy = quality.drift(measure([(clip + ramp * noise(clip, 5)).clamp(0, 1)]))
    assert grainy["texture"] > 1.5
    assert quality.drift(measure([clip.flip(0) + (1 - ramp) * noise(clip, 5)]))["texture"] < 1 / 1.5


# flicker


def test_flicker_is_found_where_it_is(clip, real):
    assert quality.flicker(real)[0] < 0.2
    late = clip.clone()
    late[11::2] += 0.02
    level, first = quality.flicker(measure([late]))
    assert level > 2 and first in range(7, 12)


def test_a_steady_fade_does_not_flicker(still):
    assert quality.flicker(measure([still * (1 - 0.5 * ramp)]))[0] < 0.01


# motion and order


def test_a_frozen_clip_does_not_move_whatever_is_laid_over_it(real, still):
    assert quality.motion(real, 8.0) > 5
    assert quality.motion(measure([still]), 8.0) == 0
    blinking = still + 0.02 * (torch.arange(FRAMES) % 3 == 0).float()[:, None, None, None]
    cut, brightening = torch.cat([still[:8], 1 - still[8:]]), still + 0.1 * ramp
    for disguised in (still + noise(still, 2), blinking, cut, brightening):
        assert quality.motion(measure([disguised]), 8.0) < 0.5


def test_twice_as_fast_moves_twice_as_much():
    slow, quick = (measure([drawn(quick=quick)]) for quick in (False, True))
    assert quality.motion(slow, 16.0) == pytest.approx(2 * quality.motion(slow, 8.0))
    assert quality.motion(quick, 8.0) > 1.5 * quality.motion(slow, 8.0)


def test_shuffled_frames_lead_no_further_in_two_steps_than_in_one(clip, real):
    order = list(range(FRAMES))
    random.Random(1).shuffle(order)
    shuffled = measure([clip[order]])
    assert quality.coherence(real) > 1.3 and quality.coherence(shuffled) < 1.15
    assert quality.motion(shuffled, 8.0) < quality.motion(real, 8.0), "disorder is not motion"


def test_nothing_has_no_order(still):
    assert quality.coherence(measure([still])) is None


# the walk


def test_chunks_of_any_size_give_the_same_figures(clip, real):
    seen = []
    again = measure(clip.split(5), [(4, 12)], seen.append)
    assert len(again) == len(real) == FRAMES and seen == list(range(1, FRAMES + 1))
    for name in ("error", "structure", "speed", "turn", "near", "far", "luminance", "texture", "shades"):
        assert torch.equal(getattr(again, name), getattr(real, name)), name
    assert again.dissolves == real.dissolves


def test_no_more_than_three_frames_are_ever_held():
    alive, most = weakref.WeakSet(), 0

    def frames():
        nonlocal most
        for at in range(12):
            frame = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(at))
            alive.add(frame.untyped_storage())
            yield frame
            del frame
            gc.collect()
            most = max(most, len(alive))

    assert len(measure(frames(), [(2, 9)])) == 12
    assert most <= 3


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_clips_have_figures_too(clip, frames):
    measures = measure([clip[:frames]])
    assert len(measures) == frames and set(wrap_scores(measure([clip[:1]])).values()) == {1.0}
    assert quality.flicker(measures)[0] < 1 and quality.drift(measures)["colour"] < 1
    assert quality.motion(measures, 8.0) == 0 or frames == 3


def test_what_is_no_picture_is_one_clear_line(clip):
    broken = clip.clone()
    broken[3, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="frame 3 has pixels that are no numbers"):
        measure([broken])
    with pytest.raises(ValueError, match="the video has no frames"):
        measure([])
    with pytest.raises(ValueError, match="no join before frame 20 of 17 frames"):
        measure([clip], [(4, 20)])


# what the figures stand on

PAIRS = [  # Sharma, Wu & Dalal 2005, table 1
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0009, -2.49), 4.8045),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize("a, b, difference", PAIRS)
def test_ciede2000_gives_the_figures_of_its_paper(a, b, difference):
    a, b = torch.tensor(a), torch.tensor(b)
    assert ciede2000(a, b).item() == ciede2000(b, a).item() == pytest.approx(difference, abs=1e-4)


def test_lab_of_known_colours():
    rgb = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0.5, 0.5, 0.5]])
    known = torch.tensor([[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [53.39, 0, 0]])
    assert torch.allclose(lab(rgb), known, atol=0.02)


def test_optical_flow_finds_a_known_shift():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")

    def pattern(x, y):
        return (0.5 + 0.2 * torch.sin(x / 4 + y / 9) + 0.2 * torch.cos(y / 5 - x / 11))[None, None]

    flow = optical_flow(pattern(x, y), pattern(x - 6.5, y + 2.25))[0, :, 8:-8, 8:-8]
    assert torch.allclose(flow.mean((1, 2)), torch.tensor([6.5, -2.25]), atol=0.1)
    assert optical_flow(pattern(x, y), pattern(x, y)).abs().max() < 1e-4
