"""Sana-Video."""

import diffusers
import torch
from bench import lively, tokenizer

from .ltx2 import ltx2_vae
from .registry import model
from .wan import wan


@model("Sana-Video")
@model("Sana-Video-720p", channels=8)
def sana_video(channels=4):
    from transformers import Gemma2Config, Gemma2Model

    torch.manual_seed(0)
    transformer = diffusers.SanaVideoTransformer3DModel(
        in_channels=channels, out_channels=channels, num_attention_heads=2, attention_head_dim=16, num_layers=2,
        num_cross_attention_heads=2, cross_attention_head_dim=16, cross_attention_dim=32, caption_channels=32,
    )  # fmt: skip
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    gemma = Gemma2Model(Gemma2Config(hidden_size=32, intermediate_size=64, vocab_size=64, pad_token_id=0, **sizes))
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 8.0}
    return diffusers.SanaVideoPipeline(
        transformer=lively(transformer), vae=wan().vae if channels == 4 else ltx2_vae(), text_encoder=lively(gemma),
        tokenizer=tokenizer(512),
        scheduler=diffusers.DPMSolverMultistepScheduler(**flow),
    )  # fmt: skip
