"""How a video is made: the one denoising loop. Some cells of the grid are known; it fills in the free ones."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import max_pool3d, pad

from .follow import Followed
from .forcing import TOGETHER, Forcing, passes
from .guidance import guided
from .model import Around, Beside, Denoiser, Known, Text
from .pixels import Pixels
from .schedule import as_loud, clean, level, seen_by_model
from .views import View, views
from .windows import WHOLE, Stretch, Windows, stretches


@dataclass(frozen=True)
class Prompt:
    """share [T]: how much it counts in each latent frame, None = it alone."""

    positive: Text
    negative: Text
    share: Tensor | None = None


@dataclass
class Step:
    """What `on_step` is told. `x0()` estimates the clean normalised latents [B, C, T, H, W]; costs only when asked."""

    index: int  # from 1
    total: int
    x0: Callable[[], Tensor]


@torch.inference_mode()
def sample(
    model: Denoiser,
    prompts: Sequence[Prompt],
    known: Tensor,
    free: Tensor | None,
    *,
    scheduler,
    guider,
    steps: int,
    seed: int,
    denoise: float = 1.0,
    batched: bool | None = None,
    windows: Windows = WHOLE,
    ring: bool = False,
    pixels: Pixels | None = None,
    followed: Followed | None = None,
    forcing: Forcing = TOGETHER,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Tensor:
    """Normalised latents [B, C, T, H, W] with the free cells filled in.

    known [B, C, T, H, W]: normalised latents; only its known cells count, and with denoise < 1 all of them.
    free [B, 1, T, H, W]: 1 = free, 0 = known, between = partly; None = all free.
    denoise: the strength of SDEdit (Meng et al. 2021): 1 starts from noise, 0.4 from `known` noised to where the last
    40 % of the steps begin. batched: both prompts in one pass; None = as the model's own pipeline does.
    windows: how a canvas longer or larger than the model was trained for is seen. ring: its end leads to its beginning.
    pixels: what is known, for models that take it as pixels. followed: what the video follows beside it. forcing: which
    frames are denoised ahead of others.
    """
    there = {"device": model.device, "dtype": model.dtype}
    prompts = [Prompt(p.positive.to(**there), p.negative.to(**there), p.share) for p in prompts]
    known, free = known.to(model.device), free if free is None else whole_tokens(free.to(model.device), model.patch)
    lead = 0 if ring else model.lead(known.shape[2])
    intro = model.intro(len(followed.references) if followed else 0)
    windows = replace(windows, length=windows.length + lead, cuts=tuple(cut + lead for cut in windows.cuts))
    if ahead := intro + lead:
        before = [0] * 4 + [ahead, 0]
        known, free = pad(known, before), free if free is None else pad(free, before, value=1)
        prompts = [p if p.share is None else replace(p, share=torch.cat([p.share[:1]] * ahead + [p.share]))
                   for p in prompts]  # fmt: skip
    generator = torch.Generator("cpu").manual_seed(seed)  # the CPU's, so that a seed means the same noise everywhere
    noise = model.noise(known.shape, generator)
    batched = model.batched_guidance if batched is None else batched
    told = torch.ones_like(known[:, :1]) if free is None else free
    known_frames = told.amax((0, 1, 3, 4)) == 0 if windows.order else told.amin((0, 1, 3, 4)) < 1
    count = known.shape[2] - intro
    parts = [Stretch(0, count, 0)] if ring else list(stretches(windows, count, known_frames[intro:].tolist()))
    if windows.autoregressive:
        forcing.check_blocks(part.last - part.first for part in parts)
    done, left = 0, len(parts)

    def denoised(
        known: Tensor, free: Tensor | None, noise: Tensor, prompts, ahead: int, followed, pixels=None, around=None
    ) -> Tensor:
        """One stretch, all its steps. ahead: its latent frames before the canvas; around: the whole of that."""
        nonlocal done, left
        left -= 1
        model.set_timesteps(scheduler, steps, known.shape)
        first = max(steps - int(steps * denoise), 0) * scheduler.order
        timesteps = scheduler.timesteps[first:]
        if not len(timesteps):  # less strength than one step has
            return known.float()
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        given = torch.ones_like(known[:, :1]) if free is None else free
        beside = model.beside(Known(known[:, :, ahead:], given[:, :, ahead:], ahead, pixels, followed, around))
        placing = free  # the known cells that go into x
        if beside is not None:
            placing = beside.free
            prompts = [Prompt(p.positive.given(beside.text), p.negative.given(beside.text), p.share) for p in prompts]
        x = model.begin(as_loud(scheduler, noise), beside)
        if first:
            x = noised(known, noise, *level(scheduler, first, timesteps[0]))
        grain = forcing.known_noise / 1000 if (given < 1).any() else 0.0
        course = list(passes(scheduler, first, generator, forcing, given))
        for i, (t, alpha, sigma, step) in enumerate(course):
            as_shown, of_known = known if model.per_token_time else noised(known, noise, alpha, sigma), 0.0
            if grain:
                as_shown, of_known = model.grained(known, given, t, grain, generator)
            x_in = placed(as_shown, x, placing)
            guider.set_state(i, len(course), t)
            seen = views(windows, known.shape[2:], ring, i, model.device, intro)
            shown = seen_by_model(scheduler, x_in, t)
            times = t, of_known
            prediction = predicted(model, guider, shown, beside, placing, times, prompts, seen, batched, sigma)
            x = in_layout(model, step, prediction, t, x)
            if not torch.isfinite(x).all():
                raise ValueError(
                    f"step {i + 1}: the model answered NaN: damaged weights, or float16 overflowed (try bfloat16)"
                )
            done += 1
            total = done + len(course) - (i + 1) + left * len(course)

            def x0(x=x_in, prediction=prediction, alpha=alpha, sigma=sigma):
                return placed(known, clean(scheduler, x, prediction, alpha, sigma), free)[:, :, ahead:]

            on_step(Step(done, total, x0))
        return placed(known, x.float(), free)

    held = model.sampling([text for p in prompts for text in (p.positive, p.negative)])
    with held, model.causal(forcing.block) if forcing.causal else nullcontext():
        if parts == [Stretch(0, count, 0)]:
            return denoised(known, free, noise, prompts, ahead, followed, pixels)[:, :, ahead:]
        known, free = known.float().clone(), told.clone()
        for part in parts:  # each one's outcome is known to the next
            own = range(intro + part.first, intro + part.last)
            cells, of_share = [*range(intro), *own], [own[0]] * intro + [*own]
            shares = [p if p.share is None else replace(p, share=p.share[of_share]) for p in prompts]
            of_part = followed and followed.part(max(part.first - lead, 0), part.last - lead)
            before = ahead if part.first == 0 else intro
            around = Around(known, told, part.first, pixels) if windows.order else None
            of_noise = noise[:, :, cells]
            x = denoised(known[:, :, cells], free[:, :, cells], of_noise, shares, before, of_part, around=around)
            known[:, :, intro + part.keep : intro + part.last] = x[:, :, intro + part.keep - part.first :]
            free[:, :, intro + part.keep : intro + part.last] = 0
        return known[:, :, ahead:]


def in_layout(model: Denoiser, step, prediction: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """One step of the scheduler. What draws noise draws it in the order of the model's own pipeline."""
    if model.layout == "b c t h w":
        return step(prediction, t, x)
    own = (rearrange(each, f"b c t h w -> {model.layout}") for each in (prediction, x))
    return rearrange(step(next(own), t, next(own)), f"{model.layout} -> b c t h w")


def predicted(
    model: Denoiser, guider, x, beside: Beside | None, free, times, prompts: Sequence[Prompt], seen: Sequence[View],
    batched, sigma,
) -> Tensor:  # fmt: skip
    """One guided prediction [B, C, T, H, W], blended from all views and prompts (Bar-Tal et al. 2023, eq. 5).

    times: that of the free cells, one for all or [1, 1, T, H, W]; that of the known ones.
    """
    (t, of_known), shape = times, x.shape
    if beside is not None and beside.channels is not None:
        x = torch.cat([x, beside.channels.to(x.dtype)], dim=1)

    def of(view: View, prompt: Prompt) -> Tensor:
        part, part_free = view.of(x), view.of(free)
        time = per_token(model, view.of(t), part.shape) if t.ndim else t
        if model.per_token_time:
            share = per_token(model, part_free, part.shape)
            time = share * time + (1 - share) * of_known
        return guided(model, guider, part, time, (prompt.positive, prompt.negative), batched, sigma)

    if len(seen) == len(prompts) == 1 and seen[0].weight is None:
        return of(seen[0], prompts[0])
    total, weights = x.new_zeros(shape), torch.zeros_like(x[:1, :1])
    for view in seen:
        for prompt in prompts:
            weight = torch.ones_like(x[0, 0]) if view.weight is None else view.weight
            if free is not None:  # what is known needs no prediction
                weight = weight * (view.of(free).amax((0, 1)) > 0)
            if prompt.share is not None:
                weight = weight * prompt.share.to(weight)[view.frames][:, None, None]
            if weight.any():
                view.add(total, weight * of(view, prompt))
                view.add(weights, weight.expand(1, 1, *weight.shape))
    return total / weights.clamp(min=1e-6)


def placed(known: Tensor, x: Tensor, free: Tensor | None) -> Tensor:
    """x [B, C, T, H, W] with the known cells put over it."""
    return x if free is None else (1 - free) * known + free * x


def noised(known: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`known` at a noise level. Not scheduler.add_noise: UniPC's ignores its timestep after set_begin_index."""
    return sigma * noise + alpha * known


def whole_tokens(free: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """free [B, 1, T, H, W] with every token as free as its freest cell: a transformer denoises whole tokens."""
    most = max_pool3d(free, patch)
    return most.repeat_interleave(patch[0], 2).repeat_interleave(patch[1], 3).repeat_interleave(patch[2], 4)


def per_token(model: Denoiser, free: Tensor | None, shape) -> Tensor:
    """free [B, 1, T, H, W] → how free each token is [B, N], read at its first cell as Wan does; None → [1, N]."""
    t, h, w = model.patch
    if free is None:
        return torch.ones(1, math.prod(shape[2:]) // (t * h * w), device=model.device)
    return free[:, 0, ::t, ::h, ::w].flatten(1)
