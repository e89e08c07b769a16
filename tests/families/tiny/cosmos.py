"""Cosmos-Predict2.5 and Transfer2.5."""

import diffusers
import torch
from bench import lively, tokenizer

from .registry import model
from .wan import wan


class Guard:
    """Stands where the pipeline wants NVIDIA's guard, which is none of ours to load: it lets everything pass."""

    def to(self, device):
        return self

    def check_text_safety(self, prompt):
        return True


TRANSFER = {
    "controlnet_block_every_n": 2, "num_layers": 3, "img_context_dim_in": 8, "img_context_num_tokens": 4,
    "img_context_dim_out": 32,
}  # fmt: skip
CHAT = "{% for m in messages %}{{ m.role }} {% for c in m.content %}{{ c.text }}{% endfor %} </s> {% endfor %}"


@model("Cosmos2.5")
@model("Cosmos2.5-Transfer", pipeline="Cosmos2_5_TransferPipeline", **TRANSFER)
def cosmos(pipeline="Cosmos2_5_PredictBasePipeline", num_layers=2, **more):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 64}
    rope = {"type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    ids = {"image_token_id": 60, "video_token_id": 61, "vision_start_token_id": 62, "vision_end_token_id": 63}
    qwen = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(
        text_config={"hidden_size": 32, "intermediate_size": 64, "rope_scaling": rope, "bos_token_id": 1,
                     "eos_token_id": 1, **sizes},
        vision_config={"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 32},
        **ids,
    ))  # fmt: skip
    shape = {
        "num_attention_heads": 2, "attention_head_dim": 16, "mlp_ratio": 2, "text_embed_dim": 32, "adaln_lora_dim": 4,
        "max_size": (16, 32, 32), "extra_pos_embed_type": None, "use_crossattn_projection": True,
        "crossattn_proj_in_channels": 64, "encoder_hidden_states_channels": 32,
    }  # fmt: skip
    transformer = diffusers.CosmosTransformer3DModel(
        in_channels=5, out_channels=4, num_layers=num_layers, **shape, **more
    )
    control = {}
    if more:
        seen = {name: more[name] for name in ("img_context_dim_in", "img_context_dim_out")}
        control["controlnet"] = lively(diffusers.CosmosControlNetModel(
            n_controlnet_blocks=2, in_channels=12, latent_channels=6, model_channels=32, **shape, **seen
        ), 3)  # fmt: skip
    karras = {"use_karras_sigmas": True, "use_flow_sigmas": True, "sigma_max": 200.0, "sigma_min": 0.01}
    return getattr(diffusers, pipeline)(
        transformer=lively(transformer), **control, vae=wan().vae, text_encoder=lively(qwen),
        tokenizer=tokenizer(512, chat_template=CHAT), safety_checker=Guard(),
        scheduler=diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", **karras),
    )  # fmt: skip
