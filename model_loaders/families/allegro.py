"""Allegro (AllegroTransformer3DModel): noise prediction, one time for all."""

from functools import lru_cache

from ...spacetime.model import Denoiser
from ..dit import DiTFacts
from ..folders import sibling_json

DEFAULT_SCHEDULER = {
    "_class_name": "EulerAncestralDiscreteScheduler", "beta_start": 0.0001, "beta_end": 0.02,
    "beta_schedule": "linear", "prediction_type": "epsilon",
}  # fmt: skip
SCALE = 0.13


def facts(config: dict, folder) -> DiTFacts:
    width, side = config["num_attention_heads"] * config["attention_head_dim"], config["patch_size"]
    return DiTFacts(
        family="Allegro",
        channels=config["in_channels"],
        patch=(config["patch_size_t"], side, side),
        max_cells=(4096, 4096, 4096),
        trained_cells=(config["sample_frames"], config["sample_height"], config["sample_width"]),
        text_width=config["caption_channels"],
        width=width,
        ffn=4 * width,
        per_token_time=False,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=sibling_json(folder, "vae", "config.json"),
        reads=("attention_mask",),
    )


class Adapter(Denoiser):
    """As AllegroPipeline does: both prompts in one batch."""

    batched_guidance = True

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer, self.config = transformer, transformer.config
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.scale = dit.vae.get("scaling_factor", SCALE)
        self.rotary = lru_cache(4)(self._rotary)

    def normalise(self, latent):
        return latent * self.scale

    def denormalise(self, x):
        return 1 / self.scale * x

    def predict(self, x, t, text, branch):
        return self.transformer(
            hidden_states=x.to(self.dtype),
            encoder_hidden_states=text.embeddings,
            encoder_attention_mask=text.more["attention_mask"],
            timestep=t.expand(len(x)),
            image_rotary_emb=self.rotary(*x.shape[2:]),
            return_dict=False,
        )[0].float()

    def _rotary(self, frames, rows, columns):
        import torch
        from diffusers.models.embeddings import get_3d_rotary_pos_embed_allegro

        grid = rows // self.patch[1], columns // self.patch[2]
        scales = (self.config[f"interpolation_scale_{axis}"] for axis in "thw")
        found = get_3d_rotary_pos_embed_allegro(
            embed_dim=self.config.attention_head_dim, crops_coords=((0, 0), grid), grid_size=grid,
            temporal_size=frames, interpolation_scale=tuple(scales), device=self.device,
        )  # fmt: skip
        places = torch.cartesian_prod(*(axis.to(torch.long) for axis in found[3:]))
        return found[:3], places.reshape(-1, 3).transpose(0, 1).reshape(3, 1, -1).contiguous().unbind()
