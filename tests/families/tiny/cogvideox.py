"""CogVideoX."""

import diffusers
import torch
from bench import lively, t5, tokenizer

from .registry import model

COSINE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
          "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
          "timestep_spacing": "trailing"}  # fmt: skip
ROTARY = {"use_rotary_positional_embeddings": True}
PAIRED = {**ROTARY, "patch_size_t": 2, "patch_bias": False, "sample_width": 12, "sample_height": 12}


@model("CogVideoX-2B", scheduler="DDIM", scale=1.15258426)
@model("CogVideoX-5B", scheduler="DPM", **ROTARY)
@model("CogVideoX-5B-Fun-Control", kind="FunControl", scheduler="DDIM", in_channels=8, **ROTARY)
@model("CogVideoX1.5-5B-Fun-Control", kind="FunControl", scheduler="DDIM", in_channels=8, **PAIRED)
@model("CogVideoX-5B-I2V", kind="ImageToVideo", scheduler="DDIM", in_channels=8, **ROTARY)
@model("CogVideoX1.5-5B", scheduler="DPM", **PAIRED)
@model(
    "CogVideoX1.5-5B-I2V", kind="ImageToVideo", scheduler="DPM", in_channels=8, ofs_embed_dim=16, inverted=True,
    **PAIRED,
)  # fmt: skip
def cogvideox(scheduler, kind="", scale=0.7, inverted=False, **shape):
    torch.manual_seed(0)
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, time_embed_dim=16, text_embed_dim=32, num_layers=2,
        **{"sample_width": 6, "sample_height": 4, "sample_frames": 9, "in_channels": 4, "out_channels": 4, **shape},
    )  # fmt: skip
    vae = diffusers.AutoencoderKLCogVideoX(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2,
        scaling_factor=scale, invert_scale_latents=inverted,
    )  # fmt: skip
    return getattr(diffusers, f"CogVideoX{kind}Pipeline")(
        transformer=lively(transformer), vae=lively(vae), text_encoder=t5(), tokenizer=tokenizer(226),
        scheduler=getattr(diffusers, f"CogVideoX{scheduler}Scheduler")(**COSINE),
    )  # fmt: skip
