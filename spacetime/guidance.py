"""Guidance by diffusers' guiders: which predictions are made, and how they become one."""

import logging
from types import SimpleNamespace

import torch
from torch import Tensor

from .model import Text, together
from .names import GUIDERS

BRANCHES = ("pred_cond", "pred_uncond")


def make_guider(name: str, scale: float):
    """scale 1 switches guidance off: one prediction a step instead of two."""
    from diffusers import guiders

    if name not in GUIDERS:
        raise ValueError(f"guider {name!r} can't be; one of {', '.join(GUIDERS)}")
    logging.getLogger("diffusers.guiders.guider_utils").setLevel(logging.ERROR)  # "experimental", on every construction
    return getattr(guiders, GUIDERS[name])(guidance_scale=scale, enabled=scale > 1.0)


def guided(model, guider, x: Tensor, t: Tensor, texts: tuple[Text, Text], batched: bool) -> Tensor:
    """One guided prediction [B, C, T, H, W]. texts: positive and negative."""
    branches = BRANCHES[: guider.num_conditions]
    if batched and len(branches) == 2 and texts[0].fits(texts[1]):
        times = torch.cat([t, t]) if t.ndim and len(t) > 1 else t
        both = model.predict(torch.cat([x, x]), times, together(reversed(texts)), "both")  # the negative first, as all
        predictions = both.chunk(2)[::-1]
    else:
        predictions = [model.predict(x, t, text, branch) for branch, text in zip(branches, texts, strict=False)]
    named = [
        SimpleNamespace(**{guider._identifier_key: b, "noise_pred": p})
        for b, p in zip(branches, predictions, strict=True)
    ]
    return guider(named).pred
