"""Where things in one picture are found in the next."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, pad


def optical_flow(a: Tensor, b: Tensor, window: int = 7, iterations: int = 3, noise: float = 1 / 255) -> Tensor:
    """Where the pixels of a [n, 1, h, w] are found in b: flow [n, 2, h, w] in pixels, x and y.

    Dense pyramidal Lucas-Kanade (Lucas & Kanade 1981; Bouguet 2001). Where there is nothing to follow, the prior that
    things stand still decides: gradients count against the noise that pictures have (Simoncelli et al. 1991).
    """
    if min(a.shape[-2:]) >= 16:
        coarse = optical_flow(avg_pool2d(a, 2), avg_pool2d(b, 2), window, iterations, noise)
        flow = 2 * interpolate(coarse, size=a.shape[-2:], mode="bilinear")
    else:
        flow = a.new_zeros(len(a), 2, *a.shape[-2:])
    for _ in range(iterations):
        warped = _warp(b, flow)
        dx, dy = _gradient((a + warped) / 2)
        xx, xy, yy, xt, yt = blur(torch.cat([dx * dx, dx * dy, dy * dy, dx * (warped - a), dy * (warped - a)], 1),
                                   window).split(1, 1)  # fmt: skip
        xx, yy = xx + noise**2, yy + noise**2
        determinant = xx * yy - xy**2
        update = torch.cat([xy * yt - yy * xt, xy * xt - xx * yt], 1) / determinant
        flow = flow + update.clamp(-1, 1)
    return flow


def blur(planes: Tensor, window: int) -> Tensor:
    return avg_pool2d(planes, window, stride=1, padding=window // 2, count_include_pad=False)


def _gradient(planes: Tensor) -> tuple[Tensor, Tensor]:
    wide = pad(planes, (1, 1, 1, 1), mode="replicate")
    return (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2


def _warp(planes: Tensor, flow: Tensor) -> Tensor:
    height, width = planes.shape[-2:]
    x = torch.arange(width) + flow[:, 0]  # n h w
    y = torch.arange(height)[:, None] + flow[:, 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    return grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
