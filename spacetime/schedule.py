"""diffusers' schedulers by the names users know: how noisy a step is, and how one is taken."""

import inspect
from math import inf

from .names import AUTO, SCHEDULERS


def make_scheduler(name: str, config: dict, shift: float = 0.0):
    """The scheduler `name`, or with 'auto' the one in the model's own `config`. shift 0 is the model's own.

    shift s moves every sigma to s·σ / (1 + (s-1)·σ): larger spends more steps at high noise (Esser et al. 2024).
    """
    import diffusers

    if name != AUTO and name not in SCHEDULERS:
        raise ValueError(f"scheduler {name!r} can't be; one of auto, {', '.join(SCHEDULERS)}")
    if name != AUTO and (backward(config) or not is_flow(config)):
        raise ValueError(f"scheduler {name!r} is for flow-matching models; this one's is {config['_class_name']}: auto")
    own = {key: config[key] for key in DYNAMIC if key in config}  # a shift that grows with the canvas
    if shift:
        own = {"use_dynamic_shifting": False} if own else {}
    shift = shift or config.get("flow_shift") or config.get("shift") or 1.0
    class_name, settings = (config["_class_name"], {**config, **own}) if name == AUTO else SCHEDULERS[name]
    scheduler_class = getattr(diffusers, class_name, None)
    if scheduler_class is None:
        raise ValueError(
            f"the model names the scheduler {class_name!r}, which this diffusers doesn't have; choose one by name"
        )
    accepted = inspect.signature(scheduler_class.__init__).parameters
    if name != AUTO:
        settings = {**settings, **{key: value for key, value in own.items() if key in accepted}}
    if is_flow(config):
        settings = {**settings, "shift" if "shift" in accepted else "flow_shift": shift}
    return scheduler_class.from_config(settings)


# settings of a shift that depends on the number of tokens
DYNAMIC = ("use_dynamic_shifting", "time_shift_type", "base_shift", "max_shift", "base_image_seq_len",
           "max_image_seq_len", "shift_terminal")  # fmt: skip


def is_flow(config) -> bool:
    """Whether a model with this scheduler config predicts the velocity noise - x0, between x0 and noise in a line."""
    return config.get("prediction_type") not in ("v_prediction", "epsilon", "sample")


def backward(config) -> bool:
    """Whether time runs from noise to the picture, and the velocity with it (Mochi)."""
    return bool(config.get("invert_sigmas"))


def set_even_timesteps(scheduler, steps: int, device, tokens: int = 0, sigmas=None, most: float = inf) -> None:
    """Sigmas evenly from 1 to 1/steps before any shift, where the scheduler lets us say so; with a dynamic shift they
    move to high noise the more the more tokens there are (Esser et al. 2024). sigmas: the same, rounded otherwise;
    most: of that shift's logarithm."""
    import numpy as np

    accepted = inspect.signature(scheduler.set_timesteps).parameters
    more = {}
    if scheduler.config.get("use_dynamic_shifting") and "mu" in accepted:
        more["mu"] = min(dynamic_shift(scheduler.config, tokens), most)
    if steps == 1 and scheduler.config.get("shift_terminal"):  # one sigma can't be stretched: diffusers divides 0 by 0
        scheduler.register_to_config(shift_terminal=None)
    if "sigmas" in accepted and "shift" in inspect.signature(type(scheduler).__init__).parameters:
        more["sigmas"] = np.linspace(1.0, 1 / steps, steps) if sigmas is None else sigmas
    scheduler.set_timesteps(steps, device=device, **more)


def along(levels: tuple[float, ...], steps: int) -> list[float]:
    """The sigmas that a model was distilled for, without the last 0; of another number of steps, evenly along them."""
    import numpy as np

    ends = np.arange(len(levels) + 1)
    return np.interp(np.arange(steps) * len(levels) / steps, ends, [*levels, 0.0]).tolist()


def set_linear_quadratic_timesteps(scheduler, steps: int, device, slow: float = 0.025) -> None:
    """Half of the steps through the first `slow` of the noise, the other half quadratically through the rest, where
    the scheduler lets us say so (LTX-Video, Mochi)."""
    import torch

    if (
        "shift" not in inspect.signature(type(scheduler).__init__).parameters
        or "timesteps" not in inspect.signature(scheduler.set_timesteps).parameters
    ):
        return scheduler.set_timesteps(steps, device=device)
    scheduler.set_timesteps(device=device, timesteps=torch.tensor(linear_quadratic(steps, slow)) * 1000)


def linear_quadratic(steps: int, slow: float = 0.025) -> list[float]:
    """Sigmas from 1 down, without the last 0."""
    if steps < 2:
        return [1.0]
    linear = steps // 2
    missing, rest = linear - slow * steps, steps - linear
    square, line = missing / (linear * rest**2), slow / linear - 2 * missing / rest**2
    first = [i * slow / linear for i in range(linear)]
    return [1.0 - x for x in first + [square * i**2 + line * i + square * linear**2 for i in range(linear, steps)]]


def dynamic_shift(config, tokens: int) -> float:
    """mu, on the line through the shifts of a small and a large canvas."""
    small, large = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (high - low) / (large - small)
    return tokens * slope + (low - slope * small)


def level(scheduler, index: int, t):
    """(alpha, sigma) at step `index`: what is seen there is alpha·x0 + sigma·noise."""
    if is_flow(scheduler.config):
        sigma = scheduler.sigmas[index]
        return (sigma, 1.0 - sigma) if backward(scheduler.config) else (1.0 - sigma, sigma)
    if explodes(scheduler):
        return 1.0, scheduler.sigmas[index]
    kept = scheduler.alphas_cumprod.float()[int(t)]
    return kept**0.5, (1 - kept) ** 0.5


def explodes(scheduler) -> bool:
    """Whether noise is added to a picture that keeps its size (Karras et al. 2022), as diffusers' Euler ancestral does;
    the model then sees both scaled down."""
    return hasattr(scheduler, "is_scale_input_called")


def as_loud(scheduler, noise):
    """Noise as the first step has it."""
    return noise * scheduler.init_noise_sigma if explodes(scheduler) else noise


def seen_by_model(scheduler, x, t):
    """x as the model was trained to see it."""
    return scheduler.scale_model_input(x, t) if explodes(scheduler) else x


def clean(scheduler, x, prediction, alpha, sigma):
    """x0 as a prediction implies it."""
    kind = scheduler.config.get("prediction_type")
    if is_flow(scheduler.config):
        return x + sigma * prediction if backward(scheduler.config) else x - sigma * prediction
    if kind == "v_prediction":  # Salimans and Ho 2022
        return alpha * x - sigma * prediction
    return prediction if kind == "sample" else (x - sigma * prediction) / alpha


def stepper(scheduler, generator):
    """A function (prediction, t, x) → x one step on. A new one for every run: some solvers look back a step."""
    accepted = inspect.signature(scheduler.step).parameters
    seeded = {"generator": generator} if "generator" in accepted else {}
    if "old_pred_original_sample" not in accepted:
        return lambda prediction, t, x: scheduler.step(prediction, t, x, return_dict=False, **seeded)[0]
    x0 = before = None

    def step(prediction, t, x):
        nonlocal x0, before
        x, x0 = scheduler.step(prediction, x0, t, before, x, return_dict=False, **seeded)
        before = t
        return x

    return step
