"""Every verb on every family: known cells come out exactly as they went in, the others are made."""

import pytest
import torch
from bench import GUIDANCE, NEGATIVE, PROMPT, load, result
from clips import video_of
from tiny import MODELS

VERBS = {
    "place": lambda n, vae, grid: n("PlaceFrames", vae, grid, "start", "cover", 1.0, video=video_of(9, SIZE)[0]),
    "keyframe": lambda n, vae, grid: n("PlaceFrames", vae, grid, "end", "cover", 1.0, video_of(1, SIZE)[1]),
    "extend forward": lambda n, vae, grid: n("Extend", vae, grid, "forward", 1.0, 0.0, "cover", video_of(9)[0]),
    "extend backward": lambda n, vae, grid: n("Extend", vae, grid, "backward", 1.0, 0.0, "cover", video_of(9)[0]),
    "extend both ways": lambda n, vae, grid: n("Extend", vae, grid, "both", 1.0, 0.0, "cover", video_of(17)[0]),
    "connect": lambda n, vae, grid: n(
        "Connect", vae, grid, 1.0, 0.0, "cover", video_of(17, SIZE)[0], video_of(17, SIZE, seed=1)[0]
    ),
    "close a loop": lambda n, vae, grid: n("Loop", vae, grid, 1.0, 0.0, "cover", video_of(17, SIZE)[0]),
    "inpaint": lambda n, vae, grid: n(
        "MaskRegion", vae, grid, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0, 0, 0, "cover", video_of(17, SIZE)[0]
    ),
    "outpaint": lambda n, vae, grid: n(
        "MaskRegion",
        vae,
        grid,
        0.5,
        0.5,
        0.5,
        0.5,
        0,
        0,
        0,
        max(32, 2 * vae.config.space_factor),
        0,
        0,
        0,
        "cover",
        video_of(17, SIZE)[0],
    ),  # fmt: skip
}
SIZE = 64


@pytest.mark.parametrize("name", MODELS)
def test_every_verb_keeps_known_cells(pipelines, hosted, ways, name):
    """And the sampler says by which way they reached the model."""
    pipelines(name)
    model, found = load(name), {}
    beside, given = model.dit.adapter.beside, []
    model.dit.adapter.beside = lambda known: given.append(beside(known)) or given[-1]
    text = result("EncodePrompt", model.text_encoder, PROMPT, NEGATIVE)

    def node(kind, *args, **more):
        return result(kind, *args, **more)[0]

    for verb, place in VERBS.items():
        grid = node("Grid", model.dit, model.vae, "1:1", SIZE, 0, 0, 0.0, 8.0, 17)
        canvas = place(node, model.vae, grid)
        hosted.notices.clear()
        (done,) = result("Sample", model.dit, *text, canvas, 3, 2, GUIDANCE, preview=False)
        known = (canvas["noise_mask"] == 0).expand_as(canvas["samples"])
        assert known.any() and not known.all(), verb
        assert torch.equal(done["samples"][known], canvas["samples"][known]), verb
        assert (done["samples"] != canvas["samples"])[~known].float().mean() > 0.99, verb
        found[verb] = way(model, given[-1])
        (said,) = (notice for notice in hosted.notices if notice.startswith("known cells go in "))
        assert all(SAID[one] in said for one in found[verb].split(" and ")), (verb, found[verb], said)
    ways(name, found)


SAID = {
    "clean": "clean, at time 0",
    "tokens": "as tokens of its own",
    "beside": "beside x",
    "noisy": "as noisy as the rest",
}


def way(model, beside) -> str:
    """How known cells went in, by what the model was given: clean in x or as tokens, as noisy as the rest of x, or
    beside x."""
    if model.dit.config.per_token_time:
        return "tokens" if model.dit.config.family in ("LTX-Video", "LTX-2") and beside is not None else "clean"
    if beside is None or beside.channels is None or not beside.channels.any():
        return "noisy"
    return "beside" if beside.free is None else "beside and noisy"


@pytest.mark.parametrize("name", MODELS)
def test_a_ring_runs(pipelines, name):
    pipelines(name)
    model = load(name)
    text = result("EncodePrompt", model.text_encoder, PROMPT, NEGATIVE)
    frames = 3 * model.vae.config.time_factor + 1
    grid = result("Grid", model.dit, model.vae, "1:1", 64, 0, 0, 0.0, 8.0, frames)[0]
    ring = result("Loop", model.vae, grid, 1.0, 0.0, "cover")[0]
    (done,) = result("Sample", model.dit, *text, ring, 3, 2, GUIDANCE, preview=False)
    assert done["ring"] and done["samples"].shape[2] == 3 and done["samples"].isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_a_clip_is_restyled_the_more_the_stronger(pipelines, name):
    pipelines(name)
    model = load(name)
    text, (clip, _) = result("EncodePrompt", model.text_encoder, PROMPT, NEGATIVE), video_of(17, SIZE)
    grid = result("Grid", model.dit, model.vae, "1:1", SIZE, 0, 0, 0.0, 8.0, 17)[0]
    away = []
    for strength in (0.0, 0.25, 1.0):
        canvas = result("Restyle", model.vae, grid, strength, "cover", video=clip)[0]
        (done,) = result("Sample", model.dit, *text, canvas, 3, 4, GUIDANCE, preview=False)
        away.append((done["samples"] - canvas["samples"]).square().mean().item())
    assert away[0] < 1e-12 and 1e-6 < away[1] < away[2]


@pytest.mark.parametrize("name", MODELS)
def test_a_storyboard_s_cards_tell_different_things(pipelines, name):
    """The second card's words reach its own seconds."""
    pipelines(name)
    model, made = load(name), []
    for second in ('the word "slow"', 'the word "fast"'):  # in quotes: letters that HunyuanVideo 1.5 reads
        grid = result("Grid", model.dit, model.vae, "1:1", SIZE, 0, 0, 0.0, 8.0, 33)[0]
        cards = f"0: {PROMPT}\n2: {PROMPT} {second}"
        texts = result("Storyboard", model.text_encoder, model.vae, grid, cards, NEGATIVE, 0.0, "cover")
        (done,) = result("Sample", model.dit, *texts[:2], texts[2], 3, 2, GUIDANCE, preview=False)
        made.append(done["samples"])
    assert all(one.isfinite().all() for one in made)
    assert (made[0] - made[1])[:, :, -1].abs().max() > 1e-4
