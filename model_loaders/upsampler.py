"""A latent upsampler: latents of a small video in, those of a larger or smoother one out, which a few steps of its DiT
then refine."""

from dataclasses import dataclass

from . import fingerprints, memory
from .component import Component
from .devices import value_bytes
from .identify import article, enlarged
from .variants import UNUSUAL

# maps of its inner width that are alive at once: of the size that comes out, or of what is made smaller again; counted,
# with room for the kernels
MAPS, BETWEEN = 6, 3


@dataclass(frozen=True)
class UpsamplerFacts:
    family: str  # that of the VAE whose latents it takes
    channels: int
    width: int  # channels of its inner maps
    space: tuple[int, int]  # height and width grow by the first and shrink by the second
    temporal: bool  # each latent frame after the first becomes two

    def grown(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """(T, H, W) of a latent → of what it becomes."""
        more, less = self.space
        frames, *sides = size
        return (2 * frames - 1 if self.temporal else frames, *(-(-side * more // less) for side in sides))


class Upsampler(Component):
    kind = fingerprints.UPSAMPLER
    config: UpsamplerFacts

    def check(self, vae, channels: int):
        """Raises ValueError where it isn't made for this VAE's latents."""
        facts, wanted, found = self.config, enlarged(self.identity), vae.identity
        if vae.config.family != facts.family:
            raise ValueError(f"{self.identity.title} takes {facts.family}'s latents, not those of {found.title}")
        if wanted and found.name and UNUSUAL not in found.variant and not found.name.startswith(wanted):
            right = f"latents of {article(wanted)} VAE"
            raise ValueError(f"{self.identity.title} is made for {right}, not for those of {found.title}")
        if channels != facts.channels:
            raise ValueError(f"this latent has {channels} channels, the upsampler takes {facts.channels}")

    def working_bytes(self, shape: tuple[int, ...]) -> int:
        """Peak activations for a latent [B, C, T, H, W]."""
        value = value_bytes(self.dtype, self.device, self.precise)
        frames, height, width = self.config.grown(shape[2:])
        maps = max(MAPS, BETWEEN * self.config.space[1] ** 2) * frames * height * width
        return value * self.config.width * shape[0] * maps

    @memory.present
    def module(self):
        return self.load(self.source)

    def upsampled(self, vae, latent, adain: float = 0.0, compression: float = 0.0):
        """latent [B, C, T, H, W], as LATENT has it → float32, larger, on the CPU. Its weights are let go after it."""
        import torch

        try:
            autoencoder, module = vae.module, self.module
            memory.make_room(self.working_bytes(latent.shape), self)
            with torch.inference_mode():
                made = self.family.upsample(module, autoencoder, latent.to(autoencoder.device), adain, compression)
        finally:
            memory.give_back(self)
        if not made.isfinite().all():
            raise ValueError("the upsampler answered NaN: damaged weights, or float16 overflowed")
        return made.cpu().clone()  # an ordinary tensor, outside of inference mode
