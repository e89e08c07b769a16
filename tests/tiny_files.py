"""Tiny models as single files in their makers' layout: random weights, the shapes of the published ones but narrow."""

import functools
import io
import json
import random
from pathlib import Path

import original_layout as old
import sentencepiece
import torch
from safetensors.torch import save_file

WAN_DITS = [
    *("wan-2.1-t2v-1.3b", "wan-2.1-t2v-14b", "wan-2.1-i2v-1.3b", "wan-2.1-i2v-14b-480p", "wan-2.1-flf2v-14b"),
    *("wan-2.1-vace-1.3b", "wan-2.1-vace-14b", "wan-2.2-i2v-a14b", "wan-2.2-ti2v-5b", "skyreels-v2-df-1.3b"),
    "wan-2.2-animate-14b",
]
HUNYUAN_DITS = ["hunyuan-video-t2v", "hunyuan-video-t2v-cfg", "hunyuan-video-i2v"]
HUNYUAN_15_DITS = ["hunyuan-video-1.5-t2v-480p", "hunyuan-video-1.5-i2v-480p-step-distilled"]
# config folder and part → the renames that lead back to the original
LAYOUTS = {
    **{(name, "transformer"): old.WAN for name in WAN_DITS},
    **{(name, "transformer"): old.LTX for name in ("ltx-2b-0.9.0", "ltx-2b-0.9.5", "ltx-13b")},
    **{(name, "transformer"): old.HUNYUAN for name in HUNYUAN_DITS},
    **{(f"cosmos-predict2.5-{size}", "transformer"): old.COSMOS for size in ("2b", "14b")},
    ("ltx-2-19b", "transformer"): old.LTX_2,
    ("ltx-2-19b", "vae"): old.LTX_2_VAE,
    ("ltx-2.3-22b", "transformer"): old.LTX_2,
    ("ltx-2.3-22b", "vae"): old.LTX_23_VAE,
    ("wan-2.1-vae", "vae"): old.WAN_VAE,
    ("wan-2.2-ti2v-5b", "vae"): old.WAN_22_VAE,
    **{(f"ltx-2b-{version}", "vae"): renames for version, renames in old.LTX_VAES.items()},
    ("hunyuan-video-t2v", "vae"): old.HUNYUAN_VAE,
    **{(name, "transformer"): old.HUNYUAN_15 for name in HUNYUAN_15_DITS},
    ("hunyuan-video-1.5-t2v-480p", "vae"): old.HUNYUAN_15_VAE,
}
TINY = {
    "wan-2.1-t2v-1.3b": {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "ffn_dim": 32,
                         "text_dim": 16},
    "wan-2.1-vace-1.3b": {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "ffn_dim": 32,
                          "text_dim": 16, "vace_layers": [0], "vace_in_channels": 96},
    "wan-2.2-animate-14b": {
        "num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "ffn_dim": 32, "text_dim": 16,
        "image_dim": 1280, "added_kv_proj_dim": 24, "motion_style_dim": 8,
        "motion_encoder_channel_sizes": {str(2**n): 2 for n in range(2, 10)},
        "motion_dim": 4, "motion_encoder_dim": 8, "face_encoder_hidden_dim": 8, "face_encoder_num_heads": 2,
        "inject_face_latents_blocks": 2},
    "ltx-2b-0.9.5": {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "cross_attention_dim": 16,
                     "caption_channels": 16},
    "ltx-2-19b": {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "cross_attention_dim": 16,
                  "audio_num_attention_heads": 2, "audio_attention_head_dim": 4, "audio_cross_attention_dim": 8,
                  "caption_channels": 16},
    "cosmos-predict2.5-2b": {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "text_embed_dim": 16,
                             "adaln_lora_dim": 4, "crossattn_proj_in_channels": 32,
                             "encoder_hidden_states_channels": 16},
    "hunyuan-video-t2v": {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "num_single_layers": 2,
                          "num_refiner_layers": 1, "text_embed_dim": 16, "pooled_projection_dim": 8,
                          "rope_axes_dim": [2, 2, 4]},
    "hunyuan-video-1.5-i2v-480p-step-distilled": {
        "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "num_refiner_layers": 1,
        "text_embed_dim": 16, "text_embed_2_dim": 12, "image_embed_dim": 12, "rope_axes_dim": [2, 2, 4]},
}  # fmt: skip
TINY_VAES = {
    "wan-2.1-vae": {"base_dim": 4},
    "wan-2.2-ti2v-5b": {"base_dim": 4, "decoder_base_dim": 8},
    "ltx-2b-0.9.0": {"block_out_channels": [4, 8, 16, 16], "decoder_block_out_channels": [4, 8, 16, 16]},
    "ltx-2b-0.9.1": {"block_out_channels": [4, 8, 16, 16], "decoder_block_out_channels": [8, 16, 32]},
    "hunyuan-video-t2v": {"block_out_channels": [4, 8, 8, 8], "norm_num_groups": 2},
    "hunyuan-video-1.5-t2v-480p": {"block_out_channels": [8, 16, 32, 64, 64], "layers_per_block": 1},
}


def make(config, device="meta", **changes):
    import diffusers

    torch.manual_seed(0)
    with torch.device(device):
        return getattr(diffusers, config["_class_name"]).from_config({**config, **changes})


def to_original(state, name, part, prefix=""):
    if "hunyuan" in name and part == "transformer":
        state = old.fused(state, only="context_embedder." if "1.5" in name else "")
    if "animate" in name:
        state = old.faced(state)
    return old.original(state, LAYOUTS[name, part], prefix)


def to_comfyui(state, name):
    """A HunyuanVideo as ComfyUI saves it; queries, keys and values are one tensor in 1.5 too."""
    renames = old.HUNYUAN_15 if "1.5" in name else old.HUNYUAN
    return old.original(old.original(old.fused(state), renames), old.COMFY_HUNYUAN, "model.model.")


def random_state(module):
    """Not the initial values: those are zeros and ones in many places, and would hide a swapped name."""
    generator = torch.Generator().manual_seed(1)
    return {key: torch.randn(value.shape, generator=generator) for key, value in module.state_dict().items()}


@functools.cache
def spiece() -> bytes:
    """A SentencePiece model, as bytes, of the pocket world's words."""
    words = (
        "red blue circle square star moves left right up down slowly over a green hill in the rain and turns".split()
    )
    chance, model = random.Random(0), io.BytesIO()
    lines = (" ".join(chance.choices(words, k=8)) for _ in range(400))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=80, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


@functools.cache
def byte_pairs() -> bytes:
    """The same kind of model as Gemma's, of what is written in this folder."""
    model = io.BytesIO()
    text = (line for path in sorted(Path(__file__).parent.glob("*.py")) for line in path.read_text().splitlines())
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=text, model_writer=model, model_type="bpe", vocab_size=1000, minloglevel=2, pad_id=0,
        eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", byte_fallback=True,
        add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity", split_digits=True,
        user_defined_symbols=["\n", "\n\n", "▁▁", "▁▁▁", "<unused0>", "<start_of_turn>"],
    )  # fmt: skip
    return model.getvalue()


def save_single(path, name: str, part: str, state: dict, config: dict, prefix: str = ""):
    """A file in the original layout of `name`, and beside it its settings, for it is of no published size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in to_original(state, name, part, prefix).items()}, path)
    path.with_suffix(".json").write_text(json.dumps(config))
