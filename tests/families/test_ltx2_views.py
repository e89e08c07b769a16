"""LTX-2 and a control video: what of it windows and tiles see, what it costs, what is told and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import loras
import pytest
import torch
from bench import NODES, grid, load, sample
from ltx2_bench import FPS, HEIGHT, WIDTH, canvas_of, clip, controlled, put_on, with_lora
from safetensors.torch import load_file
from spacetime_nodes.model_loaders.checkpoint import CheckpointError
from spacetime_nodes.spacetime.follow import followed_on

WIDE = 128


def passes(model, latent, **more):
    """What is made, and what the transformer is shown in every pass."""
    seen = []

    def hook(module, args, kwargs):
        shown = {key: kwargs.get(key) for key in ("hidden_states", "timestep", "video_coords")}
        seen.append({key: value if value is None else value.cpu() for key, value in shown.items()})

    handle = model.dit.adapter.transformer.register_forward_pre_hook(hook, with_kwargs=True)
    done = sample(model, latent, 1.0, preview=False, **more)["samples"]
    handle.remove()
    return done, seen


def appended(one, count=None):
    """Of a pass: tokens [N, C], times [N] and coordinates [3, N, 2] of what goes after the canvas's `count`."""
    count = count or one["video_coords"].shape[2] // 2  # as many of the control video
    return one["hidden_states"][0, count:], one["timestep"][0, count:], one["video_coords"][0, :, count:]


LONG = 33  # 5 latent frames


@pytest.mark.parametrize("windows", ["overlapping", "autoregressive"])
def test_every_window_sees_its_part_of_it(pipelines, windows):
    pipelines("LTX-2.3")
    model = load("LTX-2.3")
    latent = controlled(model, grid(model, WIDTH, HEIGHT, LONG, FPS), clip(LONG))
    done, seen = passes(model, latent, windows=windows, window=3, overlap=1)
    cells = followed_on(latent).cells()[0].flatten(2)  # C, T, H W
    assert done.isfinite().all()
    found = set()
    for one in seen:
        tokens, times, places = appended(one)
        own = tokens.unflatten(0, (3, -1)).permute(2, 0, 1)
        found |= {first for first in range(3) if torch.equal(own, cells[:, first : first + 3])}
        assert not times.any() and torch.equal(places, one["video_coords"][0, :, : len(tokens)])
    assert found == {0, 2}


def test_every_tile_sees_its_part_of_it(pipelines):
    pipelines("LTX-2.3")
    model = load("LTX-2.3")
    latent = controlled(model, canvas_of(model), clip())
    cells = followed_on(latent).cells()[0]
    model.dit.config = replace(model.dit.config, trained_cells=(61, 2, 2))
    done, seen = passes(model, latent)
    found = set()
    for one in seen:
        own = appended(one)[0].unflatten(0, (3, 2, 2)).permute(3, 0, 1, 2)
        found |= {first for first in range(2) if torch.equal(own, cells[..., first : first + 2])}
    assert done.isfinite().all() and found == {0, 1}


def test_a_tile_of_half_the_size_lies_where_it_does(distilled, base):
    """Also one that begins amid a cell of the control video, which is twice as large."""
    _, model, _ = with_lora(distilled, base, {"reference_downscale_factor": "2"})
    latent = controlled(model, canvas_of(model, width=160 + 32), clip(width=160 + 32))
    cells = followed_on(latent).cells(2)[0]  # C, 3, 1, 3
    model.dit.config = replace(model.dit.config, trained_cells=(61, 3, 3))  # tiles begin at cells 0, 2 and 3
    done, seen = passes(model, latent)
    found = set()
    for one in seen:
        tokens, _, places = appended(one, 3 * 2 * 3)
        columns = places[2].unflatten(0, (3, -1))[0].tolist()
        found.add(tuple(tuple(column) for column in columns))
        for i in range(len(columns)):
            own = tokens.unflatten(0, (3, -1))[:, i].T
            assert any(torch.equal(own, cells[:, :, 0, at]) for at in range(3))
        assert (places[1, :, 1] - places[1, :, 0] == 64).all()
    assert done.isfinite().all() and found == {((0, 64), (64, 128)), ((32, 96),)}


def test_below_full_strength_a_window_sees_it_as_noisy_as_the_step_and_its_strength_say(pipelines):
    pipelines("LTX-2.3")
    model = load("LTX-2.3")
    latent = controlled(model, grid(model, WIDTH, HEIGHT, LONG, FPS), clip(LONG), 0.75)
    _, seen = passes(model, latent, windows="overlapping", window=3, overlap=1)
    known = followed_on(latent).cells()[0, :, :3].flatten(1).T
    away = []
    for one in seen[::2]:  # the first window at each step
        tokens, times, _ = appended(one)
        level = one["timestep"][0, 0] / 1000
        assert torch.allclose(times, 250 * level)
        away.append((tokens - known) / level)
    assert 0.1 < away[0].std() < 1 and all(torch.allclose(one, away[0], atol=1e-4) for one in away)


def test_the_plan_counts_its_tokens(distilled, base):
    _, small, _ = with_lora(distilled, base, {"reference_downscale_factor": "2"})
    whole = load("LTX-2.3").dit
    latent = canvas_of(small, width=WIDE)
    canvases = latent, controlled(small, latent, clip(width=WIDE))
    planned = {"shape": list(latent["samples"].shape), "fps": FPS, "vae": small.vae}
    (followed,) = NODES["SpacetimeControlVideo"]().plan(small.vae, planned, "start", "cover", 1.0)
    needed = []
    for dit, of_it, count in ((whole, 0, 24), (whole, 1, 48), (small.dit, 1, 30)):
        plan = NODES["SpacetimeSample"]().plan(dit, None, None, (planned, followed)[of_it], 0, 4, 4.0)["report"]["plan"]
        _, (first, *_) = passes(other(small, dit), canvases[of_it])
        assert plan.course.in_pass == first["hidden_states"].shape[1] == count
        needed.append(dit.needed)
    assert needed[0] < needed[2] < needed[1]


def other(model, dit):
    return SimpleNamespace(**{**vars(model), "dit": dit})


def test_without_a_lora_it_is_told_that_it_needs_one(distilled, base, hosted):
    _, model, told = with_lora(distilled, base, None)
    assert told.endswith("strength 1")
    line = "LTX-2 follows a control video only where an IC-LoRA is on it or merged into it; none is on this one"
    for dit, canvas, said in (
        (load("LTX-2.3").dit, controlled(model, canvas_of(model), clip()), True),
        (load("LTX-2.3").dit, canvas_of(model), False),
        (model.dit, controlled(model, canvas_of(model), clip()), False),
    ):
        hosted.notices.clear()
        sample(other(model, dit), canvas)
        assert (line in hosted.notices) == said


def test_what_it_cannot_follow_is_refused_in_the_plan_and_in_the_run(distilled, base):
    _, small, _ = with_lora(distilled, base, {"reference_downscale_factor": "2"})
    canvas = canvas_of(small)  # 3×2 cells
    planned = {"shape": list(canvas["samples"].shape), "fps": FPS, "vae": small.vae}
    for dit, strength, line in (
        (load("LTX-2.3").dit, 1.5, "follows a control video at strengths from 0 to 1, found 1.5"),
        (small.dit, 1.0, "takes a control video 2 times smaller than the canvas, whose 3×2 latent cells can't be"),
    ):
        with pytest.raises(ValueError, match=line):
            sample(other(small, dit), controlled(small, canvas, clip(), strength))
        (dry,) = NODES["SpacetimeControlVideo"]().plan(small.vae, planned, "start", "cover", strength)
        with pytest.raises(ValueError, match=line):
            NODES["SpacetimeSample"]().plan(dit, None, None, dry, 0, 4, 4.0)
    path = base / "models" / "loras" / "ic.safetensors"
    loras.save(base, "ic.safetensors", load_file(path), {"reference_downscale_factor": "two"})
    with pytest.raises(CheckpointError, match="ic.safetensors is damaged: its reference_downscale_factor is no number"):
        put_on(load("LTX-2.3").dit)
