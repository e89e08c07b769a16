"""HunyuanVideo."""

import diffusers
import torch
from bench import lively, tokenizer

from .hunyuan_video15 import siglip
from .registry import model

HEADERS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>"]


@model("HunyuanVideo")
@model("HunyuanVideo-I2V", image_condition_type="token_replace")
@model("HunyuanVideo-I2V-33ch", image_condition_type="latent_concat", guidance_embeds=False, in_channels=9)
@model("HunyuanVideo-CFG", guidance_embeds=False)
@model("SkyReels-V1-I2V", pipeline="HunyuanSkyreelsImageToVideoPipeline", in_channels=8)
def hunyuan_video(pipeline="HunyuanVideoPipeline", **shape):
    from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel

    torch.manual_seed(0)
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, text_embed_dim=32, pooled_projection_dim=24, rope_axes_dim=(4, 6, 6),
        **{"in_channels": 4, **shape},
    )  # fmt: skip
    kinds = {f"{way}_block_types": [f"HunyuanVideo{way.title()}Block3D"] * 4 for way in ("down", "up")}
    vae = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, **kinds
    )
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 64}
    llama = LlamaConfig(hidden_size=32, intermediate_size=64, **sizes, pad_token_id=0)
    clip = CLIPTextModel(CLIPTextConfig(hidden_size=24, intermediate_size=48, **sizes, eos_token_id=1, pad_token_id=0))
    sees = "image_condition_type" in shape
    return getattr(diffusers, pipeline if not sees else "HunyuanVideoImageToVideoPipeline")(
        transformer=lively(transformer), vae=lively(vae), text_encoder_2=lively(clip),
        tokenizer_2=tokenizer(77, start="<s>"), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        **(llava(llama) if sees else {"text_encoder": lively(LlamaModel(llama)), "tokenizer": tokenizer(512)}),
    )  # fmt: skip


@model("FramePack")
@model("FramePack-F1", shift={"base_image_seq_len": 16, "max_image_seq_len": 64, "max_shift": 6.0})
@model("FramePack-CFG", guidance_embeds=False)
def framepack(shift=None, **shape):
    torch.manual_seed(0)
    transformer = diffusers.HunyuanVideoFramepackTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, text_embed_dim=32, pooled_projection_dim=24, rope_axes_dim=(4, 6, 6),
        has_image_proj=True, image_proj_dim=32, has_clean_x_embedder=True, **shape,
    )  # fmt: skip
    told = {"use_dynamic_shifting": True, **shift} if shift else {"shift": 7.0}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**told)
    parts = {**hunyuan_video().components, **siglip(), "transformer": lively(transformer), "scheduler": scheduler}
    return diffusers.HunyuanVideoFramepackPipeline(**parts)


def llava(llama):
    """A LLaVA that sees 24×24 patches, as the published one does; its tokenizer knows the marks of the template."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    words = tokenizer(512, start="<s>", additional_special_tokens=HEADERS)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**sizes, image_size=48, patch_size=2)
    index = words.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=llama, image_token_index=index, pad_token_id=0)
    encoder = LlavaForConditionalGeneration(config)
    side = {"height": 48, "width": 48}
    return {"text_encoder": lively(encoder), "tokenizer": words,
            "image_processor": CLIPImageProcessor(size=side, crop_size=side)}  # fmt: skip
