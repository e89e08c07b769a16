"""How a video is made: the one denoising loop. Some cells of the grid are known; it fills in the free ones."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from .guidance import guided
from .model import Denoiser


@dataclass
class Step:
    """What `on_step` is told. `x0()` estimates the clean normalised latents [B, C, T, H, W]; costs only when asked."""

    index: int  # from 1
    total: int
    x0: Callable[[], Tensor]


@torch.inference_mode()
def sample(
    model: Denoiser,
    texts: tuple[Tensor, Tensor],
    known: Tensor,
    free: Tensor | None,
    *,
    scheduler,
    guider,
    steps: int,
    seed: int,
    denoise: float = 1.0,
    batched: bool | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Tensor:
    """Normalised latents [B, C, T, H, W] with the free cells filled in.

    texts: positive and negative [B, L, D]. known [B, C, T, H, W]: normalised latents; only its known cells count, and
    with denoise < 1 all of them. free [B, 1, T, H, W]: 1 = free, 0 = known, between = partly; None = all free.
    denoise: the strength of SDEdit (Meng et al. 2021): 1 starts from noise, 0.4 from `known` noised to where the last
    40 % of the steps begin. batched: both prompts in one pass; None = as the model's own pipeline does.
    """
    texts = tuple(text.to(model.device, model.dtype) for text in texts)
    known, free = known.to(model.device), free if free is None else whole_tokens(free.to(model.device), model.patch)
    batched = model.batched_guidance if batched is None else batched

    scheduler.set_timesteps(steps, device=model.device)
    first = max(steps - int(steps * denoise), 0) * scheduler.order
    timesteps = scheduler.timesteps[first:]
    if not len(timesteps):  # less strength than one step has
        return known.float()
    scheduler.set_begin_index(first)

    generator = torch.Generator("cpu").manual_seed(seed)  # the CPU's, so that a seed means the same noise everywhere
    noise = model.noise(known.shape, generator)
    seeded = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x = noise if first == 0 else noised(known, noise, scheduler.sigmas[first])
    free_tokens = per_token(model, free, known.shape)  # [1 or B, N]

    with model.sampling(texts[0].shape[1]):
        for i, t in enumerate(timesteps):
            sigma = scheduler.sigmas[first + i]
            x_in = placed(known if model.per_token_time else noised(known, noise, sigma), x, free)
            t_in = free_tokens * t if model.per_token_time else t
            guider.set_state(i, len(timesteps), t)
            velocity = guided(model, guider, x_in, t_in, texts, batched)
            x = scheduler.step(velocity, t, x, return_dict=False, **seeded)[0]
            if not torch.isfinite(x).all():
                raise ValueError(
                    f"step {i + 1}: the model answered NaN: damaged weights, or float16 overflowed (try bfloat16)"
                )
            on_step(Step(i + 1, len(timesteps), lambda x=x_in, v=velocity, s=sigma: placed(known, x - s * v, free)))
    return placed(known, x.float(), free)


def placed(known: Tensor, x: Tensor, free: Tensor | None) -> Tensor:
    """x [B, C, T, H, W] with the known cells put over it."""
    return x if free is None else (1 - free) * known + free * x


def noised(known: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """`known` at noise level sigma. Not scheduler.add_noise: UniPC's ignores its timestep after set_begin_index."""
    return sigma * noise + (1.0 - sigma) * known


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
