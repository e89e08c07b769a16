"""HunyuanVideo text-to-video (HunyuanVideoTransformer3DModel): told its guidance, one pass a step, one time for all."""

from ...spacetime.model import Denoiser
from ..checkpoint import CheckpointError
from ..dit import DiTFacts
from ..folders import sibling_json

DEFAULT_SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 7.0}
DEFAULT_GUIDANCE = 6.0  # its pipeline's; a run without guidance tells it this
SCALE = 0.476986


def facts(config: dict, folder) -> DiTFacts:
    if config.get("image_condition_type") or config["in_channels"] != config["out_channels"]:
        raise CheckpointError(
            f"{folder} is HunyuanVideo image-to-video, which reads the picture with its prompt; this version runs "
            "HunyuanVideo's text-to-video"
        )
    width, side = config["num_attention_heads"] * config["attention_head_dim"], config["patch_size"]
    return DiTFacts(
        family="HunyuanVideo",
        channels=config["out_channels"],
        patch=(config["patch_size_t"], side, side),
        max_cells=(4096, 4096, 4096),
        trained_cells=(33, 160, 160),  # 129 frames at 1280×720 or 720×1280
        text_width=config["text_embed_dim"],
        width=width,
        ffn=int(width * config["mlp_ratio"]),
        per_token_time=False,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=sibling_json(folder, "vae", "config.json"),
        reads=("attention_mask", "pooled_output"),
        embedded_guidance=bool(config["guidance_embeds"]),
    )


class Adapter(Denoiser):
    """As HunyuanVideoPipeline does."""

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer = transformer
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.scale = dit.vae.get("scaling_factor", SCALE)

    def normalise(self, latent):
        return latent * self.scale

    def denormalise(self, x):
        return x / self.scale

    def set_timesteps(self, scheduler, steps, shape):
        import numpy as np

        from ...spacetime.schedule import set_even_timesteps

        set_even_timesteps(scheduler, steps, self.device, sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])

    def predict(self, x, t, text, branch):
        import torch

        guidance = torch.tensor([text.more.get("guidance", DEFAULT_GUIDANCE)] * len(x), dtype=self.dtype) * 1000.0
        with self.transformer.cache_context(branch):
            return self.transformer(
                hidden_states=x.to(self.dtype),
                timestep=t.expand(len(x)).float(),
                encoder_hidden_states=text.embeddings,
                encoder_attention_mask=text.more["attention_mask"].to(self.dtype),
                pooled_projections=text.more["pooled_output"],
                guidance=guidance.to(self.device),
                return_dict=False,
            )[0]
