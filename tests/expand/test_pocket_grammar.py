"""The pocket grammar: what it reads in a prompt, and how it says that in pocket's words."""

import random

import pytest
from spacetime_nodes.model_loaders import pocket_grammar
from spacetime_nodes.training import world


def said(prompt):
    """What is read, as plain values: each thing's, background, camera."""
    reading = pocket_grammar.read(prompt)
    things = [{slot: token.value for slot, token in thing.items()} for thing in reading.things]
    return things, reading.ground, reading.camera, reading.left_out


RED_RIGHT = {"colour": "red", "shape": "circle", "motion": "right"}


@pytest.mark.parametrize(
    "prompt", ["red ball going right", "going right, a red disc", "RIGHTWARD moves the ball. Red!"]
)
def test_word_order_and_synonyms_do_not_matter(prompt):
    (thing,), *rest = said(prompt)
    assert {slot: value for slot, value in thing.items() if slot != "moves"} == RED_RIGHT and rest == [None, None, []]


def test_things_background_camera_size_and_speed_are_read():
    prompt = "big red ball falling fast and a small blue box on grey, the camera pans left"
    things, ground, camera, left_out = said(prompt)
    assert things[0] == {"size": "large", "colour": "red", "shape": "circle", "motion": "down", "quick": True}
    assert things[1] == {"size": "small", "colour": "blue", "shape": "square"}
    assert (ground, camera, left_out) == ("gray", "left", [])
    assert [thing.get("colour") for thing in said("two things: blue box and a star")[0]] == ["blue", None]
    small_box = {"size": "small", "colour": "blue", "shape": "square"}
    assert said("red star rising small blue square")[0] == [{**RED_RIGHT, "shape": "star", "motion": "up"}, small_box]
    assert said("two red stars")[0] == [{"colour": "red", "shape": "star"}] * 2
    assert said("red and blue stars")[0] == [{"colour": colour, "shape": "star"} for colour in ("red", "blue")]
    assert [thing["motion"] for thing in said("a star and a ball, both rising")[0]] == ["up", "up"]
    assert said("still camera, star") == ([{"shape": "star"}], None, "still", [])


def test_every_caption_of_the_world_is_read_as_what_it_describes():
    for seed in range(200):
        rng = random.Random(seed)
        scene = world.sample_scene(rng, width=64, height=64, frames=17, split="all")
        for style in ("plain", "short", "mixed", "long"):
            text = world.caption(scene, rng, style)
            things, ground, camera, left_out = said(text)
            assert left_out == [] and len(things) == len(scene.things), text
            assert ground in (None, scene.background) and camera in (None, scene.camera), text
            for thing, true in zip(things, scene.things, strict=True):
                assert all(getattr(true, slot) == value for slot, value in thing.items()), text
        assert ground and camera and all("motion" in thing for thing in things)  # the long one says all


def test_the_grammar_keeps_what_was_said_and_fills_in_the_rest_in_pockets_words(expand, pocket, host):
    for seed in range(40):
        text = expand("blue box going up, two things, on navy", "pocket grammar", seed=seed)
        (box, other), ground, camera, left_out = said(text)
        assert (box["colour"], box["shape"], box["motion"]) == ("blue", "square", "up") and other["colour"] != "blue"
        assert (ground, camera, left_out) == ("navy", "still", []) and "motion" in other
        assert pocket.text_encoder.unread(text) == ([], 0) and host.notices == []


def test_same_seed_same_caption(expand):
    texts = [expand("star", "pocket grammar", seed=seed) for seed in (1, 1, 2, 3, 2**64 - 1)]
    assert texts[0] == texts[1] and len(set(texts)) == 4


def test_words_without_a_place_are_named(expand, host):
    text = expand("a zebra and a red circle on a red background, growing slowly 🎬", "pocket grammar")
    (notice,) = host.notices
    assert notice.startswith(
        "the pocket world has no place for 'zebra', 'red background', '🎬', 'slowly'; it has one or"
    )
    assert "red" in text and "slowly" not in text and "\n" not in notice
    expand("red circle, blue star, green box", "pocket grammar")
    assert "no place for 'green box'" in host.notices[1]
