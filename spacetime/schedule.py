"""diffusers' flow-matching schedulers by the names users know."""

import inspect

from .names import AUTO, SCHEDULERS


def make_scheduler(name: str, config: dict, shift: float = 0.0):
    """The scheduler `name`, or with 'auto' the one in the model's own `config`. shift 0 is the model's own.

    shift s moves every sigma to s·σ / (1 + (s-1)·σ): larger spends more steps at high noise (Esser et al. 2024).
    """
    import diffusers

    if name != AUTO and name not in SCHEDULERS:
        raise ValueError(f"scheduler {name!r} can't be; one of auto, {', '.join(SCHEDULERS)}")
    shift = shift or config.get("flow_shift") or config.get("shift") or 1.0
    class_name, settings = (config["_class_name"], config) if name == AUTO else SCHEDULERS[name]
    scheduler_class = getattr(diffusers, class_name, None)
    if scheduler_class is None:
        raise ValueError(
            f"the model names the scheduler {class_name!r}, which this diffusers doesn't have; choose one by name"
        )
    key = "shift" if "shift" in inspect.signature(scheduler_class.__init__).parameters else "flow_shift"
    return scheduler_class.from_config({**settings, key: shift})
