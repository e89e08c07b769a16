"""What a video follows beside words: who may, in which order it is wired, and that every window sees it."""

import pytest
import torch
from bench import NODES, grid, load, picture, result, sample
from spacetime_nodes.spacetime.follow import followed_on

WIDTH, HEIGHT, FRAMES = 32, 32, 17
VACE = "Wan2.1-VACE"


@pytest.fixture
def model(pipelines):
    pipelines(VACE)
    return load(VACE)


def clip(count=FRAMES, size=(WIDTH, HEIGHT), first=0):
    return torch.cat([picture(*size, seed)[1] for seed in range(first, first + count)])


def controlled(model, canvas, images, time="start", strength=1.0):
    return result("ControlVideo", model.vae, canvas, time, "cover", strength, images=images)[0]


def referring(model, canvas, images):
    return result("ReferenceImages", model.vae, canvas, images)[0]


def passes(model, latent, **windows):
    """What the transformer is shown: [B, C, T, H, W] of x and of what is beside it, in every pass."""
    seen = []

    def hook(module, args, kwargs):
        seen.append((kwargs["hidden_states"].clone(), kwargs["control_hidden_states"].clone()))

    handle = model.dit.adapter.transformer.register_forward_pre_hook(hook, with_kwargs=True)
    done = sample(model, latent, 1.0, **windows)
    handle.remove()
    return done["samples"], seen


@pytest.mark.parametrize("how", ["overlapping", "autoregressive"])
def test_every_window_sees_the_pictures_and_its_part_of_the_control_video(model, how):
    latent = grid(model, WIDTH, HEIGHT, FRAMES)  # 5 latent frames
    latent = referring(model, controlled(model, latent, clip()), clip(2, (16, 16), 50))
    _, whole = passes(model, latent, windows="whole")
    done, seen = passes(model, latent, windows=how, window=3, overlap=1)
    assert done.shape == latent["samples"].shape and done.isfinite().all()
    (pictures, course), own = whole[0][1].split([2, 5], dim=2), slice(4, 8)
    assert all(x.shape[2] == control.shape[2] == 2 + 3 for x, control in seen) and len(seen) == 2 * len(whole)
    assert all(torch.equal(control[:, :, :2], pictures) for _, control in seen)
    last = [next(i for i in range(5) if torch.equal(control[:, own, -1], course[:, own, i])) for _, control in seen]
    assert set(last) == {2, 4}, "the cell at each window's end follows the control video of that time"


def test_control_videos_lie_on_the_canvas_by_the_second(model, hosted):
    latent = grid(model, WIDTH, HEIGHT, FRAMES, fps=4.0)
    late, early = clip(40, first=0), clip(8, first=60)
    latent = controlled(model, controlled(model, latent, late, "2"), early)
    assert "40 frames of control → 9, to the canvas's end" in hosted.notices
    frames = torch.cat(list(followed_on(latent).frames()))
    assert torch.equal(frames, torch.cat([early, late[:9]]))
    with pytest.raises(ValueError, match="frames 4–16 follow a control video already; begin this one elsewhere"):
        controlled(model, latent, late, "1")


def test_without_a_control_video_of_its_own_a_second_is_gray(model):
    latent = controlled(model, grid(model, WIDTH, HEIGHT, FRAMES, fps=4.0), clip(4), "1s")
    frames = torch.cat(list(followed_on(latent).frames()))
    assert (frames[:4] == 0.5).all() and torch.equal(frames[4:8], clip(4)) and (frames[8:] == 0.5).all()


def test_strength_says_how_closely(model):
    latent = grid(model, WIDTH, HEIGHT, FRAMES)
    full, half, none = (
        sample(model, controlled(model, latent, clip(), strength=s))["samples"] for s in (1.0, 0.5, 0.0)
    )
    other = sample(model, controlled(model, latent, clip(first=40), strength=0.0))["samples"]
    assert torch.equal(none, other) and not torch.equal(full, half) and not torch.equal(half, none)


def test_what_was_followed_is_the_last_samplings(model):
    """A clip that has been made is no canvas that follows anything: it can be extended and trimmed."""
    latent = referring(model, controlled(model, grid(model, WIDTH, HEIGHT, FRAMES), clip()), clip(1))
    assert not {"control video", "reference images"} & set(sample(model, latent))


def test_a_verb_wired_after_it_says_the_order(model):
    latent = grid(model, WIDTH, HEIGHT, FRAMES)
    for followed, name in (
        (controlled(model, latent, clip()), "Control Video"),
        (referring(model, latent, clip(1)), "Reference Images"),
    ):
        with pytest.raises(ValueError, match=f"{name} belongs to the canvas that is sampled: wire it after this node"):
            result("Extend", model.vae, followed, "forward", 1.0, 0.0, "cover", images=clip())
        with pytest.raises(ValueError, match=f"{name} belongs to the canvas"):
            result("Loop", model.vae, followed, 1.0, 0.0, "cover")


def test_a_canvas_cut_since_is_told(model):
    latent = controlled(model, grid(model, WIDTH, HEIGHT, FRAMES), clip())
    with pytest.raises(ValueError, match="lies on a canvas of 5×4×4 latent cells, this one has 3×4×4: wire Control"):
        sample(model, {**latent, "samples": latent["samples"][:, :, :3]})


def test_a_ring_follows_nothing(model):
    latent = result("Loop", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), 1.0, 0.0, "cover")[0]
    with pytest.raises(ValueError, match="a loop made anew follows no control video and no reference images"):
        sample(model, referring(model, latent, clip(1)))


def test_other_models_refuse_before_anything_is_loaded(pipelines):
    """In the plan and in the run alike."""
    pipelines("Wan2.1-T2V")
    other = load("Wan2.1-T2V")
    latent = grid(other, WIDTH, HEIGHT, FRAMES)
    planned = {"shape": list(latent["samples"].shape), "fps": 8.0, "vae": other.vae}
    for node, args, line in (
        (
            "ControlVideo",
            ("start", "cover", 1.0),
            "follows no control video; Wan VACE, Wan Animate, CogVideoX Fun Control, Easy",
        ),
        ("ReferenceImages", (), "follows no reference images; Wan VACE, Wan Animate or EasyAnimate Control would"),
    ):
        with pytest.raises(ValueError, match=line):
            sample(other, result(node, other.vae, latent, *args, images=clip(1))[0])
        (dry,) = NODES[f"Spacetime{node}"]().plan(other.vae, planned, *args, images=None)
        with pytest.raises(ValueError, match=line):
            NODES["SpacetimeSample"]().plan(other.dit, None, None, dry, 0, 4, 4.0)


def test_the_plan_counts_the_pictures(model):
    latent = grid(model, WIDTH, HEIGHT, FRAMES)
    planned = {"shape": list(latent["samples"].shape), "fps": 8.0, "vae": model.vae}
    two = planned
    for _ in range(2):
        (two,) = NODES["SpacetimeReferenceImages"]().plan(model.vae, two, None)
    plans = [
        NODES["SpacetimeSample"]().plan(model.dit, None, None, one, 0, 4, 4.0)["report"]["plan"]
        for one in (planned, two)
    ]
    alone, course = (plan.course for plan in plans)
    assert (alone.in_pass, course.in_pass) == (5 * 4, 7 * 4) and course.flops > alone.flops
    assert (
        NODES["SpacetimePlan"]()._made(model.dit, model.vae, referring(model, latent, clip(2)), 4, 4.0, 0, None).course
        == course
    )


def test_a_known_cell_follows_nothing(model):
    """Where its pixels haven't come along, as from a .latent file, and it stands for its frames."""
    latent = grid(model, WIDTH, HEIGHT, FRAMES)
    latent = result("PlaceFrames", model.vae, latent, "start", "cover", 1.0, clip(1))[0]
    latent = {key: value for key, value in controlled(model, latent, clip()).items() if key != "shown"}
    done, ((_, control), *_) = passes(model, latent, windows="whole")
    known, followed = control[:, :4], control[:, 4:8]
    assert torch.equal(done[:, :, :1], latent["samples"][:, :, :1])
    assert known[:, :, 0].any() and not known[:, :, 1:].any()
    assert not followed[:, :, 0].any() and followed[:, :, 1:].any()
