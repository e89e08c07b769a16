"""LTX-2."""

import diffusers
import torch
from bench import lively, tokenizer

from .ltx import SHIFT
from .registry import model


def ltx2_vae():
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLLTX2Video(
        latent_channels=8, block_out_channels=(8, 16, 32, 64), decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1), spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )  # fmt: skip
    vae.latents_mean.copy_(torch.randn(8))
    vae.latents_std.copy_(torch.rand(8) + 0.5)
    return lively(vae)


LATER = {"gated_attn": True, "audio_gated_attn": True, "cross_attn_mod": True, "audio_cross_attn_mod": True,
         "use_prompt_embeddings": False, "perturbed_attn": True}  # fmt: skip


@model("LTX-2")
@model("LTX-2.3", later=True)
def ltx2(later=False):
    from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(0)
    width = 48 if later else 32
    sound = {"audio_in_channels": 8, "audio_out_channels": 8, "audio_num_attention_heads": 2,
             "audio_attention_head_dim": 8, "audio_cross_attention_dim": 16}  # fmt: skip
    transformer = diffusers.LTX2VideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=width // 2, cross_attention_dim=width,
        num_layers=2, caption_channels=32, **sound, **(LATER if later else {}),
    )  # fmt: skip
    connectors = LTX2TextConnectors(
        caption_channels=32, text_proj_in_factor=3, video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=width // 2, video_connector_num_layers=1,
        video_connector_num_learnable_registers=8, audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=8 if later else 16, audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=8, per_modality_projections=later, video_hidden_dim=width,
        audio_hidden_dim=16,
    )  # fmt: skip
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
             "hidden_size": 32, "intermediate_size": 64, "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1,
             "eos_token_id": 1, "sliding_window": 16}  # fmt: skip
    sees = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
            "image_size": 28, "patch_size": 14}  # fmt: skip
    gemma = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=sizes, vision_config=sees, mm_tokens_per_image=4, image_token_index=63,
                     boi_token_index=61, eoi_token_index=62)
    )  # fmt: skip
    audio_vae = diffusers.AutoencoderKLLTX2Audio(
        base_channels=8, ch_mult=(1,), num_res_blocks=1, latent_channels=4, mel_bins=8, resolution=32
    )
    audio_vae.latents_mean.copy_(torch.randn(8))
    audio_vae.latents_std.copy_(torch.rand(8) + 0.5)
    vocoder = LTX2Vocoder(
        in_channels=16, hidden_channels=16, out_channels=2, upsample_kernel_sizes=[16, 15, 8, 4],
        upsample_factors=[6, 5, 4, 2], resnet_kernel_sizes=[3], resnet_dilations=[[1, 3, 5]],
    )  # fmt: skip
    return diffusers.LTX2Pipeline(
        transformer=lively(transformer), vae=ltx2_vae(), audio_vae=lively(audio_vae), vocoder=lively(vocoder),
        connectors=lively(connectors), text_encoder=lively(gemma), tokenizer=tokenizer(1024, padding_side="left"),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**SHIFT),
    )  # fmt: skip
