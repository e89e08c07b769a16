"""What the sampler expects of a model. Families (model_loaders/families) fulfil it; nothing here knows one."""

from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor


class Denoiser(Protocol):
    """A loaded diffusion transformer behind one face. x is always [B, C, T, H, W], normalised latents in float32.

    Tokens are the grid's cells in patches, in the order (t h w): N = T/patch_t · H/patch_h · W/patch_w.
    """

    device: torch.device
    dtype: torch.dtype
    patch: tuple[int, int, int]  # latent cells per token, (t, h, w)
    per_token_time: bool  # the transformer takes a timestep for every token, so known cells can be clean (t = 0)
    batched_guidance: bool  # its own pipeline runs both prompts as one batch; False = two passes

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Drawn in the layout the family's own pipeline draws in: a seed means the same video there and here."""
        ...

    def normalise(self, latent: Tensor) -> Tensor:
        """Raw VAE latents (what LATENT carries) → what the transformer was trained on."""
        ...

    def denormalise(self, x: Tensor) -> Tensor: ...

    def sampling(self, texts: list[Tensor]) -> AbstractContextManager:
        """Held for the whole loop, whose prompts are `texts` [B, L, D]. What stays the same from pass to pass may be
        kept in it."""
        ...

    def predict(self, x: Tensor, t: Tensor, text: Tensor, branch: str) -> Tensor:
        """The velocity, noise - x0, in one forward pass.

        x [B, C, T, H, W]; t scalar, or with per_token_time [1 or B, N]; text [B, L, D]; branch names the prediction
        ('pred_cond', 'pred_uncond', 'both') so that caches keep them apart.
        """
        ...
