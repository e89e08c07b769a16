"""LTX-Video 0.9.x (LTXVideoTransformer3DModel): one timestep a token, so any cell can be known clean."""

from ...spacetime.model import Denoiser
from ..dit import DiTFacts
from ..folders import sibling_json

DEFAULT_SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True, "base_shift": 0.95,
    "max_shift": 2.05, "base_image_seq_len": 1024, "max_image_seq_len": 4096, "shift_terminal": 0.1,
}  # fmt: skip
FPS = 25.0  # for a canvas that doesn't say
CAUSAL = "LTXConditionPipeline"  # 0.9.5 and later: the first latent frame counts as the one frame it holds


def facts(config: dict, folder) -> DiTFacts:
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return DiTFacts(
        family="LTX-Video",
        channels=config["in_channels"],
        patch=(1, 1, 1),
        max_cells=(4096, 4096, 4096),
        trained_cells=(33, 40, 40),  # 257 frames at 1216×704
        text_width=config.get("caption_channels", 4096),
        width=width,
        ffn=4 * width,
        per_token_time=True,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=sibling_json(folder, "vae", "config.json"),
        reads=("attention_mask",),
        pipeline=sibling_json(folder, "model_index.json"),
    )


class Adapter(Denoiser):
    """As LTXPipeline and LTXConditionPipeline do: both prompts in one batch, tokens packed in the order (t h w)."""

    per_token_time, batched_guidance = True, True

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer = transformer
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.causal = dit.pipeline.get("_class_name") == CAUSAL
        self.factors = (dit.vae.get("temporal_compression_ratio") or 8, dit.vae.get("spatial_compression_ratio") or 32)

    def set_timesteps(self, scheduler, steps, shape):
        from ...spacetime.schedule import set_even_timesteps, set_linear_quadratic_timesteps

        if self.causal:
            return set_linear_quadratic_timesteps(scheduler, steps, self.device)
        set_even_timesteps(scheduler, steps, self.device, shape[2] * shape[3] * shape[4])

    def predict(self, x, t, text, branch):
        from einops import rearrange

        (frames, height, width), (time, space) = x.shape[2:], self.factors
        if t.ndim and (t == t[:, :1]).all():  # nothing is known: one time for all, as LTXPipeline says it
            t = t[:, :1]
        fps = text.more.get("fps", FPS)
        where = {"video_coords": self.coordinates(x, fps)} if self.causal else {
            "num_frames": frames, "height": height, "width": width,
            "rope_interpolation_scale": (time / fps, space, space),
        }  # fmt: skip
        with self.transformer.cache_context("cond_uncond" if branch == "both" else branch):
            velocity = self.transformer(
                hidden_states=rearrange(x, "b c t h w -> b (t h w) c").to(self.dtype),
                encoder_hidden_states=text.embeddings,
                timestep=t.expand(len(x), -1),
                encoder_attention_mask=text.more["attention_mask"],
                return_dict=False,
                **where,
            )[0]
        return rearrange(velocity.float(), "b (t h w) c -> b c t h w", t=frames, h=height, w=width)

    def coordinates(self, x, fps):
        """[B, 3, N]: seconds, rows and columns of pixels at which a token begins."""
        import torch

        time, space = self.factors
        axes = (torch.arange(size, device=self.device) for size in x.shape[2:])
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)  # 3 N
        frames = (grid[0] * time + 1 - time).clamp(min=0).float() * (1.0 / fps)
        return torch.stack([frames, *(grid[1:] * space).float()]).expand(len(x), -1, -1)
