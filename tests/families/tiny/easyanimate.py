"""EasyAnimate."""

import diffusers
import torch
from bench import lively, tokenizer

from .registry import model

SAYS = "{% for one in messages %}<|im_start|> {{ one.content[0].text }} <|im_end|> {% endfor %}<|im_start|>"


@model("EasyAnimate")
@model("EasyAnimate-InP", kind="Inpaint", in_channels=9)
@model("EasyAnimate-Control", kind="Control", in_channels=12)
def easyanimate(kind="", **shape):
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    torch.manual_seed(0)
    transformer = diffusers.EasyAnimateTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, out_channels=4, patch_size=2, num_layers=2, mmdit_layers=1,
        time_embed_dim=16, text_embed_dim=32, **{"in_channels": 4, **shape},
    )  # fmt: skip
    vae = diffusers.AutoencoderKLMagvit(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
    vae.register_to_config(cache_mag_vae=True)  # so the published ones say, and InP's pipeline reads
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    text = {"hidden_size": 32, "intermediate_size": 64, **sizes, "rope_parameters": rope, "pad_token_id": 0}
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 1}
    qwen = Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision))
    return getattr(diffusers, f"EasyAnimate{kind}Pipeline")(
        transformer=lively(transformer), vae=lively(vae), text_encoder=lively(qwen),
        tokenizer=tokenizer(512, additional_special_tokens=["<|im_start|>", "<|im_end|>"], chat_template=SAYS),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )  # fmt: skip
