"""Diffusion forcing (Chen et al. 2024): a model that learnt a time of its own for every frame can denoise the first
frames ahead of the later ones, which then follow what is nearly there already.

Blocks of latent frames go as a wave: SkyReels-V2's asynchronous inference (Chen et al. 2025). Without a lag the wave
is one block of all frames. No torch at import: plans count its passes.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import accumulate

from .schedule import level, stepper
from .windows import Windows


@dataclass(frozen=True)
class Forcing:
    """lag: passes by which each block of `block` latent frames is behind the one before; 0 = all frames together.

    causal: no latent frame sees a later block, known or not. known_noise: thousandths of noise in known cells, anew in
    every pass: less is copied from them, so that errors don't add up and a picture begins to move.
    """

    lag: int = 0
    block: int = 1
    causal: bool = False
    known_noise: int = 0

    def blocks(self, count: int) -> list[slice]:
        """Of `count` latent frames; the last may be shorter."""
        block = self.block if self.lag else count
        return [slice(first, min(first + block, count)) for first in range(0, count, block)]

    def passes(self, steps: int, count: int) -> int:
        """Through `count` latent frames of which none is known."""
        return steps + min(self.lag, steps) * (len(self.blocks(count)) - 1)

    def mask_bytes(self, tokens: int, bytes_per_value: int) -> int:
        """Of what says which token sees which, and of what a pass makes of it, in its own dtype."""
        return tokens * tokens * (1 + bytes_per_value) if self.causal else 0

    def check(self, windows: Windows, shape: tuple[int, int, int], patch: tuple[int, int, int]) -> None:
        """Raises ValueError where a canvas [T, H, W] so seen can't be made."""
        if self.lag and len(windows.sizes(shape, patch)) > 1:
            raise ValueError(
                f"lag: a picture of {shape[1]}×{shape[2]} cells is made small first, all frames together; lag 0, a "
                "smaller one, or other windows than auto"
            )
        self.check_blocks(count for _, (count, *_) in windows.parts(shape))

    def check_blocks(self, counts: Iterable[int]) -> None:
        """counts: latent frames that the model is shown at a time. Its mask knows whole blocks only."""
        for count in counts if self.causal else ():
            if left := count % self.block:
                fitting = " or ".join(str(n) for n in (count - left, count - left + self.block) if n)
                raise ValueError(f"causal: {count} latent frames aren't whole blocks of {self.block}; {fitting} are")


TOGETHER = Forcing()


def wave(free: Sequence[bool], steps: int, lag: int) -> list[list[int]]:
    """For every pass the step that each block takes: below 0 it still waits, from `steps` on it is done.

    free: which blocks are to be made. Those that are known are done, and nobody waits for them.
    """
    begins = [min(lag, steps) * (rank - 1) for rank in accumulate(free)]
    last = max(begins, default=0) + steps
    return [[i - begin if one else steps for begin, one in zip(begins, free, strict=True)] for i in range(last)]


def passes(scheduler, first: int, generator, forcing: Forcing, free) -> Iterator[tuple]:
    """(t, alpha, sigma, step) of every pass through a canvas, from step `first` of the scheduler on.

    free [B, 1, T, H, W]: 1 = free, 0 = known. Without a lag t is a scalar and step(prediction, t, x) → x the
    scheduler's; with one, t, alpha and sigma are [1, 1, T, H, W], and step leaves blocks alone that wait or are done.
    Each block has a scheduler of its own, as solvers look back at their last steps.
    """
    timesteps = scheduler.timesteps[first:]
    levels = [level(scheduler, first + i, t) for i, t in enumerate(timesteps)]
    if not forcing.lag:
        step = stepper(scheduler, generator)
        yield from ((t, *each, step) for t, each in zip(timesteps, levels, strict=True))
        return
    import torch

    blocks, steps = forcing.blocks(free.shape[2]), len(timesteps)
    solvers = [stepper(deepcopy(scheduler), generator) for _ in blocks]
    told = torch.tensor([[t, *each] for t, each in zip(timesteps, levels, strict=True)] + [[0.0, 1.0, 0.0]])
    for row in wave([bool(free[:, :, block].any()) for block in blocks], steps, forcing.lag):

        def step(prediction, _, x, row=row):
            after = x.clone()
            for i, block, solver in zip(row, blocks, solvers, strict=True):
                if 0 <= i < steps:
                    after[:, :, block] = solver(prediction[:, :, block], timesteps[i], x[:, :, block])
            return after

        at = [min(max(i, 0), steps) for i, block in zip(row, blocks, strict=True) for _ in range(free.shape[2])[block]]
        yield *told[at].to(free.device).T.view(3, 1, 1, -1, 1, 1).expand(3, 1, 1, *free.shape[2:]), step
