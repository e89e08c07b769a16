"""Wan, and SkyReels-V2 which is built on it."""

import diffusers
import torch
from bench import lively, tokenizer, umt5

from .registry import model

WITH_IMAGE, CLIP = {"in_channels": 12}, 32
# the VAE of TI2V: two by two pixels in a cell of its widest maps, so that 16 by 16 make one of a latent
FOLDED = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16}
VACE = {"vace_layers": [0], "vace_in_channels": 72}
SEES = {**WITH_IMAGE, "image_dim": CLIP, "added_kv_proj_dim": 32}
READS_FACES = {
    "latent_channels": 4, "motion_encoder_channel_sizes": {"4": 8, "8": 4}, "motion_encoder_size": 8,
    "motion_style_dim": 8, "motion_dim": 4, "motion_encoder_dim": 8, "face_encoder_hidden_dim": 16,
    "face_encoder_num_heads": 2, "inject_face_latents_blocks": 2, "motion_encoder_batch_size": 4,
}  # fmt: skip


@model("Wan2.1-T2V")
@model("Wan2.1-I2V", pipeline="WanImageToVideoPipeline", **SEES)
@model("Wan2.1-FLF2V", pipeline="WanImageToVideoPipeline", pos_embed_seq_len=10, **SEES)
@model("Wan2.2-T2V-A14B", boundary=0.875)
@model("Wan2.2-TI2V-5B", channels=48, expand_timesteps=True)
@model("Wan2.2-I2V-A14B", pipeline="WanImageToVideoPipeline", boundary=0.9, **WITH_IMAGE)
@model("Wan2.1-VACE", pipeline="WanVACEPipeline", kind="WanVACE", **VACE)
@model("Wan2.2-VACE-A14B", pipeline="WanVACEPipeline", kind="WanVACE", boundary=0.875, **VACE)
@model("Wan2.2-Animate", pipeline="WanAnimatePipeline", kind="WanAnimate", words=512, **SEES, **READS_FACES)
def wan(pipeline="WanPipeline", boundary=None, kind="Wan", channels=4, expand_timesteps=None, words=16, **shape):
    torch.manual_seed(0)
    statistics = {"latents_mean": torch.randn(channels).tolist(), "latents_std": (torch.rand(channels) + 0.5).tolist()}
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=channels, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        **statistics, **(FOLDED if expand_timesteps else {}),
    )  # fmt: skip
    shape = {"in_channels": channels, "out_channels": channels, **shape}
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    experts = {"transformer_2": wan_transformer(5, kind, **shape), "boundary_ratio": boundary} if boundary else {}
    if expand_timesteps:
        experts["expand_timesteps"] = True
    return getattr(diffusers, pipeline)(
        transformer=wan_transformer(2, kind, **shape), vae=lively(vae), text_encoder=umt5(), tokenizer=tokenizer(words),
        scheduler=diffusers.UniPCMultistepScheduler(**flow), **experts, **(clip(kind) if "image_dim" in shape else {}),
    )  # fmt: skip


def wan_transformer(seed, kind, **shape):
    sizes = {"text_dim": 32, "freq_dim": 32, "ffn_dim": 64, "num_layers": 2}
    heads = {"num_attention_heads": 2, "attention_head_dim": 16}
    return lively(getattr(diffusers, f"{kind}Transformer3DModel")(**{**sizes, **heads, **shape}), seed)


def clip(kind):
    """A CLIP image encoder and what prepares for it; SkyReels' brings a projection that nothing reads."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    sizes = {"hidden_size": CLIP, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    make = CLIPVisionModelWithProjection if kind == "SkyReelsV2" else CLIPVisionModel
    encoder = make(CLIPVisionConfig(**sizes, image_size=32, patch_size=16))
    side = {"height": 32, "width": 32}
    return {"image_encoder": lively(encoder), "image_processor": CLIPImageProcessor(size=side, crop_size=side)}


@model("SkyReels-V2-T2V", pipeline="SkyReelsV2Pipeline", kind="SkyReelsV2")
@model("SkyReels-V2-I2V", pipeline="SkyReelsV2ImageToVideoPipeline", kind="SkyReelsV2", **SEES)
@model("SkyReels-V2-DF", pipeline="SkyReelsV2DiffusionForcingPipeline", kind="SkyReelsV2", inject_sample_info=True)
def skyreels(**shape):
    return wan(**shape)
