"""Colour as people see it: CIELAB, and how different two colours look."""

import torch
from torch import Tensor

SHADES = 8  # equal shares of a picture, from its darkest to its lightest pixels


def lab(rgb: Tensor) -> Tensor:
    """sRGB [..., 3] in 0..1 → CIELAB under D65 (IEC 61966-2-1; CIE 15)."""
    rgb = rgb.clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    matrix = rgb.new_tensor(to_xyz)
    xyz = linear @ matrix.T / matrix.sum(1)  # white is 1, 1, 1
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-6) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def shades(rgb: Tensor) -> Tensor:
    """Mean CIELAB [SHADES, 3] of equal shares of a picture [h, w, 3], sorted by lightness."""
    pixels = lab(rgb).flatten(0, 1)
    order = pixels[:, 0].argsort()
    return torch.stack([share.mean(0) for share in pixels[order].tensor_split(SHADES)])


def ciede2000(a: Tensor, b: Tensor) -> Tensor:
    """Colour difference of CIELAB [..., 3] → [...]; 1 is about what an eye can just tell.

    Sharma, Wu & Dalal 2005, "The CIEDE2000 color-difference formula", equations 2 to 22, with k_L = k_C = k_H = 1.
    """
    (l1, a1, b1), (l2, a2, b2) = a.double().unbind(-1), b.double().unbind(-1)
    mean_c7 = ((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2) ** 7
    g = 1 + 0.5 * (1 - (mean_c7 / (mean_c7 + 25**7)).sqrt())
    (c1, h1), (c2, h2) = _chroma_and_hue(a1 * g, b1), _chroma_and_hue(a2 * g, b2)
    grey = c1 * c2 == 0
    turn = torch.where((h2 - h1).abs() <= 180, h2 - h1, torch.remainder(h2 - h1 + 180, 360) - 180)
    turn = turn.masked_fill(grey, 0)
    hue = torch.where(grey, h1 + h2, torch.remainder(h1 + turn / 2, 360))
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2

    def cos(degrees):
        return torch.cos(torch.deg2rad(degrees))

    t = 1 - 0.17 * cos(hue - 30) + 0.24 * cos(2 * hue) + 0.32 * cos(3 * hue + 6) - 0.20 * cos(4 * hue - 63)
    s_l = 1 + 0.015 * (light - 50) ** 2 / (20 + (light - 50) ** 2).sqrt()
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    r_c = 2 * (chroma**7 / (chroma**7 + 25**7)).sqrt()
    r_t = -torch.sin(torch.deg2rad(60 * torch.exp(-(((hue - 275) / 25) ** 2)))) * r_c
    dl, dc = (l2 - l1) / s_l, (c2 - c1) / s_c
    dh = 2 * (c1 * c2).sqrt() * torch.sin(torch.deg2rad(turn / 2)) / s_h
    return (dl**2 + dc**2 + dh**2 + r_t * dc * dh).clamp(min=0).sqrt()


def _chroma_and_hue(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.hypot(a, b), torch.remainder(torch.rad2deg(torch.atan2(b, a)), 360)
