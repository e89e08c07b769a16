"""LTX-Video."""

import diffusers
import torch
from bench import lively, t5, tokenizer

from .registry import model

SHIFT = {"use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 4,
         "max_image_seq_len": 64, "shift_terminal": 0.1}  # fmt: skip


@model("LTX-0.9.0", pipeline="LTXPipeline", **SHIFT)
@model("LTX-0.9.5", pipeline="LTXConditionPipeline", timed=True)
def ltx(pipeline, timed=False, **scheduler):
    torch.manual_seed(0)
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
        num_layers=2, caption_channels=32,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1), timestep_conditioning=timed,
    )  # fmt: skip
    vae.latents_mean.copy_(torch.randn(8))
    vae.latents_std.copy_(torch.rand(8) + 0.5)
    return getattr(diffusers, pipeline)(
        transformer=lively(transformer), vae=lively(vae), text_encoder=t5(), tokenizer=tokenizer(128),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**scheduler),
    )  # fmt: skip
