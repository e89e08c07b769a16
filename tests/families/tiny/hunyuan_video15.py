"""HunyuanVideo 1.5."""

import diffusers
import torch
from bench import lively, t5, tokenizer

from .registry import model

CHAT = (
    "{% for one in messages %}<|im_start|> {{ one.role }} {{ one.content }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)


@model("HunyuanVideo-1.5-T2V", task_type="t2v")
@model("HunyuanVideo-1.5-I2V", task_type="i2v")
@model("HunyuanVideo-1.5-I2V-distilled", task_type="i2v", use_meanflow=True)
def hunyuan_video15(**shape):
    from transformers import ByT5Tokenizer, Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

    torch.manual_seed(0)
    transformer = diffusers.HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=2,
        num_refiner_layers=1, text_embed_dim=32, text_embed_2_dim=24, image_embed_dim=32, rope_axes_dim=(4, 6, 6),
        target_size=64, **shape,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1
    )
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    qwen = Qwen2_5_VLTextConfig(hidden_size=32, intermediate_size=64, **sizes, rope_parameters=rope, pad_token_id=0)
    letters = t5(24, words=400)
    image = siglip() if shape["task_type"] == "i2v" else {}
    return getattr(diffusers, f"HunyuanVideo15{'ImageToVideo' if image else ''}Pipeline")(
        transformer=lively(transformer), vae=lively(vae), text_encoder=lively(Qwen2_5_VLTextModel(qwen)),
        tokenizer=tokenizer(2000, additional_special_tokens=["<|im_start|>", "<|im_end|>"], chat_template=CHAT),
        text_encoder_2=letters, tokenizer_2=ByT5Tokenizer(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0),
        guider=diffusers.ClassifierFreeGuidance(), **image,
    )  # fmt: skip


def siglip():
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    encoder = SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=32, patch_size=16))
    side = {"height": 32, "width": 32}
    return {"image_encoder": lively(encoder), "feature_extractor": SiglipImageProcessor(size=side)}
