"""Longer, larger, round: every cell of a canvas is seen, finished ones stay, and no seam is a special place."""

from dataclasses import dataclass, field

import pytest
import torch
from spacetime_nodes.spacetime.guidance import make_guider
from spacetime_nodes.spacetime.model import Denoiser, Text
from spacetime_nodes.spacetime.names import BACKWARD, FORWARD
from spacetime_nodes.spacetime.sampler import Prompt, sample
from spacetime_nodes.spacetime.schedule import make_scheduler
from spacetime_nodes.spacetime.stages import enlarged, sample_in_stages
from spacetime_nodes.spacetime.views import views
from spacetime_nodes.spacetime.windows import Windows, choose, stretches

TRAINED, PATCH = (9, 16, 16), (1, 2, 2)
CPU = torch.device("cpu")
TILES = "15 tiles of 16×16 cells, 4 shared, blended at every step"


@dataclass
class Places(Denoiser):
    """A model whose target in every cell is written in the cell's own known value: it shows what it saw of where."""

    per_token_time: bool = True
    batched_guidance = False
    patch = PATCH
    device = CPU
    dtype = torch.float32
    shapes: list = field(default_factory=list)
    times: list = field(default_factory=list)

    def noise(self, shape, generator):
        return torch.randn(shape, generator=generator)

    def predict(self, x, t, text, branch):
        self.shapes.append(tuple(x.shape[2:]))
        self.times.append(t.max().item() / 1000)
        free = (t.view(-1, 1, x.shape[2], x.shape[3] // 2, x.shape[4] // 2) > 0).float()
        free = free.repeat_interleave(2, 3).repeat_interleave(2, 4)
        known = (x * (1 - free)).sum((1, 2, 3, 4)) / (1 - free).sum((1, 2, 3, 4)).clamp(min=1) / x.shape[1]
        sigma = (t.max() / 1000).clamp(min=1e-9)
        return (x - known.view(-1, 1, 1, 1, 1) - text.embeddings.mean()) / sigma


def run(model, shape, windows, *, free=None, known=None, prompts=None, ring=False, steps=2):
    known = torch.zeros(1, 4, *shape) if known is None else known
    prompts = prompts or [Prompt(Text(torch.zeros(1, 1, 1)), Text(torch.zeros(1, 1, 1)))]
    return sample(
        model, prompts, known, free, scheduler=make_scheduler("euler", {"shift": 3.0}), guider=make_guider("cfg", 1.0),
        steps=steps, seed=0, windows=windows, ring=ring,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "per_token", "mode", "expected"),
    [
        ((9, 8, 8), True, "auto", ""),
        ((11, 8, 8), True, "auto", ""),
        ((12, 8, 8), True, "auto", "2 windows of 9 latent frames, 2 shared, one after another"),
        ((12, 8, 8), False, "auto", "2 windows of 9 latent frames, 2 shared, blended at every step"),
        ((12, 8, 8), True, "overlapping", "2 windows of 9 latent frames, 2 shared, blended at every step"),
        ((121, 8, 8), True, "whole", ""),
        ((1, 20, 20), True, "auto", ""),
        (
            (1, 32, 64),
            True,
            "auto",
            "15 tiles of 16×16 cells, 4 shared, blended at every step; made small first and enlarged by twos",
        ),
        ((1, 32, 64), True, "overlapping", "15 tiles of 16×16 cells, 4 shared, blended at every step"),
        ((1, 32, 64), True, "whole", ""),
    ],
)
def test_the_choice_follows_what_the_model_was_trained_for(shape, per_token, mode, expected):
    assert choose(shape, TRAINED, PATCH, per_token, mode).described(shape) == expected


def test_a_large_picture_is_made_small_first():
    windows = choose((1, 90, 256), TRAINED, PATCH, True)
    assert windows.sizes((1, 90, 256), PATCH) == [(6, 16), (12, 32), (22, 64), (44, 128), (90, 256)]
    assert choose((1, 20, 16), TRAINED, PATCH, True).sizes((1, 20, 16), PATCH) == [(20, 16)]  # seen whole
    assert choose((1, 64, 64), TRAINED, PATCH, True, "overlapping").sizes((1, 64, 64), PATCH) == [(64, 64)]


def test_its_composition_is_that_of_the_small_one_and_every_step_is_told():
    model, steps = Places(), []
    windows = choose((1, 64, 32), TRAINED, PATCH, True)
    sizes = windows.sizes((1, 64, 32), PATCH)
    text = [Prompt(Text(torch.full((1, 1, 1), 3.0)), Text(torch.zeros(1, 1, 1)))]
    x = sample_in_stages(
        model, text, torch.zeros(1, 4, 1, 64, 32), sizes, scheduler=make_scheduler("euler", {"shift": 3.0}),
        guider=make_guider("cfg", 1.0), steps=10, seed=0, windows=windows,
        on_step=lambda step: steps.append((step.index, step.total, tuple(step.x0().shape[3:]))),
    )  # fmt: skip
    assert torch.allclose(x, torch.full_like(x, 3.0), atol=1e-4)
    assert model.shapes[:10] == [(1, 16, 8)] * 10 and max(rows for _, rows, _ in model.shapes) == 16
    assert [index for index, *_ in steps] == [*range(1, 15)] and {total for _, total, _ in steps} == {14}
    assert [size for *_, size in steps] == [(16, 8)] * 10 + [(32, 16)] * 2 + [(64, 32)] * 2
    ramp = torch.linspace(0, 1, 8).expand(1, 4, 2, 6, 8)
    big = enlarged(ramp, 12, 16)
    assert big.shape == (1, 4, 2, 12, 16) and (big.diff(dim=-1) > -0.01).all() and big[0, 0, 1, 3, 15] > 0.9


@pytest.mark.parametrize("name", ["euler", "heun", "unipc"])
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0, 8.0])
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_an_enlarged_picture_is_redrawn_from_the_same_noise_whatever_the_shift_and_the_steps(name, shift, steps):
    model, told = Places(), []
    windows = choose((1, 32, 16), TRAINED, PATCH, True)
    text = [Prompt(Text(torch.full((1, 1, 1), 3.0)), Text(torch.zeros(1, 1, 1)))]
    sample_in_stages(
        model, text, torch.zeros(1, 4, 1, 32, 16), windows.sizes((1, 32, 16), PATCH), steps=steps, seed=0,
        scheduler=make_scheduler(name, {"shift": shift}), guider=make_guider("cfg", 1.0), windows=windows,
        on_step=lambda step: told.append((step.index, step.total)),
    )  # fmt: skip
    first = model.shapes.index((1, 16, 16))  # the first of the second size's tiles
    assert 0.05 < model.times[first] <= 0.1001, model.times
    assert [index for index, _ in told] == [*range(1, told[-1][1] + 1)]


def test_a_choice_that_cannot_be_is_one_clear_line():
    with pytest.raises(ValueError, match="windows 'none' can't be; one of auto, whole, autoregressive, overlapping"):
        choose((9, 8, 8), TRAINED, PATCH, True, "none")
    with pytest.raises(ValueError, match="windows of 4 latent frames can't share 3: each must add two at least"):
        choose((9, 8, 8), TRAINED, PATCH, True, "auto", 4, 3)


@pytest.mark.parametrize("count", [5, 9, 10, 15, 16, 17, 120, 121])
@pytest.mark.parametrize("first_known", [None, 0, 3, -1])
def test_stretches_cover_the_canvas_and_each_knows_the_last_one(count, first_known):
    known = [False] * count
    if first_known is not None:
        known[first_known] = True
    done, windows = set(), choose((count, 8, 8), TRAINED, PATCH, True, "autoregressive")
    for i, part in enumerate(stretches(windows, count, known)):
        assert 0 <= part.first <= part.keep < part.last <= count and part.last - part.first <= 9
        seen = set(range(part.first, part.last))
        if i == 0 and first_known is not None:
            assert first_known % count in seen
        if i > 0:
            assert len(seen & done) >= 2 and seen - done
        if part.first > 0 and part.first not in done and i > 0:
            assert part.keep == part.first + 1  # a lead-in that no one keeps
        done |= set(range(part.keep, part.last))
    assert done == set(range(count))


@pytest.mark.parametrize("cuts", [(4,), (1, 2, 3), (5, 20), (12,), (29,)])
@pytest.mark.parametrize("first_known", [None, 0, 3, 12, -1])
def test_no_stretch_samples_two_cards(cuts, first_known):
    count, done = 30, set()
    known = [first_known is not None and i == first_known % count for i in range(count)]
    windows = choose((count, 8, 8), TRAINED, PATCH, True, cuts=cuts)
    for i, part in enumerate(stretches(windows, count, known)):
        assert 0 <= part.first <= part.keep < part.last <= count and part.last - part.first <= 9
        new = set(range(part.keep, part.last)) - done
        assert new and len({sum(cut <= frame for cut in cuts) for frame in new}) == 1
        assert i > 0 or first_known is None or first_known % count in new
        assert i > 0 or part.keep == 0 or known[part.keep] or part.first == part.keep - 1, "a lead-in"
        assert i == 0 or len(set(range(part.first, part.last)) & done) >= min(2, len(done))
        done |= new
    assert done == set(range(count))
    assert windows.described((count, 8, 8)).endswith("each card's own, 2 latent frames shared, one after another")


@pytest.mark.parametrize("order", [FORWARD, BACKWARD])
@pytest.mark.parametrize("cuts", [(), (5, 20)])
@pytest.mark.parametrize("known", [(), (0,), (0, 29), (0, 1, 2, 12, 27, 28, 29), range(30)])
def test_sections_make_what_is_not_known_in_their_order(order, cuts, known):
    windows = choose((30, 8, 8), TRAINED, PATCH, False, cuts=cuts, order=order)
    parts = list(stretches(windows, 30, [i in known for i in range(30)]))
    made = [i for part in parts for i in range(part.first, part.last)]
    goals = [i for i in made if i in known]
    assert sorted(set(made) - set(known)) == [i for i in range(30) if i not in known]
    assert len(made) == len(set(made)) and all(part.keep == part.first < part.last <= part.first + 9 for part in parts)
    assert [part.first for part in parts] == sorted((part.first for part in parts), reverse=order == BACKWARD)
    assert not any(part.first < cut < part.last for part in parts for cut in cuts)
    assert windows.described((30, 8, 8)) == f"sections of up to 9 latent frames, one after another {order}"
    if order == BACKWARD:
        assert not goals  # they are seen beside
    else:
        assert goals == [i for i in range(1, 30) if i in known and i - 1 not in known and i not in cuts]


def test_overlapping_windows_of_sections_are_refused():
    with pytest.raises(ValueError, match="section by section; windows auto or autoregressive would be right"):
        choose((30, 8, 8), TRAINED, PATCH, False, "overlapping", order=FORWARD)


def test_the_smallest_windows_that_can_be_still_come_to_an_end():
    windows = choose((30, 8, 8), TRAINED, PATCH, True, "autoregressive", 3, 1)
    assert [part.last for part in stretches(windows, 30, [False] * 29 + [True])][-1] <= 4
    images = choose((30, 8, 8), (1, 16, 16), PATCH, True)  # of a model of images
    assert (images.length, images.shared) == (3, 1)


def test_memory_is_that_of_one_window():
    assert choose((121, 64, 8), TRAINED, PATCH, True).tokens((121, 64, 8), PATCH) == 9 * 8 * 4


def test_what_a_window_has_finished_the_next_one_knows():
    known, free = torch.zeros(1, 4, 30, 4, 4), torch.ones(1, 1, 30, 4, 4)
    known[:, :, 0], free[:, :, 0] = 5.0, 0
    model = Places()
    x = run(model, (30, 4, 4), choose((30, 4, 4), TRAINED, PATCH, True), free=free, known=known)
    assert torch.allclose(x, torch.full_like(x, 5.0), atol=1e-4)  # handed on from window to window to the end
    assert max(shape[0] for shape in model.shapes) == 9


def test_backward_too():
    known, free = torch.zeros(1, 4, 30, 4, 4), torch.ones(1, 1, 30, 4, 4)
    known[:, :, -1], free[:, :, -1] = 5.0, 0
    x = run(Places(), (30, 4, 4), choose((30, 4, 4), TRAINED, PATCH, True), free=free, known=known)
    assert torch.allclose(x, torch.full_like(x, 5.0), atol=1e-4)


def test_a_canvas_that_fits_is_seen_whole_and_once():
    model = Places()
    run(model, (9, 16, 16), choose((9, 16, 16), TRAINED, PATCH, True), steps=3)
    assert model.shapes == [(9, 16, 16)] * 3


@pytest.mark.parametrize(
    ("shape", "ring"),
    [((30, 4, 4), False), ((1, 40, 24), False), ((12, 40, 24), False), ((30, 4, 4), True), ((12, 40, 24), True)],
)
def test_views_cover_every_cell_and_are_whole_tokens(shape, ring):
    windows = choose(shape, TRAINED, PATCH, False, "overlapping")
    for step in range(3):
        total = torch.zeros(1, 1, *shape)
        for view in views(windows, shape, ring, step, CPU):
            assert len(view.frames) <= 12 and max(len(view.rows), len(view.columns)) <= 20
            assert int(view.rows[0]) % 2 == int(view.columns[0]) % 2 == 0  # whole tokens
            view.add(total, view.weight.expand(1, 1, *view.weight.shape))
        assert (total > 0).all()


def test_windows_in_time_fade_into_each_other():
    total = torch.zeros(1, 1, 30, 4, 4)
    for view in views(choose((30, 4, 4), TRAINED, PATCH, False, "overlapping"), (30, 4, 4), False, 0, CPU):
        view.add(total, view.weight.expand(1, 1, *view.weight.shape))
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


def test_the_first_cell_of_a_window_amid_the_canvas_does_not_count():
    windows = choose((30, 4, 4), TRAINED, PATCH, False, "overlapping")
    first, *others = views(windows, (30, 4, 4), False, 0, CPU)
    assert first.weight[0].min() == 1 and all(view.weight[0].max() == 0 for view in others)


def test_a_ring_is_cut_elsewhere_at_every_step_and_seen_past_its_seam():
    windows = Windows(autoregressive=False, length=9, shared=2, tile=16, lap=4)
    begins = set()
    for step in range(4):
        (view,) = views(windows, (4, 4, 4), True, step, CPU)
        assert len(view.frames) == 8 and sorted(set(view.frames.tolist())) == [0, 1, 2, 3]
        assert (view.frames.diff() % 4 == 1).all()
        assert view.weight[:, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
        begins.add(int(view.frames[2]))
    assert len(begins) > 1


def test_each_card_is_read_in_its_own_latent_frames():
    share = torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0])
    text = [Text(torch.full((1, 1, 1), value)) for value in (0.0, 2.0, 6.0)]
    prompts = [Prompt(text[1], text[0], share), Prompt(text[2], text[0], 1 - share)]
    x = run(Places(), (5, 4, 4), choose((5, 4, 4), TRAINED, PATCH, True), prompts=prompts)
    assert torch.allclose(x[0, 0, :, 0, 0], torch.tensor([2.0, 2.0, 4.0, 6.0, 6.0]), atol=1e-4)


def test_cards_keep_their_frames_where_a_model_wants_a_lead_before_the_canvas(monkeypatch):
    monkeypatch.setattr(Places, "lead", lambda self, latent_frames: 2)
    share = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    text = [Text(torch.full((1, 1, 1), value)) for value in (0.0, 2.0, 6.0)]
    prompts = [Prompt(text[1], text[0], share), Prompt(text[2], text[0], 1 - share)]
    model = Places()
    run(model, (6, 4, 4), choose((6, 4, 4), TRAINED, PATCH, True, cuts=(3,)), prompts=prompts)
    assert [shape[0] for shape in model.shapes] == [5] * 2 + [5] * 2  # lead and first card; two known and the second


@pytest.mark.parametrize("mode", ["whole", "overlapping"])
def test_cards_in_windows_that_all_take_every_step_are_not_cut(mode):
    assert choose((12, 8, 8), TRAINED, PATCH, True, mode, cuts=(4,)).cuts == ()
    assert choose((12, 8, 8), TRAINED, PATCH, True, cuts=(4,)).cuts == (4,)


def test_a_window_reads_only_the_cards_of_its_own_seconds():
    share = torch.cat([torch.ones(15), torch.zeros(15)])
    text = [Text(torch.full((1, 1, 1), value)) for value in (0.0, 2.0, 6.0)]
    prompts = [Prompt(text[1], text[0], share), Prompt(text[2], text[0], 1 - share)]
    model = Places()
    free = torch.ones(1, 1, 30, 4, 4)
    run(model, (30, 4, 4), choose((30, 4, 4), TRAINED, PATCH, True), prompts=prompts, free=free)
    assert len(model.shapes) == 2 * (4 + 1)  # four windows, of which one has free cells of both cards
