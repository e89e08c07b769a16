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
from .windows import redrawing_steps


def sample_in_stages(
    model: Denoiser, prompts: Sequence[Prompt], known: Tensor, sizes: Sequence[tuple[int, int]], *, steps: int,
    on_step: Callable[[Step], None] = lambda step: None, **settings,
) -> Tensor:  # fmt: skip
    """As `sample` for a canvas `known` [B, C, T, H, W] of free cells; sizes: (H, W) of each stage, the last its own."""
    x, redrawing, done = None, redrawing_steps(steps), 0
    for height, width in sizes:
        if x is None:
            start, strength = known.new_zeros(*known.shape[:3], height, width), 1.0
        else:
            start, strength = enlarged(x, height, width), (redrawing + 0.5) / steps
        of_stage = steps if x is None else redrawing

        def told(step: Step, before: int = done, of_stage: int = of_stage) -> None:
            stretches = step.total // of_stage
            total = stretches * (steps + redrawing * (len(sizes) - 1))
            on_step(Step(stretches * before + step.index, total, step.x0))

        x = sample(model, prompts, start, None, steps=steps, denoise=strength, on_step=told, **settings)
        done += of_stage
    return x


def enlarged(x: Tensor, height: int, width: int) -> Tensor:
    """[B, C, T, h, w] → [B, C, T, height, width]."""
    batch, frames = x.shape[0], x.shape[2]
    planes = interpolate(x.transpose(1, 2).flatten(0, 1), size=(height, width), mode="bicubic")
    return planes.unflatten(0, (batch, frames)).transpose(1, 2)
