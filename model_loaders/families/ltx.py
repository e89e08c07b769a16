"""LTX-Video 0.9.x (LTXVideoTransformer3DModel): one timestep a token, so any cell can be known clean. 0.9.5 and later
are shown a picture that is one frame after the first as tokens of its own, which say what frame it is."""

from dataclasses import replace

from ...spacetime.model import Denoiser
from ..dit import DiTFacts
from ..folders import sibling_json
from .ltx_keyframes import keyframes

DEFAULT_SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True, "base_shift": 0.95,
    "max_shift": 2.05, "base_image_seq_len": 1024, "max_image_seq_len": 4096, "shift_terminal": 0.1,
}  # fmt: skip
# what 0.9.7 and later, and LTX-2, were distilled for, as their makers sample; diffusers' DISTILLED_SIGMA_VALUES
LEVELS = 1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875
FPS = 25.0  # for a canvas that doesn't say
TOKENS = "clean, at time 0, a picture after the first frame as tokens of its own"
CAUSAL = "LTXConditionPipeline"  # 0.9.5 and later: the first latent frame counts as the one frame it holds


def facts(config: dict, folder) -> DiTFacts:
    pipeline = sibling_json(folder, "model_index.json")
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
        known_by=TOKENS if pipeline.get("_class_name") == CAUSAL else "",
        pipeline=pipeline,
        known_noise=150 if pipeline.get("_class_name") == CAUSAL else 0,
    )


def distilled(facts: DiTFacts, name: str) -> DiTFacts:
    """Of one for few steps, which aren't shifted; 0.9.6 was distilled for any."""
    if "0.9.6" in name:
        return replace(facts, advice="guidance 1 and about 8 steps are right for it")
    unshifted = {"use_dynamic_shifting": False, "shift_terminal": None, "shift": 1.0}
    advice = f"guidance 1 and {len(LEVELS)} steps are right for it"
    return replace(facts, levels=LEVELS, scheduler={**facts.scheduler, **unshifted}, advice=advice)


class Adapter(Denoiser):
    """As LTXPipeline and LTXConditionPipeline do: both prompts in one batch, tokens packed in the order (t h w)."""

    per_token_time, batched_guidance = True, True

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer = transformer
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.channels, self.levels = dit.channels, dit.levels
        self.causal = dit.pipeline.get("_class_name") == CAUSAL
        self.factors = (dit.vae.get("temporal_compression_ratio") or 8, dit.vae.get("spatial_compression_ratio") or 32)

    def set_timesteps(self, scheduler, steps, shape):
        from ...spacetime.schedule import along, set_even_timesteps, set_linear_quadratic_timesteps

        if self.causal and not self.levels:
            return set_linear_quadratic_timesteps(scheduler, steps, self.device)
        sigmas = along(self.levels, steps) if self.levels else None
        set_even_timesteps(scheduler, steps, self.device, shape[2] * shape[3] * shape[4], sigmas)

    def beside(self, known):
        self.shown = keyframes(known, self.factors[0]) if self.causal else None
        self.clean = None  # what is beside x without its grain
        return self.shown

    def grained(self, known, free, t, share, generator):
        """As LTXConditionPipeline's image_cond_noise_scale: on what is known as a whole, pictures' own tokens too, less
        of it at every step. The model isn't told."""
        import torch
        from einops import rearrange

        pictures, (batch, channels, frames, height, width) = self.shown and self.shown.channels, known.shape
        own = [] if pictures is None else pictures[0, -1, :, 0, 0].nonzero()[:, 0]
        if self.clean is None:
            for _ in own:  # what the pipeline draws for each of them, whatever becomes of it
                torch.randn(batch, channels, 1, height, width, generator=generator)
            self.clean = pictures if pictures is None else pictures.clone()
        drawn = torch.randn(batch, (len(own) + frames) * height * width, channels, generator=generator)
        drawn = rearrange(drawn.to(known.device), "b (t h w) c -> b c t h w", h=height, w=width)
        grain = share * drawn * (t / 1000) ** 2
        if len(own):  # windows and tiles cut them as they cut x
            pictures[:, :-1, own] = self.clean[:, :-1, own] + grain[:, :, : len(own)]
        return known + grain[:, :, len(own) :].where(free == 0, 0), 0.0

    def predict(self, x, t, text, branch):
        import torch
        from einops import rearrange

        x, beside = x.tensor_split([self.channels], dim=1)
        (frames, height, width), (time, space) = x.shape[2:], self.factors
        own = beside[0, -1, :, 0, 0].nonzero()[:, 0] if beside.shape[1] else []  # cells with a picture
        if len(own):
            own_tokens = rearrange(beside[:, :-1, own], "b c t h w -> b (t h w) c")
            t = torch.cat([t.new_zeros(len(t), own_tokens.shape[1]), t], dim=1)
        elif t.ndim and (t == t[:, :1]).all():  # nothing is known: one time for all, as LTXPipeline says it
            t = t[:, :1]
        tokens = rearrange(x, "b c t h w -> b (t h w) c").contiguous()  # as in memory as the pipeline's: the last bits
        fps = text.more.get("fps", FPS)
        where = {"video_coords": self.coordinates(x, fps, beside, own)} if self.causal else {
            "num_frames": frames, "height": height, "width": width,
            "rope_interpolation_scale": (time / fps, space, space),
        }  # fmt: skip
        with self.transformer.cache_context("cond_uncond" if branch == "both" else branch):
            velocity = self.transformer(
                hidden_states=(torch.cat([own_tokens, tokens], dim=1) if len(own) else tokens).to(self.dtype),
                encoder_hidden_states=text.embeddings,
                timestep=t.expand(len(x), -1),
                encoder_attention_mask=text.more["attention_mask"],
                return_dict=False,
                **where,
            )[0][:, -tokens.shape[1] :]
        return rearrange(velocity.float(), "b (t h w) c -> b c t h w", t=frames, h=height, w=width)

    def coordinates(self, x, fps, beside, own):
        """[B, 3, N]: seconds, rows and columns of pixels at which a token begins, the pictures' before the grid's."""
        import torch

        time, space = self.factors
        axes = (torch.arange(size, device=self.device) for size in x.shape[2:])
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))  # 3 T H W
        begin = torch.stack([grid[0] * time + 1 - time, *grid[1:] * space])
        if len(own):
            pictures = begin[:, own]
            pictures[0] += beside[0, -1, own].long() - 1
            begin = torch.cat([pictures, begin], dim=1)
        frames, *places = begin.flatten(1)  # each N
        seconds = frames.clamp(min=0).float() * (1.0 / fps)
        return torch.stack([seconds, *(place.float() for place in places)]).expand(len(x), -1, -1)
