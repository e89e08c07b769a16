"""Guidance by diffusers' guiders: which predictions are made, and how they become one."""

import logging
from types import SimpleNamespace

import torch
from torch import Tensor

from .model import Text, together
from .names import GUIDERS, ISOLATED, JOINT, SKIPPED

BRANCHES = ("pred_cond", "pred_uncond")


def make_guider(name: str, scale: float, from_positive: float | None = None):
    """scale 1 switches guidance off: one prediction a step instead of two or, of JOINT, four.

    None is u + scale·(c - u), as most models have it; a number is c + (scale + number)·(c - u), the first way to write
    it (Ho and Salimans 2022): with -1 the same to the last bit but one, with 0 one more.
    """
    from diffusers import guiders

    if name == JOINT:
        return JointGuidance(scale)
    if name not in GUIDERS:
        raise ValueError(f"guider {name!r} can't be; one of {', '.join(GUIDERS)}")
    logging.getLogger("diffusers.guiders.guider_utils").setLevel(logging.ERROR)  # "experimental", on every construction
    guider, original = getattr(guiders, GUIDERS[name]), from_positive is not None
    told = scale + from_positive if original else scale
    return guider(guidance_scale=told, use_original_formulation=original, enabled=scale > 1.0)


class ByTime:
    """One guider down to the time `boundary`, another below it: for models of two experts."""

    def __init__(self, high, low, boundary: float):
        self.high, self.low, self.boundary = high, low, boundary
        self.now = max(high, low, key=lambda guider: guider.num_conditions)  # what memory is counted for

    def set_state(self, step: int, steps: int, t: Tensor) -> None:
        self.now = self.low if t < self.boundary else self.high
        self.now.set_state(step, steps, t)

    def __getattr__(self, name: str):
        return getattr(self.now, name)

    def __call__(self, told):
        return self.now(told)


class JointGuidance:
    """How LTX-2's pipelines guide: away from the negative prompt (Ho and Salimans 2022), from the model without
    attention in one block (spatio-temporal skip guidance, Hyung et al. 2024) and from picture and sound that don't know
    of each other; then the contrast is brought back towards the plain prediction's (Lin et al. 2024, eq. 14-16).

    The sound is guided by `beside`, after the negative prompt at a scale of its own.
    """

    SKIP, TOGETHER, RESCALE, SOUND = 1.0, 3.0, 0.7, 7.0

    def __init__(self, scale: float, sound: float = SOUND):
        self.scale, self.on = scale, scale > 1.0
        self.num_conditions = 2 if self.on else 1
        self.beside = JointGuidance(sound, 1.0) if self.on and sound > 1.0 else self

    def set_state(self, step: int, steps: int, t: Tensor) -> None:
        """As diffusers' guiders; every step is guided alike."""

    def __call__(self, told: dict[str, Tensor]) -> Tensor:
        from diffusers.guiders.guider_utils import rescale_noise_cfg

        plain = guess = told[BRANCHES[0]]
        if not self.on:
            return plain
        for branch, scale in ((BRANCHES[1], self.scale - 1), (SKIPPED, self.SKIP), (ISOLATED, self.TOGETHER - 1)):
            if branch in told:
                guess = guess + scale * (plain - told[branch])
        return rescale_noise_cfg(guess, plain, guidance_rescale=self.RESCALE)


def guided(model, guider, x: Tensor, t: Tensor, texts: tuple[Text, Text], batched: bool, sigma=None) -> Tensor:
    """One guided prediction [B, C, T, H, W]. texts: positive and negative; sigma: how noisy x is, for models whose
    guidance acts on x0."""
    branches = BRANCHES[: guider.num_conditions]
    if batched and len(branches) == 2 and texts[0].fits(texts[1]):
        times = torch.cat([t, t]) if t.ndim and len(t) > 1 else t
        both = model.predict(torch.cat([x, x]), times, together(reversed(texts)), "both")  # the negative first, as all
        predictions = dict(zip(BRANCHES, both.chunk(2)[::-1], strict=True))
    else:
        predictions = {branch: model.predict(x, t, text, branch) for branch, text in zip(branches, texts, strict=False)}
    if isinstance(guider, JointGuidance) and guider.on:
        predictions |= {branch: model.predict(x, t, texts[0], branch) for branch in model.weaker(x, t)}
    sigma = sigma if model.guides_x0 else None

    def of_another(predictions, y, kept=None):
        return combined(guider if kept else getattr(guider, "beside", guider), predictions, y, sigma, kept)

    model.aside(of_another)
    return combined(guider, predictions, x[:, : predictions[branches[0]].shape[1]], sigma)  # without what is beside x


def combined(guider, predictions: dict[str, Tensor], x: Tensor, sigma=None, kept=None) -> Tensor:
    """Predictions, by branch, as one. With sigma they are velocities, and what is guided is the x0 that they imply;
    kept: x0 → x0 with what is known of it."""
    if sigma is not None:
        predictions = {branch: x - prediction * sigma for branch, prediction in predictions.items()}
    if isinstance(guider, JointGuidance):
        guess = guider(predictions)
    else:
        key = guider._identifier_key
        guess = guider([SimpleNamespace(**{key: b, "noise_pred": p}) for b, p in predictions.items()]).pred
    return guess if sigma is None else (x - (kept(guess) if kept else guess)) / sigma
