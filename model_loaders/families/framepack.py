"""FramePack (HunyuanVideoFramepackTransformer3DModel; Zhang and Agrawala 2025): HunyuanVideo that makes a video in
sections, from the end to the start or, as FramePack-F1, from the start to the end.

Beside a section it is shown, clean, a picture to begin with, which SigLIP sees too, and what is there of the 19 latent
frames next to it: one as it is, two and sixteen in tokens 8 and 64 times as large. Cells known inside a section go in
as noisy as the rest.
"""

import re
from dataclasses import replace
from itertools import islice

from ...spacetime.model import Around, Beside
from ...spacetime.names import BACKWARD, FORWARD
from ..dit import DiTFacts
from . import hunyuan_video

SECTION = 9  # latent frames
NEAR = 1, 2, 16  # latent frames next to a section: as they are, two and four to a token
SHOWN = 1 + sum(NEAR)  # with the picture
LOUDEST_SHIFT = 7.0
BESIDE = "beside x, packed the more the farther they are from a section, but inside it as noisy as the rest"


def facts(config: dict, folder) -> DiTFacts:
    """Only a name tells F1 from the others."""
    f1 = re.search(r"(?<![a-z0-9])f1(?![a-z0-9])", f"{folder.parent.name}/{folder.name}".lower())
    return replace(
        hunyuan_video.facts(config, folder),
        family="FramePack",
        trained_cells=(SECTION, 120, 120),  # 960×416 to 416×960
        known_by=BESIDE,
        neighbours=("image_encoder",),
        order=FORWARD if f1 else BACKWARD,
        past=(2 + 2 / 8 + 16 / 64) / SECTION,
    )


class Adapter(hunyuan_video.Adapter):
    """As HunyuanVideoFramepackPipeline does: `vanilla` is forward, `inverted_anti_drifting` backward."""

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        super().__init__(transformer, dit)
        self.neighbour, self.channels, self.forward = beside, dit.channels, dit.order == FORWARD
        self.time_factor = dit.vae.get("temporal_compression_ratio", 4)

    def set_timesteps(self, scheduler, steps, shape):
        import math

        import numpy as np

        from ...spacetime.schedule import set_even_timesteps

        tokens = math.prod(shape[2:]) / self.patch[1] ** 2
        sigmas = np.linspace(1.0, 0.0, steps + 1)[:-1]
        set_even_timesteps(scheduler, steps, self.device, tokens, sigmas, most=math.log(LOUDEST_SHIFT))

    def beside(self, known):
        """channels [B, n·C, T, H, W]: the picture, then the frames next to the section, nearer ones first, folded to as
        many frames as the section has."""
        import torch
        from einops import rearrange
        from torch.nn.functional import pad

        count, around = known.cells.shape[2], known.around or Around(known.cells, known.free, 0, known.pixels)
        first, last = around.first, around.first + count
        whole = (around.free.amax((0, 1, 3, 4)) == 0).tolist()
        before = [i for i in range(first) if whole[i]]
        begin = (before[0] if self.forward else before[-1]) if before else None
        shown = torch.zeros_like(around.cells[:, :, :1]) if begin is None else around.cells[:, :, begin : begin + 1]
        far = sum(NEAR)
        cells = pad(around.cells, [0, 0, 0, 0, far, far])
        if self.forward:
            near = reversed(cells[:, :, first:][:, :, :far].split(NEAR[::-1], dim=2))
        else:
            near = cells[:, :, far + last :][:, :, :far].split(NEAR, dim=2)
        past = torch.cat([shown, *near], dim=2)
        parts = -(-SHOWN // count)
        past = pad(past, [0, 0, 0, 0, 0, parts * count - SHOWN])
        channels = known.around and rearrange(past, "b c (n t) h w -> b (n c) t h w", n=parts)
        # how far the picture is, as far as the model was trained to know
        farthest = 3 if last == len(whole) or whole[last] else 2
        away = min(first - begin - 1 if before else first, farthest * count)
        seen = begin if before else next((i for i, is_known in enumerate(whole) if is_known), None)
        picture = self.picture(around.pixels, seen)
        told = {"picture": picture.expand(len(cells), -1, -1), "away": away}
        return Beside(channels, told, known.free if (known.free < 1).any() else None)

    def picture(self, pixels, cell):
        """The last frame of a cell as SigLIP sees it [1, N, D]; no token where it hasn't come as pixels."""
        import torch

        if pixels is None or cell is None:
            return torch.zeros(1, 0, self.transformer.config.image_proj_dim, device=self.device, dtype=self.dtype)
        frame = next(islice(pixels.frames(), cell * self.time_factor, None))
        encoder, prepare = self.neighbour("image_encoder"), self.neighbour("feature_extractor")
        there_and_back = (2.0 * frame.permute(0, 3, 1, 2) - 1.0 + 1) / 2.0  # the pipeline's rounding
        ready = prepare(images=there_and_back, return_tensors="pt", do_rescale=False)
        return encoder(**ready.to(encoder.device, encoder.dtype)).last_hidden_state.to(self.device, self.dtype)

    def predict(self, x, t, text, branch):
        import torch
        from einops import rearrange

        x, past = x[:, : self.channels], x[:, self.channels :]
        if past.shape[1]:
            past = rearrange(past, "b (n c) t h w -> b c (n t) h w", c=self.channels)[:, :, :SHOWN]
        else:  # there is nothing around
            past = x.new_zeros(len(x), self.channels, SHOWN, *x.shape[3:])
        clean, twos, fours = past.to(self.dtype).split([2, *NEAR[1:]], dim=2)
        count, away = x.shape[2], int(text.more["away"])
        sizes = [1, *NEAR[::-1], count] if self.forward else [1, away, count, *NEAR]
        at = torch.arange(sum(sizes), device=x.device).split(sizes)
        picture, of_fours, of_twos, of_one, own = at if self.forward else (at[0], *at[:2:-1], at[2])
        guidance = text.more.get("guidance", hunyuan_video.DEFAULT_GUIDANCE)
        guidance = torch.tensor([guidance] * len(x), dtype=self.dtype) * 1000.0
        with self.transformer.cache_context(branch):
            return self.transformer(
                hidden_states=x.to(self.dtype),
                timestep=t.expand(len(x)).float(),
                encoder_hidden_states=text.embeddings,
                encoder_attention_mask=text.more["attention_mask"].to(self.dtype),
                pooled_projections=text.more["pooled_output"],
                image_embeds=text.more["picture"],
                guidance=guidance.to(self.device),
                indices_latents=own,
                latents_clean=clean,
                indices_latents_clean=torch.cat([picture, of_one]),
                latents_history_2x=twos,
                indices_latents_history_2x=of_twos,
                latents_history_4x=fours,
                indices_latents_history_4x=of_fours,
                return_dict=False,
            )[0]
