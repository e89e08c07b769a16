"""What the sampler expects of a model. Families (model_loaders/families) fulfil it; nothing here knows one."""

from typing import Protocol

import torch
from torch import Tensor


class Denoiser(Protocol):
    """A loaded diffusion transformer behind one face. x is always [B, C, T, H, W], normalised latents in float32."""

    device: torch.device
    per_token_time: bool  # the transformer takes a timestep for every token, so known cells can be clean (t = 0)
    batched_guidance: bool  # its own pipeline runs both prompts as one batch; False = two passes

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Drawn in the layout the family's own pipeline draws in, so that a seed means the same video there and here."""
        ...

    def normalise(self, latent: Tensor) -> Tensor:
        """Raw VAE latents (what LATENT carries) → what the transformer was trained on."""
        ...

    def denormalise(self, x: Tensor) -> Tensor: ...

    def predict(self, x: Tensor, t: Tensor, text: Tensor, branch: str) -> Tensor:
        """One forward pass.

        x [B, C, T, H, W]; t scalar, or [1 or B, 1, T, H, W] where every cell has its own; text [B, L, D]; branch names the
        prediction ('pred_cond', 'pred_uncond') so that caches keep them apart.
        """
        ...
