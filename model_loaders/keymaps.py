"""How the keys of original checkpoints become those of diffusers' and transformers' modules. Data for single_file.py.

A map is a sequence of stages; in each stage the first pattern that matches a key is replaced, the key then goes to the
next stage. ComfyUI's own names become the makers' first. Then come CUTS: one tensor whose rows become several (a fused
qkv), or whose halves change places. Checked in the tests against diffusers' own conversions.
"""

import re

from .fingerprints import CONNECTORS, DIT, TEXT, VAE

# HunyuanVideo's layers are called as Flux's inside ComfyUI, and so in the files and the LoRAs that it saves
COMFY_HUNYUAN = {
    r"(img|txt|self)_attn\.(qkv|proj|[qkv])(?=\.|$)": r"\1_attn_\2",
    r"(img|txt)_attn\.norm\.(q|k)(uery|ey)_norm\.scale$": r"\1_attn_\2_norm.weight",
    r"(?<=\d)\.norm\.(q|k)(uery|ey)_norm\.scale$": r".\1_norm.weight",
    r"(img_mod|txt_mod|modulation)\.lin(?=\.|$)": r"\1.linear",
    r"(img_mlp|txt_mlp|\d\.mlp)\.0(?=\.|$)": r"\1.fc1",
    r"(img_mlp|txt_mlp|\d\.mlp)\.2(?=\.|$)": r"\1.fc2",
    r"c_embedder\.in_layer": "c_embedder.linear_1",
    r"c_embedder\.out_layer": "c_embedder.linear_2",
    r"(time_in|time_r_in|guidance_in|t_embedder)\.in_layer": r"\1.mlp.0",
    r"(time_in|time_r_in|guidance_in|t_embedder)\.out_layer": r"\1.mlp.2",
}
CUTS = {
    # pattern → what each part is called; parts are equally long, but with a * at the end the others are as long as
    # the weight is wide and the last one takes the rest
    (DIT, "HunyuanVideo"): {
        r"img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        r"txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        r"self_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        r"(?<=\d\.)linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp*"),
    },
}
CUTS[DIT, "HunyuanVideo 1.5"] = CUTS[DIT, "HunyuanVideo"]
CUTS[DIT, "Wan"] = {r"linear1_kv": ("to_k", "to_v")}  # Animate's, of the face
# (shift, scale) here, (scale, shift) in diffusers
SWAPS = dict.fromkeys([(DIT, "HunyuanVideo"), (DIT, "HunyuanVideo 1.5")], r"final_layer\.adaLN_modulation\.1")

WAN = (
    {
        r"^img_emb\.proj\.0": "image_embedder.norm1",
        r"^img_emb\.proj\.1": "image_embedder.ff.net.0.proj",
        r"^img_emb\.proj\.3": "image_embedder.ff.net.2",
        r"^img_emb\.proj\.4": "image_embedder.norm2",
        r"^img_emb\.emb_pos": "image_embedder.pos_embed",
        r"^time_embedding\.0": "time_embedder.linear_1",
        r"^time_embedding\.2": "time_embedder.linear_2",
        r"^text_embedding\.0": "text_embedder.linear_1",
        r"^text_embedding\.2": "text_embedder.linear_2",
        r"^time_projection\.1": "time_proj",
        r"^head\.modulation": "scale_shift_table",
        r"^head\.head": "proj_out",
        r"\.modulation$": ".scale_shift_table",
        r"^fps_projection\.0": "fps_projection.net.0.proj",
        r"^fps_projection\.2": "fps_projection.net.2",
        r"\.ffn\.0\.": ".ffn.net.0.proj.",
        r"\.ffn\.2\.": ".ffn.net.2.",
        r"\.before_proj\.": ".proj_in.",
        r"\.after_proj\.": ".proj_out.",
        r"(?<=\d)\.norm3\.": ".norm2.",  # the third of the file is called second; the others hold no weights
        r"\.self_attn\.": ".attn1.",
        r"\.cross_attn\.": ".attn2.",
        r"^face_adapter\.fuser_blocks\.": "face_adapter.",
        r"^face_encoder\.(conv\w+)\.conv\.": r"face_encoder.\1.",
        r"^motion_encoder\.enc\.fc\.": "motion_encoder.motion_network.",
        r"^motion_encoder\.dec\.direction\.weight": "motion_encoder.motion_synthesis_weight",
        r"^motion_encoder\.enc\.net_app\.convs\.0\.": "motion_encoder.conv_in.",
        r"^motion_encoder\.enc\.net_app\.convs\.8\.": "motion_encoder.conv_out.",
        **{rf"^motion_encoder\.enc\.net_app\.convs\.{n + 1}\.": f"motion_encoder.res_blocks.{n}." for n in range(7)},
    },
    {
        r"^(image_embedder|time_embedder|text_embedder|time_proj)": r"condition_embedder.\1",
        r"\.k_img\.": ".add_k_proj.",
        r"\.v_img\.": ".add_v_proj.",
        r"\.norm_k_img\.": ".norm_added_k.",
        r"(?<=attn[12])\.([qkv])\.": r".to_\1.",
        r"(?<=attn[12])\.o\.": ".to_out.0.",
        r"\.linear1_q\.": ".to_q.",
        r"\.linear2\.": ".to_out.",
        r"\.q_norm\.": ".norm_q.",
        r"\.k_norm\.": ".norm_k.",
        r"^(motion_encoder.*)\.skip\.1\.": r"\1.conv_skip.",
        r"^(motion_encoder.*\.conv\w+)\.\d\.(weight)": r"\1.\2",
        r"^(motion_encoder.*\.conv\w+)\.\d\.(bias)": r"\1.act_fn.\2",
    },
)

LTX = (
    {
        r"^patchify_proj": "proj_in",
        r"^adaln_single": "time_embed",
        r"\.q_norm\.": ".norm_q.",
        r"\.k_norm\.": ".norm_k.",
    },
)

LTX_2 = (
    {
        r"^patchify_proj": "proj_in",
        r"^audio_patchify_proj": "audio_proj_in",
        r"^adaln_single": "time_embed",
        r"^audio_adaln_single": "audio_time_embed",
        r"^(audio_)?prompt_adaln_single": r"\1prompt_adaln",
        r"^av_ca_(video|audio)_scale_shift_adaln_single": r"av_cross_attn_\1_scale_shift",
        r"^av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
        r"^av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
        r"scale_shift_table_a2v_ca_(video|audio)": r"\1_a2v_cross_attn_scale_shift_table",
        r"\.q_norm\.": ".norm_q.",
        r"\.k_norm\.": ".norm_k.",
    },
)

# between its text encoder and its transformer; they lie among the transformer's keys
LTX_2_CONNECTORS = (
    {
        r"^text_embedding_projection\.aggregate_embed": "text_proj_in",
        r"^text_embedding_projection\.(video|audio)_aggregate_embed": r"\1_text_proj_in",
        r"^(model\.diffusion_model\.)?(video|audio)_embeddings_connector": r"\2_connector",
    },
    {r"\.transformer_1d_blocks\.": ".transformer_blocks."},
    {r"\.([qk])_norm\.": r".norm_\1."},
)

COSMOS = (
    {
        r"^x_embedder\.proj\.1": "patch_embed.proj",
        r"^t_embedder\.1": "time_embed.t_embedder",
        r"^t_embedding_norm": "time_embed.norm",
        r"^blocks\.": "transformer_blocks.",
        r"^final_layer\.adaln_modulation\.([12])": r"norm_out.linear_\1",
        r"^final_layer\.linear": "proj_out",
    },
    {
        r"\.adaln_modulation_self_attn\.([12])": r".norm1.linear_\1",
        r"\.adaln_modulation_cross_attn\.([12])": r".norm2.linear_\1",
        r"\.adaln_modulation_mlp\.([12])": r".norm3.linear_\1",
        r"\.self_attn\.": ".attn1.",
        r"\.cross_attn\.": ".attn2.",
        r"\.mlp\.layer1": ".ff.net.0.proj",
        r"\.mlp\.layer2": ".ff.net.2",
    },
    {
        r"\.([qkv])_proj\.": r".to_\1.",
        r"\.output_proj\.": ".to_out.0.",
        r"\.([qk])_norm\.": r".norm_\1.",
    },
)

HUNYUAN = (
    {
        r"^img_in\.": "x_embedder.",
        r"^time_in\.mlp\.": "time_text_embed.timestep_embedder.",
        r"^guidance_in\.mlp\.": "time_text_embed.guidance_embedder.",
        r"^vector_in\.in_layer": "time_text_embed.text_embedder.linear_1",
        r"^vector_in\.out_layer": "time_text_embed.text_embedder.linear_2",
        r"^txt_in\.individual_token_refiner\.blocks": "context_embedder.token_refiner.refiner_blocks",
        r"^txt_in\.t_embedder\.mlp\.": "context_embedder.time_text_embed.timestep_embedder.",
        r"^txt_in\.c_embedder": "context_embedder.time_text_embed.text_embedder",
        r"^txt_in\.input_embedder": "context_embedder.proj_in",
        r"^double_blocks": "transformer_blocks",
        r"^single_blocks": "single_transformer_blocks",
        r"^final_layer\.adaLN_modulation\.1": "norm_out.linear",
        r"^final_layer\.linear": "proj_out",
    },
    {
        r"_embedder\.0\.": "_embedder.linear_1.",
        r"_embedder\.2\.": "_embedder.linear_2.",
        r"img_attn_q_norm": "attn.norm_q",
        r"img_attn_k_norm": "attn.norm_k",
        r"img_attn_proj": "attn.to_out.0",
        r"txt_attn_q_norm": "attn.norm_added_q",
        r"txt_attn_k_norm": "attn.norm_added_k",
        r"txt_attn_proj": "attn.to_add_out",
        r"self_attn_proj": "attn.to_out.0",
        r"img_mod\.linear": "norm1.linear",
        r"txt_mod\.linear": "norm1_context.linear",
        r"img_mlp\.fc1": "ff.net.0.proj",
        r"img_mlp\.fc2": "ff.net.2",
        r"txt_mlp\.fc1": "ff_context.net.0.proj",
        r"txt_mlp\.fc2": "ff_context.net.2",
        r"\.mlp\.fc1": ".ff.net.0.proj",
        r"\.mlp\.fc2": ".ff.net.2",
        r"\.adaLN_modulation\.1": ".norm_out.linear",
        r"\.modulation\.linear": ".norm.linear",
        r"(?<=\d)\.linear2": ".proj_out",
        r"(?<=\d)\.q_norm": ".attn.norm_q",
        r"(?<=\d)\.k_norm": ".attn.norm_k",
    },
)

# 1.5 begins and reads otherwise; its queries, keys and values lie apart
HUNYUAN_15 = (
    {
        **HUNYUAN[0],
        r"^time_in\.mlp\.": "time_embed.timestep_embedder.",
        r"^time_r_in\.mlp\.": "time_embed.timestep_embedder_r.",
        r"^byt5_in\.layernorm": "context_embedder_2.norm",
        r"^byt5_in\.fc": "context_embedder_2.linear_",
        r"^vision_in\.proj\.0": "image_embedder.norm_in",
        r"^vision_in\.proj\.1": "image_embedder.linear_1",
        r"^vision_in\.proj\.3": "image_embedder.linear_2",
        r"^vision_in\.proj\.4": "image_embedder.norm_out",
        r"^cond_type_embedding": "cond_type_embed",
    },
    {
        **HUNYUAN[1],
        r"_embedder_r\.0\.": "_embedder_r.linear_1.",
        r"_embedder_r\.2\.": "_embedder_r.linear_2.",
        r"img_attn_([qkv])\.": r"attn.to_\1.",
        r"txt_attn_([qkv])\.": r"attn.add_\1_proj.",
    },
)

_WAN_RESIDUAL = {
    r"\.residual\.0\.": ".norm1.",
    r"\.residual\.2\.": ".conv1.",
    r"\.residual\.3\.": ".norm2.",
    r"\.residual\.6\.": ".conv2.",
    r"\.shortcut\.": ".conv_shortcut.",
}
_WAN_VAE_ENDS = {
    r"^(encoder|decoder)\.conv1\.": r"\1.conv_in.",
    r"^conv1\.": "quant_conv.",
    r"^conv2\.": "post_quant_conv.",
    r"\.middle\.0\.": ".mid_block.resnets.0.",
    r"\.middle\.1\.": ".mid_block.attentions.0.",
    r"\.middle\.2\.": ".mid_block.resnets.1.",
    r"\.head\.0\.": ".norm_out.",
    r"\.head\.2\.": ".conv_out.",
}
# Wan 2.1 counts its decoder's layers through: three residual blocks, an upsampler, three residual blocks, …
WAN_VAE = (
    {
        **_WAN_VAE_ENDS,
        r"^encoder\.downsamples\.": "encoder.down_blocks.",
        **{
            rf"^decoder\.upsamples\.{4 * block + i}\.": f"decoder.up_blocks.{block}.{name}."
            for block in range(4)
            for i, name in enumerate(("resnets.0", "resnets.1", "resnets.2", "upsamplers.0"))
        },
    },
    _WAN_RESIDUAL,
)
# Wan 2.2 nests them
WAN_22_VAE = (
    {
        **_WAN_VAE_ENDS,
        r"^encoder\.downsamples\.(\d)\.downsamples\.\d\.(?=resample|time_conv)": r"encoder.down_blocks.\1.downsampler.",
        r"^encoder\.downsamples\.(\d+)\.downsamples\.": r"encoder.down_blocks.\1.resnets.",
        r"^decoder\.upsamples\.(\d+)\.upsamples\.\d+\.(?=resample|time_conv)": r"decoder.up_blocks.\1.upsampler.",
        r"^decoder\.upsamples\.(\d+)\.upsamples\.": r"decoder.up_blocks.\1.resnets.",
    },
    _WAN_RESIDUAL,
)


def _ltx_vae(up: tuple[str, ...], down: tuple[str, ...]) -> tuple[dict, ...]:
    """LTX counts all its blocks through; `up` and `down` say what the n-th one is called in diffusers."""
    counted = {rf"^decoder\.up_blocks\.{n}\.": f"decoder.{name}." for n, name in enumerate(up)}
    counted |= {rf"^encoder\.down_blocks\.{n}\.": f"encoder.{name}." for n, name in enumerate(down)}
    ends = {
        r"last_time_embedder": "time_embedder",
        r"last_scale_shift_table": "scale_shift_table",
        r"^per_channel_statistics\.mean-of-means": "latents_mean",
        r"^per_channel_statistics\.std-of-means": "latents_std",
    }
    return (
        counted | ends,
        {r"\.res_blocks\.": ".resnets."},
        {r"\.conv_shortcut\.": ".conv_shortcut.conv.", r"\.norm3\.norm\.": ".norm3."},
    )


_MID, _UP3 = "mid_block", tuple(f"up_blocks.{n}{part}" for n in range(4) for part in (".upsamplers.0", ""))
_DOWN_091 = (
    "down_blocks.0",
    "down_blocks.0.downsamplers.0",
    "down_blocks.0.conv_out",
    "down_blocks.1",
    "down_blocks.1.downsamplers.0",
    "down_blocks.1.conv_out",
    "down_blocks.2",
    "down_blocks.2.downsamplers.0",
    "down_blocks.3",
    _MID,
)
_DOWN_095 = (*(f"down_blocks.{n}{part}" for n in range(4) for part in ("", ".downsamplers.0")), _MID)
_UP_090 = (
    _MID,
    "up_blocks.0",
    "up_blocks.1.upsamplers.0",
    "up_blocks.1",
    "up_blocks.2.conv_in",
    "up_blocks.2.upsamplers.0",
    "up_blocks.2",
    "up_blocks.3.conv_in",
    "up_blocks.3.upsamplers.0",
    "up_blocks.3",
)

# the layer style of Stable Diffusion's VAE, which ComfyUI gives HunyuanVideo's; up blocks count from the other end
HUNYUAN_VAE = (
    {
        r"\.mid\.block_1\.": ".mid_block.resnets.0.",
        r"\.mid\.block_2\.": ".mid_block.resnets.1.",
        r"\.mid\.attn_1\.norm\.": ".mid_block.attentions.0.group_norm.",
        r"\.mid\.attn_1\.([qkv])\.": r".mid_block.attentions.0.to_\1.",
        r"\.mid\.attn_1\.proj_out\.": ".mid_block.attentions.0.to_out.0.",
        r"^encoder\.down\.(\d)\.block\.": r"encoder.down_blocks.\1.resnets.",
        r"^encoder\.down\.(\d)\.downsample\.": r"encoder.down_blocks.\1.downsamplers.0.",
        **{rf"^decoder\.up\.{n}\.block\.": f"decoder.up_blocks.{3 - n}.resnets." for n in range(4)},
        **{rf"^decoder\.up\.{n}\.upsample\.": f"decoder.up_blocks.{3 - n}.upsamplers.0." for n in range(4)},
        r"\.norm_out\.": ".conv_norm_out.",
    },
    {r"\.nin_shortcut\.": ".conv_shortcut."},
    {r"(\.to_[qkv]|\.to_out\.0)\.conv\.": r"\1."},
)

HUNYUAN_15_VAE = (
    {
        r"\.mid\.block_1\.": ".mid_block.resnets.0.",
        r"\.mid\.block_2\.": ".mid_block.resnets.1.",
        r"\.mid\.attn_1\.([qkv])\.": r".mid_block.attentions.0.to_\1.",
        r"\.mid\.attn_1\.": ".mid_block.attentions.0.",
        r"\.(down|up)\.(\d)\.block\.": r".\1_blocks.\2.resnets.",
        r"\.(down|up)\.(\d)\.(down|up)sample\.": r".\1_blocks.\2.\3samplers.0.",
    },
)

UMT5 = (
    {
        r"^token_embedding\.": "shared.",
        r"^norm\.": "encoder.final_layer_norm.",
        r"^blocks\.(\d+)\.": r"encoder.block.\1.",
    },
    {
        r"\.attn\.([qkvo])\.": r".layer.0.SelfAttention.\1.",
        r"(?<=\d)\.norm1\.": ".layer.0.layer_norm.",
        r"\.pos_embedding\.embedding\.": ".layer.0.SelfAttention.relative_attention_bias.",
        r"(?<=\d)\.norm2\.": ".layer.1.layer_norm.",
        r"\.ffn\.gate\.0\.": ".layer.1.DenseReluDense.wi_0.",
        r"\.ffn\.fc1\.": ".layer.1.DenseReluDense.wi_1.",
        r"\.ffn\.fc2\.": ".layer.1.DenseReluDense.wo.",
    },
)

# (component, family, variant, layout) → stages; the variant only where it matters, "" else
STAGES = {
    (DIT, "Wan", "", "original"): WAN,
    (DIT, "Cosmos", "", "original"): COSMOS,  # 2 and 2.5; of 1 no config ships
    (DIT, "LTX", "", "original"): LTX,
    (DIT, "LTX-2", "", "original"): LTX_2,
    (CONNECTORS, "LTX-2", "19B", "original"): LTX_2_CONNECTORS,
    (CONNECTORS, "LTX-2", "2.3 22B", "original"): LTX_2_CONNECTORS,
    (DIT, "HunyuanVideo", "", "original"): HUNYUAN,
    (DIT, "HunyuanVideo", "", "ComfyUI"): HUNYUAN,
    (VAE, "Wan", "2.1", "original"): WAN_VAE,
    (VAE, "Wan", "2.2 5B", "original"): WAN_22_VAE,
    (VAE, "LTX", "0.9.0", "original"): _ltx_vae(_UP_090, _DOWN_091),
    (VAE, "LTX", "0.9.1", "original"): _ltx_vae((_MID, *_UP3), _DOWN_091),
    (VAE, "LTX", "0.9.5 to 0.9.8", "original"): _ltx_vae((_MID, *_UP3), _DOWN_095),
    (VAE, "LTX", "2.0", "original"): _ltx_vae((_MID, *_UP3[:6]), _DOWN_095),
    (VAE, "LTX", "2.3", "original"): _ltx_vae((_MID, *_UP3), _DOWN_095),
    (VAE, "HunyuanVideo", "", "original"): HUNYUAN_VAE,
    (DIT, "HunyuanVideo 1.5", "", "original"): HUNYUAN_15,
    (DIT, "HunyuanVideo 1.5", "", "ComfyUI"): HUNYUAN_15,
    (VAE, "HunyuanVideo 1.5", "", "original"): HUNYUAN_15_VAE,
    (TEXT, "UMT5", "", "original"): UMT5,
}


def renamed(key: str, stages: tuple[dict, ...]) -> str:
    for stage in stages:
        for pattern, new in stage.items():
            changed, hits = re.subn(pattern, new, key, count=1)
            if hits:
                key = changed
                break
    return key
