"""The pocket world: what its scenes, pictures and captions promise."""

import random

import pytest
import torch
from spacetime_nodes.training import train_dit, world
from spacetime_nodes.training.judge import compare, look


def scene(**thing) -> world.Scene:
    return world.Scene("black", (world.Thing(**{"shape": "circle", "colour": "red", **thing}),))


def test_a_seed_means_the_same_clip():
    draws = [world.sample_scene(random.Random(5), width=64, height=64, frames=17) for _ in range(2)]
    assert draws[0] == draws[1]
    clips = [world.render([s], 64, 64, 17) for s in draws]
    assert torch.equal(*clips)
    other = world.sample_scene(random.Random(6), width=64, height=64, frames=17)
    assert not torch.equal(world.render([other], 64, 64, 17), clips[0])


def test_held_out_combinations_are_one_in_ten_and_never_trained_on():
    kinds = [(c, s, m) for c in world.COLOURS for s in world.SHAPES for m in world.MOTIONS]
    assert sum(world.held_out(*kind) for kind in kinds) == 26
    rng = random.Random(0)
    for split, expected in (("train", False), ("held_out", True)):
        for _ in range(300):
            drawn = world.sample_scene(rng, width=64, height=64, frames=17, split=split)
            assert all(world.held_out(t.colour, t.shape, t.motion) == expected for t in drawn.things)


@pytest.mark.parametrize(("width", "height", "frames"), [(48, 48, 1), (128, 64, 9), (64, 112, 33), (96, 80, 5)])
def test_any_size_length_and_aspect(width, height, frames):
    rng = random.Random(1)
    drawn = [world.sample_scene(rng, width=width, height=height, frames=frames) for _ in range(3)]
    clips = world.render(drawn, width, height, frames)
    assert clips.shape == (3, frames, height, width, 3)
    assert clips.min() >= 0 and clips.max() <= 1
    assert (clips - clips[:, :1, :1, :1]).abs().amax(dim=(1, 2, 3, 4)).min() > 0.1  # something is there


def test_edges_are_antialiased_to_the_true_area():
    circle = scene(radius=0.2, x=0.503, y=0.497)
    cover = world.render_with_coverage([circle], 64, 64, 1)[1]
    assert cover.sum().item() == pytest.approx(torch.pi * (0.2 * 64) ** 2, rel=0.01)
    partly = ((cover > 0.05) & (cover < 0.95)).sum()
    assert partly > 40


def test_a_clip_means_the_same_at_every_size():
    drawn = scene(motion="right", quick=True, x=0.3)
    small, large = (world.render([drawn], side, side, 9)[0] for side in (48, 96))
    large = torch.nn.functional.avg_pool2d(large.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    assert (small - large).abs().mean() < 0.005


def test_moving_things_stay_in_the_frame():
    rng = random.Random(3)
    for _ in range(50):
        drawn = world.sample_scene(rng, width=64, height=64, frames=81, things=1, pan=0.0)
        radius = max(r for _, _, r, _ in world.trajectory(drawn, 0, 64, 64, 81))
        if radius < 0.2:
            for x, y, _, _ in world.trajectory(drawn, 0, 64, 64, 81):
                assert 0.05 < x < 0.95 and 0.05 < y < 0.95


@pytest.mark.parametrize("motion", world.MOTIONS)
def test_things_do_what_the_caption_says(motion):
    drawn = scene(shape="star", motion=motion, x=0.5, y=0.5, radius=0.14 if motion != "shrink" else 0.22)
    right = compare(look(world.render([drawn], 64, 64, 17)[0]), drawn)
    assert right["in full"], right


def test_captions_say_what_is_judged_and_stay_within_the_vocabulary():
    tokenizer, rng = train_dit.build_tokenizer(), random.Random(4)
    for _ in range(300):
        drawn = world.sample_scene(rng, width=64, height=64, frames=17, split="all")
        for style in ("plain", "short", "long", "mixed"):
            text = world.caption(drawn, rng, style)
            assert tokenizer.unk_token_id not in tokenizer(text).input_ids, text
            assert "a orange" not in text.lower()
            assert all(t.colour in text.lower() for t in drawn.things)
        plain = world.caption(drawn)
        assert drawn.background in plain and all(t.shape in plain for t in drawn.things)
        assert ("camera" in plain) == (drawn.camera != "still")


def test_short_captions_are_short():
    assert world.caption(scene(motion="right"), style="short") in (
        "red circle moving right",
        "red circle moving right on a black background",
    )


def test_simple_scenes_have_one_thing_one_motion_and_a_still_camera():
    rng = random.Random(0)
    scenes = [world.sample_scene(rng, width=64, height=64, frames=17, **world.SIMPLE) for _ in range(60)]
    assert {len(s.things) for s in scenes} == {1} and {s.camera for s in scenes} == {"still"}
    assert {s.things[0].motion for s in scenes} == {"still", "left", "right", "up", "down"}


def test_shapes_stand_upright():
    """A square's sides are the picture's, a triangle and a star point up."""
    for shape in ("square", "triangle", "star"):
        thing = world.Thing(shape, "white", radius=0.2)
        clip = world.render([world.Scene("black", (thing,))], 64, 64, 1)[0, 0, :, :, 1] > 0.5
        rows = clip.nonzero()
        widths = clip.sum(1)[clip.any(1)]
        assert (clip == clip.flip(1)).float().mean() > 0.98  # left and right alike
        if shape == "square":
            assert widths.max() == widths.min() == len(widths)
        else:
            assert widths[0] <= 3 and rows[:, 0].min() < 32
