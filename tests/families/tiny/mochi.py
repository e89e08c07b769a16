"""Mochi."""

import diffusers
import torch
from bench import lively, t5, tokenizer

from .registry import model


@model("Mochi")
def mochi():
    torch.manual_seed(0)
    transformer = diffusers.MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, num_layers=2, pooled_projection_dim=16, in_channels=12,
        text_embed_dim=32, time_embed_dim=16,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLMochi(
        encoder_block_out_channels=(32, 32, 32, 32), decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1), latents_std=(torch.rand(12) + 0.5).tolist(),
    )  # fmt: skip
    return diffusers.MochiPipeline(
        transformer=lively(transformer), vae=lively(vae), text_encoder=t5(), tokenizer=tokenizer(256),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        force_zeros_for_empty_prompt=True,
    )  # fmt: skip
