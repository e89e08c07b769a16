"""How a video is made: the one denoising loop. Some cells of the grid are known, the rest are free; it fills in the free ones."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .guidance import guided
from .model import Denoiser


@dataclass
class Step:
    """What `on_step` is told. `x0()` estimates the clean latents [B, C, T, H, W], normalised; it costs only when called."""

    index: int  # from 1
    total: int
    sigma: float
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

    texts: positive and negative [B, L, D]. known [B, C, T, H, W]: normalised latents; only its known cells count, and with
    denoise < 1 all of them. free [B, 1, T, H, W]: 1 = free, 0 = known, between = partly; None = all free.
    denoise: strength of SDEdit (Meng et al. 2021): 1 starts from noise, 0.4 from `known` noised to the level of the last 40 % of steps.
    """
    generator = torch.Generator("cpu").manual_seed(seed)  # the CPU's, so that a seed means the same video everywhere
    noise = model.noise(known.shape, generator)
    scheduler.set_timesteps(steps, device=model.device)
    start = max(steps - int(steps * denoise), 0) * scheduler.order
    timesteps = scheduler.timesteps[start:]
    scheduler.set_begin_index(start)
    x = noise if start == 0 else noised(known, noise, scheduler, start)
    batched = model.batched_guidance if batched is None else batched
    seeded = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}

    for i, t in enumerate(timesteps):
        sigma = float(scheduler.sigmas[start + i])
        x_in, t_in = place_known(model, x, known, free, noise, sigma, t)
        guider.set_state(i, len(timesteps), t)
        velocity = guided(model, guider, x_in, t_in, texts, batched)
        x = scheduler.step(velocity, t, x, return_dict=False, **seeded)[0]
        if not torch.isfinite(x).all():
            raise ValueError(
                f"step {i + 1}: the model answered with NaN or infinity; its weights are damaged, or dtype float16 overflowed (try bfloat16)"
            )
        on_step(
            Step(
                i + 1,
                len(timesteps),
                sigma,
                lambda x_in=x_in, v=velocity, s=sigma: x_in - s * v * (1 if free is None else free),
            )
        )
    return x.float() if free is None else (1 - free) * known + free * x


def place_known(model: Denoiser, x, known, free, noise, sigma: float, t: Tensor) -> tuple[Tensor, Tensor]:
    """The transformer's input and time. Known cells are clean at time 0 where it takes a time per token, else as noisy as the rest."""
    if model.per_token_time:
        everywhere = x.new_ones(1, 1, *x.shape[2:]) if free is None else free
        return (x if free is None else (1 - free) * known + free * x), everywhere * t
    if free is None:
        return x, t
    return (1 - free) * ((1 - sigma) * known + sigma * noise) + free * x, t


def noised(known: Tensor, noise: Tensor, scheduler, start: int) -> Tensor:
    """`known` at the noise level of step `start`. UniPC's add_noise forgets its timestep once begin_index is set: use sigmas."""
    if start >= len(scheduler.timesteps):
        return known
    sigma = scheduler.sigmas[start]
    return sigma * noise + (1.0 - sigma) * known
