"""Latte and Allegro."""

import diffusers
import torch
from bench import lively, t5, tokenizer

from .registry import model

LINEAR = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}


@model("Latte")
@model("Latte-temporal", vae="AutoencoderKLTemporalDecoder")
def latte(vae="AutoencoderKL"):
    torch.manual_seed(0)
    transformer = diffusers.LatteTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=2, patch_size=2,
        cross_attention_dim=32, sample_size=8, activation_fn="gelu-approximate", norm_type="ada_norm_single",
        norm_elementwise_affine=False, norm_eps=1e-6, caption_channels=32, attention_bias=True,
        num_embeds_ada_norm=1000,
    )  # fmt: skip
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4}
    if vae == "AutoencoderKL":
        kinds |= {"up_block_types": ["UpDecoderBlock2D"] * 4, "norm_num_groups": 4}
    return diffusers.LattePipeline(
        transformer=lively(transformer), text_encoder=t5(), tokenizer=tokenizer(120),
        vae=lively(getattr(diffusers, vae)(block_out_channels=(32,) * 4 if len(kinds) < 2 else (8,) * 4, **kinds)),
        scheduler=diffusers.DDIMScheduler(clip_sample=False, **LINEAR),
    )  # fmt: skip


@model("Allegro")
def allegro():
    torch.manual_seed(0)
    transformer = diffusers.AllegroTransformer3DModel(
        num_attention_heads=2, attention_head_dim=24, in_channels=4, out_channels=4, num_layers=2,
        cross_attention_dim=48, sample_height=16, sample_width=16, sample_frames=6, caption_channels=32,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLAllegro(
        block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2, sample_size=128
    )
    return diffusers.AllegroPipeline(
        transformer=lively(transformer), vae=lively(vae), text_encoder=t5(), tokenizer=tokenizer(512),
        scheduler=diffusers.EulerAncestralDiscreteScheduler(**LINEAR),
    )  # fmt: skip
