"""EasyAnimate 5.1, text-to-video, InP and Control (EasyAnimateTransformer3DModel): one time for all.

InP takes what is known beside x: which frames, and those frames encoded as one video whose other frames are black.
Control takes another video there, and a picture of what should appear.
"""

from inspect import signature

from ...media.fit import resized
from ...spacetime.model import Beside, Denoiser
from ...spacetime.names import CONTROL, REFERENCES
from ..checkpoint import CheckpointError
from ..dit import DiTFacts
from ..folders import sibling_json

DEFAULT_SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0, "use_dynamic_shifting": True}
SCALE = 0.7125
GRAIN = 0.0563  # noise over what is known, which InP was trained with
MU = 1  # its pipelines' shift, whatever the size


def facts(config: dict, folder) -> DiTFacts:
    channels, side = config["out_channels"], config["patch_size"]
    beside = config["in_channels"] - channels
    if beside not in (0, 1 + channels, 2 * channels):
        raise CheckpointError(
            f"{folder} is EasyAnimate for {config['in_channels']} channels; this version runs its text-to-video, InP "
            "and Control"
        )
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return DiTFacts(
        family="EasyAnimate",
        channels=channels,
        patch=(1, side, side),
        max_cells=(4096, 4096, 4096),
        trained_cells=(13, 128, 128),  # 49 frames at up to 1024 pixels a side
        text_width=config["text_embed_dim"],
        width=width,
        ffn=4 * width,
        per_token_time=False,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=sibling_json(folder, "vae", "config.json"),
        known_by="beside x, as pixels with the rest in black" if beside == 1 + channels else "",
        follows=(CONTROL, REFERENCES) if beside == 2 * channels else (),
    )


class Adapter(Denoiser):
    """As EasyAnimatePipeline, its Inpaint and its Control do: both prompts in one batch."""

    batched_guidance = True

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer, self.config = transformer, transformer.config
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.scale, self.follows = dit.vae.get("scaling_factor", SCALE), dit.follows

    def normalise(self, latent):
        return latent * self.scale

    def denormalise(self, x):
        return 1 / self.scale * x

    def noise(self, shape, generator):
        self.generator = generator  # the grain is drawn after the noise
        return super().noise(shape, generator)

    def set_timesteps(self, scheduler, steps, shape):
        shifts = scheduler.config.get("use_dynamic_shifting") and "mu" in signature(scheduler.set_timesteps).parameters
        scheduler.set_timesteps(steps, device=self.device, **({"mu": MU} if shifts else {}))

    def beside(self, known):
        """channels: the mask [B, 1, T, H, W], then what is known as latents [B, C, T, H, W]; else zeros."""
        if self.config.in_channels == self.config.out_channels:
            return None
        import torch

        if self.follows:
            channels = torch.cat([self.course(known), self.pictured(known)], dim=1)
            return Beside(channels, free=known.free if (known.free < 1).any() else None)
        kept = (known.free == 0).float()
        cells, mask, left = kept * known.cells, kept * self.scale, known.free
        if known.pixels is not None and kept.any():
            batch, size = len(known.cells), known.cells.shape[2:]
            cells, mask = (each.expand(batch, *[-1] * 4) for each in (self.encoded(known), self.by_cell(known, size)))
            left = known.free.where(known.free > 0, 1)  # the partly known cells, of which the mask can't tell
        return Beside(torch.cat([mask, cells], dim=1), free=left if (left < 1).any() else None)

    def pictured(self, known):
        """The reference image in the first latent frame, nothing in the others."""
        import torch

        cells, followed = torch.zeros_like(known.cells), known.followed
        if followed and followed.references and cells.shape[2] > 1:  # the pipeline shows an image none
            height, width = followed.size
            picture = resized(followed.references[0], width, height, "cover")
            cells[:, :, :1] = self.normalise(next(followed.encode([picture])).to(cells))
        return cells

    def by_cell(self, known, size):
        """How much of each cell is known, [1, 1, T, H, W]: the first holds one frame, the others several."""
        import torch
        from torch.nn.functional import interpolate

        mask = known.pixels.mask[None, None].to(known.cells)
        first, rest = mask[:, :, :1], mask[:, :, 1:]
        if size[0] > 1:
            rest = interpolate(rest, size=(size[0] - 1, *size[1:]), mode="trilinear", align_corners=False)
        return torch.cat([first, rest], dim=2) * self.scale

    def encoded(self, known):
        """The known frames, grained, in black, as normalised latents [1, C, T, H, W]."""
        import torch

        mask, (height, width) = known.pixels.mask, next(known.pixels.frames()).shape[1:3]
        side = height // mask.shape[1]
        kept = mask.repeat_interleave(side, 1).repeat_interleave(side, 2)[..., None]
        grain = torch.zeros(1, 3, len(mask), height, width)
        if self.config.add_noise_in_inpaint_model:
            grain = torch.randn(grain.shape, generator=self.generator) * torch.ones(1) * GRAIN

        def frames():
            for i, frame in enumerate(known.pixels.frames()):
                seen = torch.where(kept[i] > 0, frame * 2 - 1, -1.0)
                seen = seen + torch.where(seen == -1, 0.0, grain[:, :, i].permute(0, 2, 3, 1))
                yield (seen.double() + 1) / 2  # exactly what it was, once the encoder has doubled it

        raw = torch.cat(list(known.pixels.encode(frames())), dim=2)
        return self.normalise(raw.to(known.cells))

    def predict(self, x, t, text, branch):
        own = self.config.out_channels
        return self.transformer(
            x[:, :own].to(self.dtype),
            t.expand(len(x)).to(self.dtype),
            encoder_hidden_states=text.embeddings,
            inpaint_latents=x[:, own:].to(self.dtype) if x.shape[1] > own else None,  # or control's: the same place
            return_dict=False,
        )[0]
