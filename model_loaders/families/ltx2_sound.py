"""LTX-2's sound, denoised beside the picture where the model sees a whole video: from noise with it, or, where the
picture is noised only in part, from the sound that it had before."""

import copy
from typing import TYPE_CHECKING

from ...spacetime.schedule import level

if TYPE_CHECKING:
    from torch import Tensor

DIFFERENCE = 1  # latents by which a sound may be longer or shorter than its picture, whose length is rounded otherwise


class Sound:
    """noise, tokens [B, L, D]; before: as it was, None = it begins as noise."""

    def __init__(self, noise: "Tensor", before: "Tensor | None" = None):
        self.noise, self.before = noise, before
        self.tokens, self.due, self.said, self.own = noise, [], {}, None

    def schedule(self, scheduler, whole: bool):
        """Steps of its own, as the picture's; none where the model sees only a part of that."""
        self.picture, self.own, self.said = scheduler, copy.deepcopy(scheduler), {}
        self.due = list(scheduler.timesteps) if whole else []  # those before it

    def begin(self) -> bool:
        """At the step at which the picture begins; whether it goes on from what it was."""
        first = getattr(self.picture, "begin_index", None) or 0
        if self.before is None or not self.due or not first:
            return False
        self.own.set_begin_index(first)
        self.due = self.due[first:]
        alpha, sigma = level(self.own, first, self.due[0])
        self.tokens = sigma * self.noise + alpha * self.before
        return True

    def comes(self, t) -> bool:
        """Whether the next of its steps is at this time of the picture's."""
        return bool(self.due) and bool(t.amax() == self.due[0])

    def step(self, combine) -> "Tensor | None":
        """One step, by what was said; its time."""
        if not self.said:
            return None
        t, velocity, self.said = self.due.pop(0), combine(self.said, self.tokens), {}
        self.tokens = self.own.step(velocity, t, self.tokens, return_dict=False)[0]
        return t

    def made(self) -> dict:
        """As LATENT carries it: denoised to the end, or, where the picture alone was, as before."""
        done = self.own is not None and self.own.step_index and not self.due
        kept = self.tokens if done else self.before
        return {} if kept is None else {"sound": kept.cpu()}


def drawn(shape: tuple[int, ...], generator, device, before: "Tensor | None") -> Sound:
    """shape [B, C, L, bins]: of its noise; before [B, L, D]: counts if it is of so many videos as long as this one."""
    import torch

    batch, channels, length, bins = shape
    if before is not None and (len(before) != batch or abs(before.shape[1] - length) > DIFFERENCE):
        before = None
    length = length if before is None else before.shape[1]
    noise = torch.randn(batch, channels, length, bins, generator=generator)
    noise = noise.transpose(1, 2).flatten(2, 3).to(device)  # B L D
    return Sound(noise, before if before is None else before.to(noise))
