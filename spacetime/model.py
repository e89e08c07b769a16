"""What the sampler expects of a model, and what most models answer. Families (model_loaders/families) say where they
differ; nothing here knows one. No torch at import: loaders list models without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .follow import Followed
    from .pixels import Pixels


@dataclass(frozen=True)
class Text:
    """A prompt as a model reads it.

    embeddings [B, L, D]; more: whatever else it reads, by name, tensors [B, …] (attention_mask, pooled_output,
    guidance) or plain numbers (fps).
    """

    embeddings: Tensor
    more: dict[str, Tensor | float] = field(default_factory=dict)

    def to(self, device: torch.device, dtype: torch.dtype) -> Text:
        return self._each(lambda x: x.to(device, dtype if x.is_floating_point() else x.dtype))

    def expand(self, batch: int) -> Text:
        return self._each(lambda x: x.expand(batch, *x.shape[1:]))

    def given(self, more: dict[str, Tensor | float]) -> Text:
        return Text(self.embeddings, {**self.more, **more})

    def fits(self, other: Text) -> bool:
        """Whether both can be one batch: foreign prompts may differ in length."""
        shapes = ({k: v.shape[1:] for k, v in text.tensors().items()} for text in (self, other))
        return next(shapes) == next(shapes)

    def tensors(self) -> dict[str, Tensor]:
        return {"": self.embeddings, **{k: v for k, v in self.more.items() if hasattr(v, "shape")}}

    def _each(self, change) -> Text:
        more = {k: change(v) if hasattr(v, "shape") else v for k, v in self.more.items()}
        return Text(change(self.embeddings), more)


def together(texts: Iterable[Text]) -> Text:
    """Several prompts as one batch."""
    import torch

    texts = list(texts)
    names = [name for name in texts[0].tensors() if name]
    joined = {name: torch.cat([text.more[name] for text in texts]) for name in names}
    return Text(torch.cat([text.embeddings for text in texts]), {**texts[0].more, **joined})


@dataclass(frozen=True)
class Around:
    """The canvas of T latent frames that a stretch is part of, from latent frame `first` on.

    cells [B, C, T, H, W]: normalised, with what has been made by now; free [B, 1, T, H, W] and pixels: what was known
    before anything was.
    """

    cells: Tensor
    free: Tensor
    first: int = 0
    pixels: Pixels | None = None


@dataclass(frozen=True)
class Known:
    """What is known of a canvas, for models that take it beside x.

    cells [B, C, T, H, W]: normalised; free [B, 1, T, H, W]: 1 = free, 0 = known; both without the `lead` latent frames
    that the model wanted before them.
    pixels: the same as pixels; None where only the cells have come down to us.
    followed: what the video follows without being it, for models trained to.
    around: the whole canvas, where this is a part of it.
    """

    cells: Tensor
    free: Tensor
    lead: int = 0
    pixels: Pixels | None = None
    followed: Followed | None = None
    around: Around | None = None


@dataclass(frozen=True)
class Beside:
    """What a model wants beside x. channels [B, C', T, H, W]: put after x's own in every pass; text: for every prompt;
    free [B, 1, T, H, W]: the known cells it doesn't cover, which go in as noisy as the rest; None = it covers all."""

    channels: Tensor | None = None
    text: dict[str, Tensor | float] = field(default_factory=dict)
    free: Tensor | None = None


class Denoiser:
    """A loaded diffusion transformer behind one face. x is always [B, C, T, H, W], normalised latents in float32.

    Tokens are the grid's cells in patches, in the order (t h w): N = T/patch_t · H/patch_h · W/patch_w.
    """

    device: torch.device
    dtype: torch.dtype
    patch: tuple[int, int, int]  # latent cells per token, (t, h, w)
    per_token_time: bool = False  # takes a timestep for every token, so known cells can be clean (t = 0)
    batched_guidance: bool = False  # its own pipeline runs both prompts as one batch; False = two passes
    guides_x0: bool = False  # its guidance acts on the x0 that its velocities imply, not on these
    reference_frames: int = 0  # latent frames that each reference picture takes before all that it is shown of a canvas
    blank: float = 0.5  # how bright a control video is where there is none
    layout: str = "b c t h w"  # how its own pipeline holds latents: random numbers are drawn in this order

    @classmethod
    def intro(cls, references: int) -> int:
        """Latent frames before all that it is shown of a canvas, with so many reference pictures."""
        return cls.reference_frames * references

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Drawn as the family's own pipeline draws it: a seed means the same video there and here."""
        import torch
        from einops import rearrange

        sizes = dict(zip("bcthw", shape, strict=True))
        drawn = torch.randn([sizes[axis] for axis in self.layout.split()], generator=generator, dtype=torch.float32)
        return rearrange(drawn, f"{self.layout} -> b c t h w").to(self.device)

    def normalise(self, latent: Tensor) -> Tensor:
        """Raw VAE latents (what LATENT carries) → what the transformer was trained on."""
        return latent

    def denormalise(self, x: Tensor) -> Tensor:
        return x

    def set_timesteps(self, scheduler, steps: int, shape: tuple[int, ...]) -> None:
        """The steps through a canvas `shape` [B, C, T, H, W], as the family's own pipeline spaces them."""
        from .schedule import set_even_timesteps

        if scheduler.config.get("use_dynamic_shifting"):
            tokens = math.prod(n // side for n, side in zip(shape[2:], self.patch, strict=True))
            return set_even_timesteps(scheduler, steps, self.device, tokens)
        scheduler.set_timesteps(steps, device=self.device)

    def lead(self, latent_frames: int) -> int:
        """Latent frames it wants before a canvas of so many; they are sampled along and thrown away."""
        return 0

    def beside(self, known: Known) -> Beside | None:
        """What the transformer takes beside x, for models trained on known cells as extra channels; asked once for
        every canvas, also where nothing is known. None: known cells go into x."""
        return None

    def course(self, known: Known) -> Tensor:
        """The control video as normalised latents [B, C, T, H, W]; zeros where none is followed."""
        import torch

        if known.followed is None or known.followed.cells is None:
            return torch.zeros_like(known.cells)
        return self.normalise(known.followed.cells().to(known.cells)).expand_as(known.cells)

    def grained(
        self, known: Tensor, free: Tensor, t: Tensor, share: float, generator: torch.Generator
    ) -> tuple[Tensor, float]:
        """`known` [B, C, T, H, W] with a share of noise in its known cells, for models that copy less of them then;
        and the time that they are told of these. Asked at every step, and draws anew."""
        raise NotImplementedError

    def resume(self, made: dict[str, Tensor]) -> None:
        """Told before a sampling that goes on from latents: what was made beside them, by the names of `made_aside`, to
        be denoised along; {} where nothing was or all begins as noise."""

    def begin(self, noise: Tensor, beside: Beside | None) -> Tensor:
        """What the steps begin with, [B, C, T, H, W], where they begin with noise."""
        return noise

    def sampling(self, texts: list[Text]) -> AbstractContextManager:
        """Held for the whole loop, whose prompts are `texts`. What stays the same from pass to pass may be kept."""
        return nullcontext()

    def causal(self, block: int) -> AbstractContextManager:
        """Held while no latent frame may see a later block of so many; of models trained with diffusion forcing."""
        raise NotImplementedError

    def predict(self, x: Tensor, t: Tensor, text: Text, branch: str) -> Tensor:
        """What the scheduler asks for, mostly the velocity noise - x0, in one forward pass → [B, C, T, H, W].

        x [B, C, T, H, W], with the channels of `beside` after its own; t scalar, or with per_token_time [1 or B, N];
        branch names the prediction ('pred_cond', 'pred_uncond', 'both') so that caches keep them apart.
        """
        raise NotImplementedError

    def weaker(self, x: Tensor, t: Tensor) -> tuple[str, ...]:
        """names.SKIPPED and ISOLATED, where it can predict so."""
        return ()

    def aside(self, combine: Callable[..., Tensor]) -> None:
        """Called after the predictions of a step, for models that denoise something beside x.

        combine (predictions of it, by branch; itself; kept=None) → one, guided as x is; but sound by a guider's own
        terms for it. kept, for what is no sound: x0 → x0 with what is known of it.
        """

    def made_aside(self) -> dict[str, Tensor]:
        """What it made beside x in the last sampling, by the names under which LATENT carries it."""
        return {}
