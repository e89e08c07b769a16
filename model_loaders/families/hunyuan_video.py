"""HunyuanVideo, text- and image-to-video (HunyuanVideoTransformer3DModel): one time for all.

The image-to-video ones take the first frame in place of x's own (token_replace) or as extra channels (latent_concat),
and see it with the prompt; SkyReels-V1's takes it as extra channels alone. Cells known elsewhere go in as noisy as the
rest.
"""

from ...spacetime.model import Beside, Denoiser
from ..checkpoint import CheckpointError
from ..dit import DiTFacts
from ..folders import sibling_json

DEFAULT_SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 7.0}
DEFAULT_GUIDANCE = 6.0  # its pipeline's; a run without guidance tells it this
SKYREELS_GUIDANCE = 1.0  # what SkyReels-V1's pipeline tells it, which guides by a negative prompt
SCALE = 0.476986
BESIDE = "beside x where they are the first frame, else as noisy as the rest"
NOISE = 0.999  # of what an image-to-video begins with; the rest is the picture
EVERY = {"latent_concat": 2, "token_replace": 4}  # of the picture's tokens it reads the second or the fourth


def facts(config: dict, folder) -> DiTFacts:
    sees, own, taken = config.get("image_condition_type"), config["out_channels"], config["in_channels"]
    known = {"latent_concat": [2 * own + 1], "token_replace": [own]}.get(sees, [own, 2 * own])
    if taken not in known:
        raise CheckpointError(
            f"{folder} takes {taken} channels to denoise {own}; of its kind, those with "
            f"{' or '.join(map(str, known))} are known here"
        )
    width, side = config["num_attention_heads"] * config["attention_head_dim"], config["patch_size"]
    return DiTFacts(
        family="HunyuanVideo",
        channels=own,
        patch=(config["patch_size_t"], side, side),
        max_cells=(4096, 4096, 4096),
        trained_cells=(33, 160, 160),  # 129 frames at 1280×720 or 720×1280
        text_width=config["text_embed_dim"],
        width=width,
        ffn=int(width * config["mlp_ratio"]),
        per_token_time=False,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=sibling_json(folder, "vae", "config.json"),
        reads=("attention_mask", "pooled_output", *(["picture_tokens"] if sees else [])),
        embedded_guidance=bool(config["guidance_embeds"]) and taken != 2 * own,
        known_by=BESIDE if sees or taken > own else "",
        advice="guidance 1 is right for it" if taken == 2 * own + 1 and not config["guidance_embeds"] else "",
    )


class Adapter(Denoiser):
    """As HunyuanVideoPipeline, HunyuanVideoImageToVideoPipeline and HunyuanSkyreelsImageToVideoPipeline do."""

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer, self.sees = transformer, transformer.config.image_condition_type
        self.skyreels = transformer.config.in_channels == 2 * dit.channels
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

    def beside(self, known):
        if not self.sees and not self.skyreels:
            return None
        channels, free = first_frame(known)
        return Beside(channels[:, :-1] if self.skyreels else channels, free=free)

    def begin(self, noise, beside):
        import torch

        if not self.sees or not beside.channels[:, -1].any():
            return noise
        share = torch.tensor([NOISE]).to(noise.device)
        return noise * share + beside.channels[:, :-1, :1] * (1 - share)

    def predict(self, x, t, text, branch):
        import torch

        embeddings, mask = text.embeddings, text.more["attention_mask"]
        if self.sees:
            count, every = int(text.more["picture_tokens"]), EVERY[self.sees]
            embeddings, mask = (torch.cat([e[:, :count:every], e[:, count:]], dim=1) for e in (embeddings, mask))
        if self.sees == "token_replace":
            x, first, given = x.tensor_split([x.shape[1] // 2, -1], dim=1)
            x = torch.cat([torch.where(given[:, :, :1] > 0, first[:, :, :1], x[:, :, :1]), x[:, :, 1:]], dim=2)
        guidance = SKYREELS_GUIDANCE if self.skyreels else text.more.get("guidance", DEFAULT_GUIDANCE)
        guidance = torch.tensor([guidance] * len(x), dtype=self.dtype) * 1000.0
        with self.transformer.cache_context(branch):
            return self.transformer(
                hidden_states=x.to(self.dtype),
                timestep=t.expand(len(x)).float(),
                encoder_hidden_states=embeddings,
                encoder_attention_mask=mask.to(self.dtype),
                pooled_projections=text.more["pooled_output"],
                guidance=guidance.to(self.device),
                return_dict=False,
            )[0]


def first_frame(known, seen: bool = True):
    """channels [B, C + 1, T, H, W]: the first frame, if it is known and `seen`, and a mask that says so, else zeros;
    and what else is known, as Beside.free."""
    import torch

    channels, free = torch.zeros_like(torch.cat([known.cells, known.free], dim=1)), known.free
    if seen and not known.free[:, :, 0].any():
        channels[:, :-1, 0], channels[:, -1, 0] = known.cells[:, :, 0], 1
        free = torch.cat([torch.ones_like(free[:, :, :1]), free[:, :, 1:]], dim=2)
    return channels, free if (free < 1).any() else None
