"""Frames that lag behind others: the wave is diffusers', every solver arrives, and what can't be is refused early."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spacetime_nodes.model_loaders.families.skyreels_v2 import Adapter
from spacetime_nodes.model_loaders.outlook import Wish, outlook
from spacetime_nodes.spacetime.forcing import Forcing, wave
from spacetime_nodes.spacetime.guidance import make_guider
from spacetime_nodes.spacetime.model import Denoiser, Text
from spacetime_nodes.spacetime.names import SCHEDULERS
from spacetime_nodes.spacetime.sampler import Prompt, sample
from spacetime_nodes.spacetime.schedule import make_scheduler
from spacetime_nodes.spacetime.windows import Windows

SHAPE, LAG = (6, 4, 4), 2


@dataclass
class Level(Denoiser):
    """All its paths lead straight to the level that its prompt names, from whatever noise level a cell has."""

    per_token_time = True
    patch = (1, 2, 2)
    device = torch.device("cpu")
    dtype = torch.float32
    times: list = field(default_factory=list)  # [T] of every pass
    seen: list = field(default_factory=list)
    grained = Adapter.grained

    def predict(self, x, t, text, branch):
        t = t.view(-1, 1, x.shape[2], x.shape[3] // 2, x.shape[4] // 2)
        self.times.append(t.amax((0, 1, 3, 4)).tolist())
        self.seen.append(x)
        t = t.repeat_interleave(2, 3).repeat_interleave(2, 4)
        return (x - text.embeddings.mean()) / (t / 1000).clamp(min=1e-9)


def prompt(level, share=None):
    return Prompt(Text(torch.full((1, 2, 3), level)), Text(torch.zeros(1, 2, 3)), share)


def run(model, forcing, name="euler", prompts=None, known=None, free=None, steps=4, **more):
    known = torch.zeros(1, 4, *SHAPE) if known is None else known
    return sample(
        model, prompts or [prompt(1.0)], known, free, scheduler=make_scheduler(name, {"shift": 3.0}),
        guider=make_guider("cfg", 1.0), steps=steps, seed=0, forcing=forcing, **more,
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 8), st.integers(0, 12), st.data())
def test_the_wave_is_that_of_diffusers(blocks, size, steps, lag, data):
    from diffusers import SkyReelsV2DiffusionForcingPipeline

    ready, frames = data.draw(st.integers(0, blocks - 1)), blocks * size
    _, index, update, seen = SkyReelsV2DiffusionForcingPipeline.generate_timestep_matrix(
        None, frames, torch.arange(1000, 1000 - steps, -1), frames, lag, ready * size, size
    )
    rows = wave([i >= ready for i in range(blocks)], steps, lag)
    ours = torch.tensor(rows).repeat_interleave(size, 1)
    assert torch.equal((ours + 1).clamp(0, steps + 1), index) and set(seen) == {(0, frames)}
    assert torch.equal((ours >= 0) & (ours < steps), update)
    if lag and not ready:
        assert Forcing(lag, size).passes(steps, frames) == len(rows)


@pytest.mark.parametrize("denoise", [1.0, 0.5])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_arrives_in_every_block(name, denoise):
    told = []
    x = run(Level(), Forcing(LAG, 4), name, denoise=denoise, steps=8, on_step=told.append)
    assert torch.allclose(x, torch.ones_like(x), atol=0.01)
    assert [step.index for step in told] == list(range(1, told[-1].total + 1))
    assert all(torch.allclose(step.x0(), x, atol=0.01) for step in told)


def test_later_blocks_are_noisier_and_known_frames_clean():
    model, free = Level(), torch.ones(1, 1, *SHAPE)
    free[:, :, 0] = 0
    x = run(model, Forcing(LAG, 2), free=free, known=torch.full((1, 4, *SHAPE), 5.0))
    assert len(model.times) == 4 + 2 * LAG
    for times in model.times:
        assert times[0] == 0 and times[2] == times[3] and times[1:] == sorted(times[1:])
    assert (x[:, :, 0] == 5).all() and torch.allclose(x[:, :, 1:], torch.ones(()), atol=0.01)
    first, last = (model.seen[i][:, :, -1] for i in (0, LAG * 2))
    assert torch.equal(first, last), "the last block waits as it is"


def test_nobody_waits_for_a_block_that_is_known():
    model, free = Level(), torch.ones(1, 1, *SHAPE)
    free[:, :, 2:4] = 0
    run(model, Forcing(LAG, 2), free=free)
    assert len(model.times) == 4 + LAG


def test_windows_tiles_and_cards_see_the_wave_of_their_own_place():
    half = torch.tensor([1.0, 1, 1, 0, 0, 0])
    seen = Windows(False, 4, 2, tile=4, lap=2)
    cards = [prompt(1.0, half), prompt(3.0, 1 - half)]
    x = run(Level(), Forcing(LAG, 1), prompts=cards, known=torch.zeros(2, 4, 6, 6, 6), windows=seen)
    assert torch.allclose(x[:, :, :3], torch.ones(()), atol=0.01)
    assert torch.allclose(x[:, :, 3:], torch.full((), 3.0), atol=0.01)


def test_windows_end_their_progress_where_they_said():
    told = []
    run(Level(), Forcing(LAG, 2), windows=Windows(True, 4, 2, 2**30, 1), on_step=told.append)
    assert [step.index for step in told] == list(range(1, len(told) + 1)) and told[-1].total == len(told)
    assert len(told) == (4 + LAG) + 4, "the second window knows its first block"


def test_noise_on_what_is_known_is_told_and_new_in_every_pass():
    model, free = Level(), torch.ones(1, 1, *SHAPE)
    free[:, :, 0] = 0
    known = torch.full((1, 4, *SHAPE), 5.0)
    x = run(model, Forcing(known_noise=20), free=free, known=known)
    assert (x[:, :, 0] == 5).all() and {times[0] for times in model.times} == {20}
    shown = torch.stack([seen[:, :, 0] for seen in model.seen])
    assert abs(float(shown.mean()) - 0.98 * 5) < 0.01 and 0.01 < shown.std(0).mean() < 0.03
    assert len(shown.unique()) == shown.numel()


def test_what_is_not_trained_so_or_has_no_beginning_is_refused_before_and_in_a_run(nodes, pocket):
    text = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    node, latent = nodes["SpacetimeSample"](), {"samples": torch.zeros(1, 16, 3, 6, 6)}
    for asked, trained in (
        ({"lag": 5}, "models trained with diffusion forcing"),
        ({"causal": True}, "models trained with diffusion forcing"),
        ({"known_noise": 20}, "SkyReels-V2 DF and LTX-Video 0.9.5 and later, not for a Wan pocket transformer"),
    ):
        for call in (node.plan, node.run):
            with pytest.raises(ValueError, match=f"{next(iter(asked))} is for {trained}"):
                call(pocket.dit, *text, latent, 0, 2, 4.0, **asked)


def test_a_loop_and_a_picture_made_in_stages_are_refused(nodes, pocket, monkeypatch):
    monkeypatch.setattr(pocket.dit, "config", replace(pocket.dit.config, forcing=1))
    text = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    node, loop = nodes["SpacetimeSample"](), {"samples": torch.zeros(1, 16, 3, 6, 6), "ring": True}
    large = {"samples": torch.zeros(1, 16, 1, 64, 64), "vae": pocket.vae, "shape": [1, 16, 1, 64, 64], "fps": 8.0}
    for call in (node.plan, node.run):
        with pytest.raises(ValueError, match="lag is for videos with a beginning"):
            call(pocket.dit, *text, loop, 0, 2, 4.0, lag=5)
        with pytest.raises(ValueError, match="lag: a picture of 64×64 cells is made small first"):
            call(pocket.dit, *text, large, 0, 2, 4.0, lag=5)
        with pytest.raises(ValueError, match="causal: 1 latent frames aren't whole blocks of 4; 4 are"):
            call(pocket.dit, *text, large, 0, 2, 4.0, block=4, causal=True)


def test_a_window_of_broken_blocks_is_refused_before_the_first_pass():
    model, free = Level(), torch.ones(1, 1, *SHAPE)
    free[:, :, 5:] = 0  # a shorter window leads from there to the beginning
    with pytest.raises(ValueError, match="causal: 3 latent frames aren't whole blocks of 4; 4 are"):
        run(model, Forcing(block=4, causal=True), free=free, windows=Windows(True, 4, 1, 2**30, 1))
    assert not model.times


def test_the_plan_counts_what_the_mask_of_causal_blocks_takes(pocket):
    shape = (1, 16, 4, 12, 12)
    plans = [
        outlook(pocket.dit, pocket.vae, None, Wish(shape, 8.0, 4, 4.0, forcing=forcing))
        for forcing in (Forcing(), Forcing(block=2, causal=True))
    ]
    tokens = 4 * 6 * 6  # one byte of the mask and a float32 for each pair, as measured with 20,000 tokens
    assert plans[1].stage("sampling").working - plans[0].stage("sampling").working == 5 * tokens**2
