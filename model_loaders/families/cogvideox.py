"""CogVideoX 2B, 5B and 1.5 (CogVideoXTransformer3DModel), text- and image-to-video: v-prediction, one time for all.

The image-to-video ones take the first frame as extra channels; cells known elsewhere go in as noisy as the rest. Fun
Control takes another video there.
"""

import re
from functools import lru_cache

from ...spacetime.model import Beside, Denoiser
from ...spacetime.names import CONTROL
from ..checkpoint import CheckpointError
from ..dit import DiTFacts
from ..folders import sibling_json

DEFAULT_SCHEDULER = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
}  # fmt: skip
ROTARY = {"_class_name": "CogVideoXDPMScheduler", "snr_shift_scale": 1.0, **DEFAULT_SCHEDULER}  # 5B and 1.5
SINES = {"_class_name": "CogVideoXDDIMScheduler", "snr_shift_scale": 3.0, **DEFAULT_SCHEDULER}  # 2B
OFFSET = 2.0  # what 1.5 image-to-video is told; the pipeline has no other


def facts(config: dict, folder) -> DiTFacts:
    width = config["num_attention_heads"] * config["attention_head_dim"]
    rotary, pairs = config.get("use_rotary_positional_embeddings"), config.get("patch_size_t")
    rows, columns = config["sample_height"], config["sample_width"]
    frames = (config["sample_frames"] - 1) // config["temporal_compression_ratio"] + 1
    learned, beside = config.get("use_learned_positional_embeddings"), config["in_channels"] - config["out_channels"]
    if beside not in (0, config["out_channels"]):
        raise CheckpointError(
            f"{folder} is CogVideoX for {config['in_channels']} channels, such as CogVideoX-Fun InP; this version runs "
            "its text-to-video, image-to-video and Fun Control"
        )
    fun = beside and follows_video(folder)
    return DiTFacts(
        family="CogVideoX",
        channels=config["out_channels"],
        patch=(1, config["patch_size"], config["patch_size"]),  # 1.5 pairs latent frames; a lead-in makes them even
        max_cells=(frames if learned else 1024, *((rows, columns) if learned or pairs else (1024, 1024))),
        trained_cells=(frames + frames % 2, min(rows, 96), min(columns, 170)) if pairs else (frames, rows, columns),
        text_width=config["text_embed_dim"],
        width=width,
        ffn=4 * width,
        per_token_time=False,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or (ROTARY if rotary else SINES),
        vae=sibling_json(folder, "vae", "config.json"),
        known_by="beside x where they are the first frame, else as noisy as the rest" if beside and not fun else "",
        token_frames=pairs or 1,
        follows=(CONTROL,) if fun else (),
    )  # fmt: skip


def follows_video(folder) -> bool:
    """Fun Control's shape is image-to-video's. Its folders call themselves text-to-video; a file has only its name."""
    kind = sibling_json(folder, "model_index.json").get("_class_name", "")
    return (
        "ImageToVideo" not in kind
        if kind
        else bool(re.search("control|pose", f"{folder.parent.name}/{folder.name}", re.IGNORECASE))
    )


class Adapter(Denoiser):
    """As CogVideoXPipeline and its image- and video-to-video do: both prompts in one batch, frames before channels."""

    batched_guidance, layout = True, "b t c h w"

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer, self.config = transformer, transformer.config
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.scale = dit.vae.get("scaling_factor", 0.7 if self.config.use_rotary_positional_embeddings else 1.15258426)
        self.inverted = dit.vae.get("invert_scale_latents", False)
        self.follows = dit.follows
        self.rotary = lru_cache(4)(self._rotary)

    def normalise(self, latent):
        return self.scale * latent

    def denormalise(self, x):
        return 1 / self.scale * x

    def lead(self, latent_frames):
        return -latent_frames % (self.config.patch_size_t or 1)

    def beside(self, known):
        if self.config.in_channels == self.config.out_channels:
            return None
        import torch

        if self.follows:
            before = [0] * 4 + [known.lead, 0]
            free = torch.nn.functional.pad(known.free, before, value=1) if (known.free < 1).any() else None
            return Beside(torch.nn.functional.pad(self.course(known), before), free=free)
        frames = known.lead + known.cells.shape[2]
        channels = known.cells.new_zeros(*known.cells.shape[:2], frames, *known.cells.shape[3:])
        free = torch.nn.functional.pad(known.free, [0] * 4 + [known.lead, 0], value=1)
        if not known.free[:, :, 0].any():
            channels[:, :, :1] = self.image(known)
            free[:, :, known.lead] = 1
        return Beside(channels, free=free if (free < 1).any() else None)

    def image(self, known):
        """The first frame as it is put beside x: 1.5 was trained on latents divided by the scale it multiplies by."""
        if not self.inverted:
            return known.cells[:, :, :1]
        raw = self.denormalise(known.cells[:, :, :1])
        if known.pixels:  # the same to the last bit
            raw = next(known.pixels.encode([next(known.pixels.frames())])).to(raw)
        return 1 / self.scale * raw

    def predict(self, x, t, text, branch):
        import torch
        from einops import rearrange

        odd = self.lead(x.shape[2])  # a window may cut through a pair
        x = rearrange(torch.cat([x[:, :, :odd], x], dim=2), "b c t h w -> b t c h w").to(self.dtype)
        with self.transformer.cache_context("cond_uncond" if branch == "both" else branch):
            prediction = self.transformer(
                hidden_states=x,
                encoder_hidden_states=text.embeddings,
                timestep=t.expand(len(x)),
                ofs=x.new_full((1,), OFFSET) if self.config.ofs_embed_dim else None,
                image_rotary_emb=self.rotary(x.shape[1], *x.shape[3:]),
                return_dict=False,
            )[0]
        return rearrange(prediction.float(), "b t c h w -> b c t h w")[:, :, odd:]

    def _rotary(self, frames, rows, columns):
        """Positions of a canvas; of 1.0 in the middle of the size it was trained on, of 1.5 from its corner."""
        if not self.config.use_rotary_positional_embeddings:
            return None
        from diffusers.models.embeddings import get_3d_rotary_pos_embed
        from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

        side, pairs = self.config.patch_size, self.config.patch_size_t
        grid, base = (
            (rows // side, columns // side),
            (self.config.sample_height // side, self.config.sample_width // side),
        )
        own = {"crops_coords": None, "grid_type": "slice", "max_size": base} if pairs else {
            "crops_coords": get_resize_crop_region_for_grid(grid, base[1], base[0])
        }  # fmt: skip
        times = -(-frames // pairs) if pairs else frames
        return get_3d_rotary_pos_embed(
            embed_dim=self.config.attention_head_dim, grid_size=grid, temporal_size=times, device=self.device, **own
        )
