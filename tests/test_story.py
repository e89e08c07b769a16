"""Cards on one timeline: read as written, refused where they can't be, and counted by the video's own seconds."""

import pytest
import torch
from PIL import Image
from spacetime_nodes.spacetime.canvas import empty, seconds_of
from spacetime_nodes.spacetime.grid import Admits, plan
from spacetime_nodes.spacetime.story import Card, read, shares


def test_cards_are_lines_with_a_second_and_a_prompt():
    text = "0: red circle\n  moving right\n\n1.5s | blue star [image 2]\n 3,25 : white box, pan left [ image: a b.png ]"
    assert read(text) == [
        Card(0, "red circle moving right"),
        Card(1.5, "blue star", "2"),
        Card(3.25, "white box, pan left", "a b.png"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the storyboard has no cards; write one a line, as 0: a red circle"),
        ("\n  \n", "the storyboard has no cards"),
        ("a red circle", "the first card 'a red circle' has no time; write it as 0: a red circle"),
        ("1: a red circle", "the first card begins at 1 s; it must begin at 0"),
        ("0: a\n2: b\n1: c", "the card at 1 s comes after the one at 2 s; put them in order"),
        ("0: a\n2: b\n2: c", "the card at 2 s comes after the one at 2 s; put them in order"),
        ("0: a [image 1] [image 2]", "the card at 0 s names 2 images; one would be right"),
        ("-1: a", "the first card begins at -1 s; it must begin at 0"),
    ],
)
def test_a_storyboard_that_cannot_be_is_one_clear_line(text, why):
    with pytest.raises(ValueError) as error:
        read(text)
    assert why in str(error.value) and "\n" not in str(error.value)


def test_cards_cut_or_fade_and_count_one_in_sum():
    times = [0.0, 0.5, 0.9, 1.0, 1.1, 1.5, 2.0, 3.0]
    cut = shares([0, 1, 2], 0.0, times)
    assert [[row[i] for row in cut].index(1) for i in range(8)] == [0, 0, 0, 1, 1, 1, 2, 2]
    fade = torch.tensor(shares([0, 1, 2], 0.4, times))
    assert torch.allclose(fade.sum(0), torch.ones(8)) and fade.min() >= 0
    assert torch.allclose(fade[:, 2], torch.tensor([0.75, 0.25, 0.0])) and fade[1, 3] == 0.5
    long = torch.tensor(shares([0, 1, 2], 60.0, times))  # no fade eats a whole card
    assert long[0, 0] == 1 and long[1, 5] == 1 and long[2, -1] == 1


def canvas(frames, fps=8.0):
    return empty(plan(Admits(16), width=16, height=16, frames=frames, fps=fps))


def test_a_latent_frame_stands_at_the_middle_of_its_frames():
    assert seconds_of(canvas(9), 4) == [0, 2.5 / 8, 6.5 / 8]
    ring = {**canvas(9), "ring": True}
    assert seconds_of(ring, 4) == [1.5 / 8, 5.5 / 8, 9.5 / 8]
    with pytest.raises(ValueError, match="this latent says no frame rate"):
        seconds_of({"samples": torch.zeros(1, 16, 3, 2, 2)}, 4)


@pytest.fixture
def board(nodes, pocket, host):
    def tell(cards, frames=17, blend=0.0, **more):
        grid = nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, frames)["result"][0]
        return nodes["SpacetimeStoryboard"]().run(
            pocket.text_encoder, pocket.vae, more.pop("latent", grid), cards, "", blend, "cover", **more
        )

    return tell


def sampled(nodes, pocket, positive, negative, latent, **settings):
    return nodes["SpacetimeSample"]().run(pocket.dit, positive, negative, latent, 0, 2, 4.0, **settings)[0]["samples"]


def test_one_card_is_what_encode_prompt_gives(nodes, pocket, board):
    done = board("0: red circle moving right")
    plain = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle moving right", "")
    positive, negative, latent = done["result"]
    assert done["ui"]["text"] == ["0–2.125 s: red circle moving right"]
    assert torch.equal(sampled(nodes, pocket, positive, negative, latent), sampled(nodes, pocket, *plain, latent))


def test_the_same_card_twice_changes_nothing_and_another_changes_its_span(nodes, pocket, board):
    one, twice, other = (
        sampled(nodes, pocket, *board(cards)["result"], windows="whole")
        for cards in ("0: red circle", "0: red circle\n1: red circle", "0: red circle\n1: blue star")
    )
    assert torch.allclose(one, twice, atol=1e-4)
    difference = (one - other).abs().mean((0, 1, 3, 4))
    assert difference[3:].min() > 2 * difference[:2].max()


def test_each_card_is_sampled_after_the_last_one_and_leaves_it_as_it_is(nodes, pocket, board, host):
    red, blue = (
        sampled(nodes, pocket, *board(f"0: red circle\n1: {card}")["result"]) for card in ("red circle", "blue star")
    )
    first = 3  # latent frames before second 1
    assert torch.equal(red[:, :, :first], blue[:, :, :first])
    assert (red - blue)[:, :, first:].abs().amax((0, 1, 3, 4)).min() > 0.1
    assert host.notices == ["sampled in 2 windows, each card's own, 2 latent frames shared, one after another"] * 2


def test_on_a_ring_the_cards_are_sampled_together_and_nothing_else_is_said(nodes, pocket, board, host):
    positive, negative, latent = board("0: red circle\n1: blue star")["result"]
    done = sampled(nodes, pocket, positive, negative, {**latent, "ring": True})
    assert done.isfinite().all() and host.notices == []


def test_a_card_with_an_image_is_a_keyframe_bit_for_bit(nodes, pocket, board, host):
    pictures = (torch.rand(2, 48, 48, 3) * 255).round() / 255
    (host.base / "input").mkdir()
    Image.fromarray((pictures[0] * 255).byte().numpy()).save(host.base / "input" / "first.png")
    done = board("0: red circle [image first.png]\n1: red circle [image 2]", images=pictures)
    positive, negative, latent = done["result"]
    (filled,) = nodes["SpacetimeSample"]().run(pocket.dit, positive, negative, latent, 0, 2, 4.0)
    ((video,),) = nodes["SpacetimeDecode"]().run(pocket.vae, filled)
    frames = torch.cat(list(video.frames()))
    assert torch.equal(frames[0], pictures[0]) and torch.equal(frames[8], pictures[1])


@pytest.mark.parametrize("fps", [16.0, 24.0, 30.0])
def test_a_picture_of_the_folder_is_one_frame_at_any_rate(nodes, pocket, host, fps):
    picture = (torch.rand(48, 48, 3) * 255).round() / 255
    (host.base / "input").mkdir()
    Image.fromarray((picture * 255).byte().numpy()).save(host.base / "input" / "sky.png")
    grid = nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, fps, 33)["result"][0]
    cards = f"0: red circle\n{16 / fps}: blue star [image sky.png]"
    latent = nodes["SpacetimeStoryboard"]().run(pocket.text_encoder, pocket.vae, grid, cards, "", 0.0, "cover")[
        "result"
    ][2]
    (span,) = [span for span in latent["timeline"] if span.source]
    assert (span.first, span.last) == (16, 17) and torch.equal(next(iter(span.source.frames()))[0], picture)
    assert host.notices == []


def test_another_picture_under_the_same_name_is_another_film(nodes, host):
    changed = nodes["SpacetimeStoryboard"].IS_CHANGED
    (host.base / "input").mkdir()
    sky = host.base / "input" / "sky.png"
    Image.new("RGB", (8, 8)).save(sky)
    cards = "0: red circle [image sky.png]\n1: blue star [image 2]"
    before = changed(cards=cards, blend=0.5)
    assert before == changed(cards=cards, blend=0.5) != []
    Image.new("RGB", (9, 9), "red").save(sky)
    assert changed(cards=cards) != before
    assert changed(cards=None) == changed(cards="0: a") == changed(cards="0: a [image gone.png]") == []


@pytest.mark.parametrize(
    ("cards", "why"),
    [
        ("0: a\n9: b", "the card at 9 s lies beyond the canvas, which ends at 2 s"),
        ("0: a\n1.9: b", "the card at 1.9 s gets no latent frame"),
        ("0: a\n1: b\n1.2: c", "the card at 1 s gets no latent frame"),
        ("0: a [image 1]", r"\[image 1\] isn't there; 0 images are wired, counted from 1"),
        ("0: a [image ../secret.png]", "leads out of"),
        ("0: a [image missing.png]", "there is no file 'missing.png'"),
    ],
)
def test_what_the_canvas_or_the_folder_lacks_is_one_clear_line(board, cards, why):
    with pytest.raises((ValueError, FileNotFoundError), match=why):
        board(cards)


def test_a_dry_run_reads_the_cards_without_torch(nodes):
    import subprocess
    import sys

    code = """
import sys
from spacetime_nodes.nodes.story import SpacetimeStoryboard
print(SpacetimeStoryboard().plan(None, None, {"frames": 9}, "0: a\\n1: b", "", 0.0, "cover"), "torch" in sys.modules)
try: SpacetimeStoryboard().plan(None, None, {}, "1: b", "", 0.0, "cover")
except ValueError as error: print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    told = "{'text_encoder': None, 'starts': [0.0, 1.0], 'blend': 0.0}"
    first = f"({told}, {told}, {{'frames': 9}}) False"
    assert out.splitlines() == [first, "the first card begins at 1 s; it must begin at 0"]
