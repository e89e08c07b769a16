"""A latent as a small picture: all its frames side by side, by a linear map from channels to colours."""

import math

import torch
from einops import rearrange
from torch import Tensor

LONG_SIDE = 512


def latent_to_rgb(latent: Tensor, latent_rgb: dict | None) -> Tensor:
    """latent [C, T, H, W], raw → [T, H, W, 3] in 0..1.

    Without a fitted map, colours are the directions in which these latents vary most: false, but motion shows.
    """
    x = rearrange(latent.float().cpu(), "c t h w -> t h w c")  # it is small, and MPS has no eigh
    if latent_rgb:
        weight, bias = torch.tensor(latent_rgb["weight"]), torch.tensor(latent_rgb["bias"])  # [C, 3], [3]
        return (x @ weight + bias).clamp(0, 1)
    flat = rearrange(x, "t h w c -> (t h w) c")
    flat = flat - flat.mean(0)
    _, directions = torch.linalg.eigh(flat.T @ flat)
    top = directions[:, -3:].flip(1)  # [C, 3]
    top = (
        top * top.gather(0, top.abs().argmax(0, keepdim=True)).sign()
    )  # a direction has no sign; keep it from flickering
    rgb = flat @ top
    return rearrange(
        (rgb / (4 * rgb.std(0, correction=0) + 1e-6) + 0.5).clamp(0, 1),
        "(t h w) c -> t h w c",
        t=x.shape[0],
        h=x.shape[1],
    )


def contact_sheet(frames: Tensor):
    """frames [T, H, W, 3] in 0..1 → one PIL image, frames in reading order, enlarged without blurring."""
    from PIL import Image

    count, height, width, _ = frames.shape
    columns = min(count, max(1, round(math.sqrt(count * height / width))))
    rows = math.ceil(count / columns)
    sheet = frames.new_zeros(rows * columns, height, width, 3)
    sheet[:count] = frames
    sheet = rearrange(sheet, "(r c) h w rgb -> (r h) (c w) rgb", c=columns)
    image = Image.fromarray((sheet * 255).round().byte().cpu().numpy())
    scale = max(1, LONG_SIDE // max(image.size))
    return image.resize((image.width * scale, image.height * scale), Image.NEAREST)
