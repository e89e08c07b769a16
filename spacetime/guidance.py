"""Guidance by diffusers' guiders: which predictions are made, and how they become one."""

import logging
from types import SimpleNamespace

import torch
from torch import Tensor

from .model import Text, together
from .names import GUIDERS

BRANCHES = ("pred_cond", "pred_uncond")


def make_guider(name: str, scale: float, from_positive: float | None = None):
    """scale 1 switches guidance off: one prediction a step instead of two.

    None is u + scale·(c - u), as most models have it; a number is c + (scale + number)·(c - u), the first way to write
    it (Ho and Salimans 2022): with -1 the same to the last bit but one, with 0 one more.
    """
    from diffusers import guiders

    if name not in GUIDERS:
        raise ValueError(f"guider {name!r} can't be; one of {', '.join(GUIDERS)}")
    logging.getLogger("diffusers.guiders.guider_utils").setLevel(logging.ERROR)  # "experimental", on every construction
    guider, original = getattr(guiders, GUIDERS[name]), from_positive is not None
    told = scale + from_positive if original else scale
    return guider(guidance_scale=told, use_original_formulation=original, enabled=scale > 1.0)


def guided(model, guider, x: Tensor, t: Tensor, texts: tuple[Text, Text], batched: bool, sigma=None) -> Tensor:
    """One guided prediction [B, C, T, H, W]. texts: positive and negative; sigma: how noisy x is, for models whose
    guidance acts on x0."""
    branches = BRANCHES[: guider.num_conditions]
    if batched and len(branches) == 2 and texts[0].fits(texts[1]):
        times = torch.cat([t, t]) if t.ndim and len(t) > 1 else t
        both = model.predict(torch.cat([x, x]), times, together(reversed(texts)), "both")  # the negative first, as all
        predictions = both.chunk(2)[::-1]
    else:
        predictions = [model.predict(x, t, text, branch) for branch, text in zip(branches, texts, strict=False)]
    sigma = sigma if model.guides_x0 else None
    model.aside(lambda predictions, y: combined(guider, predictions, y, sigma))
    return combined(guider, predictions, x, sigma)


def combined(guider, predictions, x: Tensor, sigma=None) -> Tensor:
    """Predictions, the positive one first, as one. With sigma they are velocities, and what is guided is the x0 that
    they imply."""
    if sigma is not None:
        predictions = [x - prediction * sigma for prediction in predictions]
    named = [
        SimpleNamespace(**{guider._identifier_key: b, "noise_pred": p})
        for b, p in zip(BRANCHES, predictions, strict=False)
    ]
    guess = guider(named).pred
    return guess if sigma is None else (x - guess) / sigma
