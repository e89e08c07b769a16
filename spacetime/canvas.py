"""Which cells are known. A LATENT in, the sampler's two tensors out; every verb is a function that makes a LATENT."""

import torch
from torch import Tensor


def empty(grid) -> dict:
    """A LATENT of which every cell is free."""
    return {"samples": torch.zeros(grid.shape), "fps": grid.fps}


def cells(latent: dict) -> tuple[Tensor, Tensor | None]:
    """samples [B, C, T, H, W] and how free each cell is [B, 1, T, H, W] (1 = free, 0 = known); None = all free.

    A latent of image nodes, [B, C, H, W], counts as one frame; a mask of another size is stretched over the grid.
    """
    if not isinstance(latent, dict) or not isinstance(latent.get("samples"), Tensor):
        raise TypeError(f"a LATENT is a dict with a tensor 'samples'; found {type(latent).__name__}")
    samples = latent["samples"]
    if samples.ndim == 4:
        samples = samples.unsqueeze(2)
    if samples.ndim != 5:
        raise ValueError(
            f"this LATENT has the shape {list(samples.shape)}; a video's is [batch, channels, frames, rows, columns]"
        )
    mask = latent.get("noise_mask")
    if mask is None:
        return samples.float(), None
    if mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])  # ComfyUI's [N, H, W] and [N, 1, H, W]: N masks in time
    if mask.shape[1] != 1:
        raise ValueError(f"noise_mask has the shape {list(mask.shape)}; a video's is [batch, 1, frames, rows, columns]")
    size = samples.shape[2:]
    if mask.shape[2:] != size:
        mask = torch.nn.functional.interpolate(mask.float(), size=size, mode="nearest-exact")
    return samples.float(), mask.float().clamp(0, 1).expand(samples.shape[0], 1, *size)
