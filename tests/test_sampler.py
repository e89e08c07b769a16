"""The one loop: known cells stay, free cells are filled in, every scheduler arrives, a seed is a seed."""

from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from spacetime_nodes.nodes.runtime import Interrupted
from spacetime_nodes.spacetime.guidance import make_guider
from spacetime_nodes.spacetime.model import Beside, Denoiser, Text
from spacetime_nodes.spacetime.names import GUIDERS, SCHEDULERS
from spacetime_nodes.spacetime.sampler import Prompt, sample, whole_tokens
from spacetime_nodes.spacetime.schedule import level, make_scheduler, set_even_timesteps

SHAPE = (1, 4, 3, 4, 4)
PROMPTS = [Prompt(Text(torch.ones(1, 2, 3)), Text(torch.zeros(1, 2, 3)))]


@dataclass
class Straight(Denoiser):
    """A model whose answer is known: all its paths lead straight from the noise to `target`."""

    target: torch.Tensor
    per_token_time: bool = False
    device = torch.device("cpu")
    dtype = torch.float32
    patch = (1, 2, 2)
    batched_guidance = False

    def __post_init__(self):
        self.seen = []  # (x, t) of every pass

    def noise(self, shape, generator):
        return torch.randn(shape, generator=generator)

    def sampling(self, texts):
        assert [text.embeddings.shape for text in texts] == [(1, 2, 3)] * len(texts)
        return nullcontext()

    def predict(self, x, t, text, branch):
        self.seen.append((x, t))
        if self.per_token_time:
            t = t.view(-1, 1, 3, 2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
        return (x - self.target) / (t / 1000).clamp(min=1e-9)


def fill(model, known=None, free=None, name="euler", guider="cfg", guidance=4.0, steps=8, **more):
    known = torch.zeros(SHAPE) if known is None else known
    scheduler = make_scheduler(name, {"shift": 3.0})
    return sample(
        model, PROMPTS, known, free, scheduler=scheduler, guider=make_guider(guider, guidance), steps=steps,
        **{"seed": 0, **more},
    )  # fmt: skip


@pytest.fixture
def target():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("per_token_time", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 8])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_arrives_at_the_target(target, name, steps, per_token_time):
    x = fill(Straight(target, per_token_time), name=name, steps=steps)
    assert torch.allclose(x, target, atol=0.01)  # unipc and dpm++ round their timesteps to whole numbers


@pytest.mark.parametrize("name", GUIDERS)
def test_every_guider_arrives_at_the_target(target, name):
    assert torch.allclose(fill(Straight(target), guider=name), target, atol=0.01)


@pytest.mark.parametrize("name", GUIDERS)
def test_guidance_1_is_one_plain_pass_a_step(target, name):
    once, twice = Straight(target), Straight(target)
    x = fill(once, guider=name, guidance=1.0, steps=3)
    fill(twice, guider=name, guidance=4.0, steps=3)
    assert (len(once.seen), len(twice.seen)) == (3, 6)
    assert torch.equal(x, fill(Straight(target), guidance=1.0, steps=3))
    assert torch.equal(once.seen[1][0], fill_first_step(target))


def fill_first_step(target):
    model = Straight(target)
    fill(model, guidance=1.0, steps=3)
    return model.seen[1][0]


@pytest.mark.parametrize("per_token_time", [False, True])
def test_known_cells_come_back_as_they_were(target, per_token_time):
    known, free = torch.randn(SHAPE), torch.ones(1, 1, *SHAPE[2:])
    free[:, :, 0] = 0
    free[:, :, 2, :2, 2:] = 0
    x = fill(Straight(target, per_token_time), known, free)
    assert torch.equal(x[(free == 0).expand(SHAPE)], known[(free == 0).expand(SHAPE)])
    assert torch.allclose(x[(free == 1).expand(SHAPE)], target[(free == 1).expand(SHAPE)], atol=1e-4)


def test_a_model_with_token_time_sees_known_cells_clean_at_time_0(target):
    model, known, free = Straight(target, True), torch.randn(SHAPE), torch.ones(1, 1, *SHAPE[2:])
    free[:, :, 0] = 0
    fill(model, known, free)
    for x, t in model.seen:
        assert torch.equal(x[:, :, 0], known[:, :, 0])
        assert t.shape == (1, 12) and (t[:, :4] == 0).all() and (t[:, 4:] > 0).all()


def test_a_model_with_one_time_sees_known_cells_as_noisy_as_the_rest(target):
    model, known, free = Straight(target), torch.zeros(SHAPE), torch.ones(1, 1, *SHAPE[2:])
    free[:, :, 0] = 0
    fill(model, known, free)
    spread = [x[:, :, 0].std() for x, _ in model.seen]
    levels = [t / 1000 for _, t in model.seen]
    noise = spread[0] / levels[0]
    assert noise > 0.5
    assert all(torch.isclose(s, noise * level, atol=1e-5) for s, level in zip(spread, levels, strict=True))


def test_partly_known_cells_are_at_their_share_of_the_time(target):
    model, free = Straight(target, True), torch.full((1, 1, *SHAPE[2:]), 0.25)
    fill(model, torch.zeros(SHAPE), free)
    assert model.seen[0][1].unique().tolist() == [250.0]


def test_less_denoise_takes_the_last_steps_and_stays_closer(target):
    known = torch.zeros(SHAPE)
    for denoise, passes in ((1.0, 8), (0.5, 4), (0.13, 1), (0.0, 0)):
        model = Straight(target)
        x = fill(model, known, denoise=denoise, guidance=1.0)
        assert len(model.seen) == passes
        if model.seen:
            assert float(model.seen[0][1]) == float(make_steps(8)[8 - passes])
        else:
            assert torch.equal(x, known)


def make_steps(steps):
    scheduler = make_scheduler("euler", {"shift": 3.0})
    scheduler.set_timesteps(steps)
    return scheduler.timesteps


def test_a_seed_is_a_video(target):
    first, again, other = (
        fill(Straight(target), seed=seed, steps=3, denoise=1.0, name="dpm++ 2m sde") for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    runs = [Straight(target) for _ in range(3)]
    for model, seed in zip(runs, (5, 5, 2**64 - 1), strict=True):
        fill(model, seed=seed)
    assert torch.equal(runs[0].seen[0][0], runs[1].seen[0][0])
    assert not torch.equal(runs[0].seen[0][0], runs[2].seen[0][0])


def test_sampling_leaves_the_global_random_state_alone(target):
    before = torch.get_rng_state()
    fill(Straight(target), name="dpm++ 2m sde")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_preview_shows_where_the_video_is_going(target):
    known, free, seen = torch.ones(SHAPE), torch.ones(1, 1, *SHAPE[2:]), []
    free[:, :, 0] = 0
    fill(Straight(target, True), known, free, on_step=lambda step: seen.append((step.index, step.total, step.x0())))
    assert [index for index, _, _ in seen] == list(range(1, 9)) and seen[0][1] == 8
    for _, _, x0 in seen:
        assert torch.equal(x0[:, :, 0], known[:, :, 0])
        assert torch.allclose(x0[:, :, 1:], target[:, :, 1:], atol=1e-3)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'ddim' can't be; one of auto, euler"):
        make_scheduler("ddim", {})
    with pytest.raises(ValueError, match="'pag' can't be; one of cfg"):
        make_guider("pag", 4.0)
    with pytest.raises(ValueError, match="names the scheduler 'Nonesuch'"):
        make_scheduler("auto", {"_class_name": "Nonesuch"})


def test_shift_is_the_models_own_until_asked_otherwise():
    for config in (
        {"_class_name": "UniPCMultistepScheduler", "flow_shift": 5.0},
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 5.0},
    ):
        assert make_scheduler("unipc", config).config.flow_shift == 5.0
        assert make_scheduler("euler", config).config.shift == 5.0
        assert make_scheduler("euler", config, 2.0).config.shift == 2.0
    assert make_scheduler("auto", config, 2.0).config.shift == 2.0


def test_the_node_stops_within_one_step_of_being_cancelled(nodes, pocket, host):
    steps = []
    host.on_progress = lambda value, total, preview: steps.append(value)
    host.is_interrupted = lambda: len(steps) >= 2
    prompts = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    with pytest.raises(Interrupted):
        nodes["SpacetimeSample"]().run(pocket.dit, *prompts, {"samples": torch.zeros(1, 16, 1, 6, 6)}, 0, 50, 4.0)
    assert steps == [1, 2]
    forward = pocket.dit.adapter.transformer.condition_embedder.time_proj.__dict__.get("forward")
    assert forward is None  # what was kept for the loop is gone with it


def test_progress_carries_a_picture_of_all_latent_frames(nodes, pocket, host):
    seen = []
    host.on_progress = lambda value, total, preview: seen.append((value, total, preview))
    prompts = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    latent = {"samples": torch.zeros(1, 16, 4, 6, 8)}
    nodes["SpacetimeSample"]().run(pocket.dit, *prompts, latent, 0, 2, 4.0)
    nodes["SpacetimeSample"]().run(pocket.dit, *prompts, latent, 0, 2, 4.0, preview=False)
    assert [(value, total) for value, total, _ in seen] == [(1, 2), (2, 2)] * 2
    kind, image, limit = seen[0][2]
    assert kind == "JPEG" and image.mode == "RGB" and max(image.size) <= limit == 512
    assert seen[-1][2] is None


@pytest.mark.parametrize("latent_rgb", [None, {"weight": [[0.1, 0.2, 0.3]] * 16, "bias": [0.5, 0.5, 0.5]}])
@pytest.mark.parametrize("shape", [(16, 1, 6, 6), (16, 9, 8, 14), (16, 1, 1, 1)])
def test_every_latent_has_a_preview(shape, latent_rgb):
    from spacetime_nodes.spacetime.preview import contact_sheet, latent_to_rgb

    rgb = latent_to_rgb(torch.randn(shape), latent_rgb)
    assert rgb.shape == (*shape[1:], 3) and rgb.min() >= 0 and rgb.max() <= 1
    assert contact_sheet(rgb).size[0] % shape[3] == 0


def test_keys_of_other_packs_stay_in_the_latent(nodes, pocket):
    prompts = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    latent = {"samples": torch.zeros(1, 16, 1, 6, 6), "fps": 8.0, "theirs": object()}
    (out,) = nodes["SpacetimeSample"]().run(pocket.dit, *prompts, latent, 0, 1, 1.0)
    assert out["theirs"] is latent["theirs"] and out["fps"] == 8.0
    assert out["samples"].dtype == torch.float32 and latent["samples"].abs().max() == 0


@pytest.mark.parametrize("shape", [(1, 6, 8), (1, 1, 6, 8), (1, 1, 3, 6, 8), (1, 1, 1, 48, 64), (2, 1, 3, 6, 8)])
def test_masks_of_every_usual_shape_are_read(shape):
    from spacetime_nodes.spacetime.canvas import cells

    mask = torch.ones(shape)
    mask[..., : shape[-2] // 2, :] = 0  # the upper half is known
    samples, free = cells({"samples": torch.zeros(2, 16, 3, 6, 8), "noise_mask": mask})
    assert free.shape == (2, 1, 3, 6, 8)
    assert (free[..., :3, :] == 0).all() and (free[..., 3:, :] == 1).all()


def test_masks_one_after_another_are_masks_in_time():
    from spacetime_nodes.spacetime.canvas import cells

    mask = torch.ones(3, 6, 8)
    mask[0] = 0
    _, free = cells({"samples": torch.zeros(1, 16, 3, 6, 8), "noise_mask": mask})
    assert (free[:, :, 0] == 0).all() and (free[:, :, 1:] == 1).all()


def test_wires_that_do_not_fit_are_refused_in_one_line(nodes, pocket):
    text = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    run = nodes["SpacetimeSample"]().run
    with pytest.raises(ValueError, match="4 channels, the DiT denoises 16"):
        run(pocket.dit, *text, {"samples": torch.zeros(1, 4, 8, 8)}, 0, 1, 4.0)
    with pytest.raises(ValueError, match="encoded to width 4096, the DiT reads 64"):
        run(pocket.dit, [[torch.zeros(1, 7, 4096), {}]], text[1], {"samples": torch.zeros(1, 16, 1, 6, 6)}, 0, 1, 4.0)
    with pytest.raises(ValueError, match="CONDITIONING is empty"):
        run(pocket.dit, [], text[1], {"samples": torch.zeros(1, 16, 1, 6, 6)}, 0, 1, 4.0)


@pytest.mark.parametrize("name", ["euler", "unipc", "heun"])
def test_less_denoise_than_one_step_leaves_the_latent_as_it_is(target, name):
    known = torch.randn_like(target)
    assert torch.equal(fill(Straight(target), known, name=name, steps=4, denoise=0.2), known)


def test_a_token_is_as_free_as_its_freest_cell():
    free = torch.zeros(1, 1, 2, 4, 4)
    free[0, 0, 1, 1, 2] = 0.5
    whole = whole_tokens(free, (1, 2, 2))
    assert whole[0, 0, 1].tolist() == [[0, 0, 0.5, 0.5]] * 2 + [[0] * 4] * 2 and not whole[0, 0, 0].any()


@pytest.mark.parametrize("name", ["CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"])
def test_solvers_of_v_prediction_arrive_at_the_target_and_know_it_on_the_way(target, name):
    """A model that says v = alpha·noise - sigma·x0 of a straight target (Salimans and Ho 2022)."""
    config = {"_class_name": name, "prediction_type": "v_prediction", "clip_sample": False,
              "timestep_spacing": "trailing"}  # fmt: skip
    scheduler = make_scheduler("auto", config)

    class Spherical(Straight):
        def predict(self, x, t, text, branch):
            alpha, sigma = level(scheduler, 0, t)
            return alpha * (x - alpha * self.target) / sigma - sigma * self.target

    guesses = []
    x = sample(
        Spherical(target), PROMPTS, torch.zeros(SHAPE), None, scheduler=scheduler, guider=make_guider("cfg", 1.0),
        steps=8, seed=0, on_step=lambda step: guesses.append(step.x0()),
    )  # fmt: skip
    assert torch.allclose(x, target, atol=0.05)
    assert all(torch.allclose(guess, target, atol=1e-3) for guess in guesses)
    with pytest.raises(ValueError, match="'unipc' is for flow-matching models"):
        make_scheduler("unipc", config)


def test_a_shift_that_grows_with_the_canvas_spends_more_steps_on_noise(target):
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}
    found = []
    for tokens in (256, 4096):
        scheduler = make_scheduler("auto", config)
        set_even_timesteps(scheduler, 8, "cpu", tokens)
        found.append(scheduler.sigmas)
    assert (found[1][1:-1] > found[0][1:-1]).all()
    assert make_scheduler("auto", config, 2.0).config.use_dynamic_shifting is False


def test_one_step_is_possible_where_the_sigmas_are_stretched(target):
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True, "shift_terminal": 0.1}
    one, more = make_scheduler("auto", config), make_scheduler("auto", config)
    set_even_timesteps(one, 1, "cpu", 256)
    set_even_timesteps(more, 4, "cpu", 256)
    assert one.sigmas.tolist() == [1.0, 0.0] and abs(float(more.sigmas[-2]) - 0.1) < 1e-6


class Paired(Straight):
    """Wants its latent frames in pairs."""

    def lead(self, latent_frames):
        return latent_frames % 2


def test_a_lead_in_is_sampled_along_and_thrown_away(target):
    model = Paired(torch.cat([target[:, :, :1], target], dim=2))
    known, free = torch.zeros(SHAPE), torch.ones(1, 1, *SHAPE[2:])
    known[:, :, 0], free[:, :, 0] = 5.0, 0
    x = fill(model, known, free)
    assert {tuple(seen.shape) for seen, _ in model.seen} == {(1, 4, 4, 4, 4)}
    assert x.shape == SHAPE and (x[:, :, 0] == 5.0).all() and torch.allclose(x[:, :, 1:], target[:, :, 1:], atol=0.01)


class Concatenating(Straight):
    """Takes what is known beside x; its first latent frame only, the others go in as noisy as the rest."""

    def beside(self, known):
        self.asked = known
        free = known.free.clone()
        free[:, :, 0] = 1
        return Beside(known.cells * (1 - known.free), {"told": 7.0}, free if (free < 1).any() else None)

    def predict(self, x, t, text, branch):
        assert x.shape[1] == 8 and text.more["told"] == 7.0
        self.channels = x[:, 4:]
        return super().predict(x[:, :4], t, text, branch)


def test_what_a_model_takes_beside_x_does_not_go_into_x(target):
    known, free = torch.full(SHAPE, 9.0), torch.ones(1, 1, *SHAPE[2:])
    free[:, :, 0] = free[:, :, 2] = 0
    model = Concatenating(target)
    x = fill(model, known, free)
    assert (model.channels[:, :, 0] == 9.0).all() and (model.channels[:, :, 1] == 0).all()
    last = model.seen[-1][0]  # all but clean
    assert (last[:, :, 0] - 9.0).abs().mean() > 5 and (last[:, :, 2] - 9.0).abs().mean() < 4
    assert (x[:, :, 0] == 9.0).all() and (x[:, :, 2] == 9.0).all()
    assert torch.allclose(x[:, :, 1], target[:, :, 1], atol=0.01)
