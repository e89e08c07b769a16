"""Pictures larger than the model was trained for, from small to large.

Seen in tiles alone, a large picture is no picture: every tile draws the prompt for itself. So the whole is made first
at a size that the model sees at once; then, size by size, it is enlarged and the tiles only redraw it, from a noise
level that leaves the composition alone (progressive upscaling, Du et al. 2024, DemoFusion; SDEdit, Meng et al. 2022).
"""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn.functional import interpolate

from .model import Denoiser
from .sampler import Prompt, Step, sample
from .schedule import level
from .windows import redrawing_steps

REDRAWN = 0.1  # noise from the second size on; from 0.15 on pocket draws the prompt into every tile again, and holes
MOST = 400  # times the steps of a stage: more than any model's shift asks for


def sample_in_stages(
    model: Denoiser, prompts: Sequence[Prompt], known: Tensor, sizes: Sequence[tuple[int, int]], *, scheduler,
    steps: int, on_step: Callable[[Step], None] = lambda step: None, **settings,
) -> Tensor:  # fmt: skip
    """As `sample` for a canvas `known` [B, C, T, H, W] of free cells; sizes: (H, W) of each stage, the last its own."""
    x, redrawing, done = None, redrawing_steps(steps), 0

    def passes(steps: int) -> int:  # Heun's second order takes two a step, but for the last
        return steps * scheduler.order - (scheduler.order - 1)

    for height, width in sizes:
        if x is None:
            start, of_stage, in_all = known.new_zeros(*known.shape[:3], height, width), steps, steps
        else:
            start, of_stage = enlarged(x, height, width), redrawing
            in_all = steps_from(model, scheduler, REDRAWN, redrawing, start.shape)
        strength = 1.0 if of_stage == in_all else (of_stage + 0.5) / in_all

        def told(step: Step, before: int = done, of_stage: int = of_stage) -> None:
            stretches = step.total // passes(of_stage)
            total = stretches * (passes(steps) + passes(redrawing) * (len(sizes) - 1))
            on_step(Step(stretches * before + step.index, total, step.x0))

        settings |= {"scheduler": scheduler, "steps": in_all, "denoise": strength}
        x = sample(model, prompts, start, None, on_step=told, **settings)
        done += passes(of_stage)
    return x


def steps_from(model: Denoiser, scheduler, noise: float, count: int, shape) -> int:
    """How many steps a run must have so that its last `count` begin where at most `noise` of what is seen is noise.

    A model's shift decides how noisy a step is, so no share of the steps says it. Where a schedule has no step so low,
    its last ones.
    """

    def begins(steps: int) -> float:
        model.set_timesteps(scheduler, steps, shape)
        first = (steps - count) * scheduler.order
        alpha, sigma = level(scheduler, first, scheduler.timesteps[first])
        return float(sigma / (alpha + sigma))

    low, high = count, count * MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if begins(middle) <= noise + 1e-6 else (middle + 1, high)
    return low


def enlarged(x: Tensor, height: int, width: int) -> Tensor:
    """[B, C, T, h, w] → [B, C, T, height, width]."""
    batch, frames = x.shape[0], x.shape[2]
    planes = interpolate(x.transpose(1, 2).flatten(0, 1), size=(height, width), mode="bicubic")
    return planes.unflatten(0, (batch, frames)).transpose(1, 2)
