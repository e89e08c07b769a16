"""Mochi (MochiTransformer3DModel): its time runs from noise at 0 to the picture at 1000, and its velocity with it."""

from ...spacetime.model import Denoiser
from ..dit import DiTFacts
from ..folders import sibling_json
from .mochi_vae import statistics

DEFAULT_SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True}


def facts(config: dict, folder) -> DiTFacts:
    width, side = config["num_attention_heads"] * config["attention_head_dim"], config["patch_size"]
    return DiTFacts(
        family="Mochi",
        channels=config["in_channels"],
        patch=(1, side, side),
        max_cells=(4096, 4096, 4096),
        trained_cells=(28, 60, 106),  # 163 frames at 848×480
        text_width=config["text_embed_dim"],
        width=width,
        ffn=4 * width,
        per_token_time=False,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=sibling_json(folder, "vae", "config.json"),
        reads=("attention_mask",),
    )


class Adapter(Denoiser):
    """As MochiPipeline does: both prompts in one batch."""

    batched_guidance = True

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer = transformer
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.mean, self.std, self.scale = statistics(dit.vae, self.device)

    def normalise(self, latent):
        return (latent - self.mean) * self.scale / self.std

    def denormalise(self, x):
        return x * self.std / self.scale + self.mean

    def set_timesteps(self, scheduler, steps, shape):
        import numpy as np

        from ...spacetime.schedule import linear_quadratic, set_even_timesteps

        set_even_timesteps(scheduler, steps, self.device, sigmas=np.array(linear_quadratic(steps)))

    def predict(self, x, t, text, branch):
        with self.transformer.cache_context("cond_uncond" if branch == "both" else branch):
            return self.transformer(
                hidden_states=x.to(self.dtype),
                encoder_hidden_states=text.embeddings,
                timestep=t.expand(len(x)).to(x.dtype),
                encoder_attention_mask=text.more["attention_mask"],
                return_dict=False,
            )[0].float()
