"""Latte (LatteTransformer3DModel): noise prediction, one time for all, frames made by an image VAE."""

from ...spacetime.model import Denoiser
from ..dit import DiTFacts
from ..folders import sibling_json

DEFAULT_SCHEDULER = {
    "_class_name": "DDIMScheduler", "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
    "clip_sample": False, "prediction_type": "epsilon",
}  # fmt: skip
SCALE = 0.18215


def facts(config: dict, folder) -> DiTFacts:
    width, side, size = (
        config["num_attention_heads"] * config["attention_head_dim"], config["patch_size"], config["sample_size"]
    )  # fmt: skip
    return DiTFacts(
        family="Latte",
        channels=config["in_channels"],
        patch=(1, side, side),
        max_cells=(4096, 4096, 4096),
        trained_cells=(config["video_length"], size, size),
        text_width=config["caption_channels"],
        width=width,
        ffn=4 * width,
        per_token_time=False,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=sibling_json(folder, "vae", "config.json"),
        reads=("attention_mask",),
    )


class Adapter(Denoiser):
    """As LattePipeline does: both prompts in one batch, both as long as the positive one is."""

    batched_guidance = True

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer = transformer
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.scale = dit.vae.get("scaling_factor", SCALE)
        # not the transformer's own, which disk offload keeps empty between passes
        self.positions = positions(dit.trained_cells[0], dit.width).to(self.device)

    def normalise(self, latent):
        return latent * self.scale

    def denormalise(self, x):
        return 1 / self.scale * x

    def sampling(self, texts):
        from contextlib import nullcontext

        self.words = int(texts[0].more["attention_mask"][0].sum())
        return nullcontext()

    def predict(self, x, t, text, branch):
        words = self.words if branch == "pred_uncond" else int(text.more["attention_mask"][-1].sum())
        self.transformer.temp_pos_embed = self.times(x.shape[2])
        return self.transformer(
            hidden_states=x.to(self.dtype),
            encoder_hidden_states=text.embeddings[:, :words],
            timestep=t.expand(len(x)),
            return_dict=False,
        )[0].float()[:, : x.shape[1]]  # the rest says how sure it is

    def times(self, frames: int):
        """[1, frames, D]: the model has them for one length; they go on in the same way."""
        if frames <= self.positions.shape[1]:
            return self.positions[:, :frames]
        return positions(frames, self.positions.shape[2]).to(self.device)


def positions(frames: int, width: int):
    """[1, frames, D], as LatteTransformer3DModel makes them."""
    import torch
    from diffusers.models.embeddings import get_1d_sincos_pos_embed_from_grid

    return get_1d_sincos_pos_embed_from_grid(width, torch.arange(frames)[:, None], output_type="pt").float()[None]
