"""State dicts as the models' own repositories and ComfyUI name them, made from diffusers' by turning the names back.

That the names are right is told by diffusers' own conversions (test_single_files.py), which must turn them forth again.
"""

import re

import torch

WAN = [
    *(
        (rf"^face_adapter\.(\d+)\.{ours}\.", rf"face_adapter.fuser_blocks.\1.{theirs}.")
        for ours, theirs in (
            *(("to_q", "linear1_q"), ("to_kv", "linear1_kv"), ("to_out", "linear2")),
            *(("norm_q", "q_norm"), ("norm_k", "k_norm")),
        )
    ),
    (r"^face_encoder\.(conv\w+)\.", r"face_encoder.\1.conv."),
    (r"^motion_encoder\.motion_network", "motion_encoder.enc.fc"),
    (r"^motion_encoder\.motion_synthesis_weight", "motion_encoder.dec.direction.weight"),
    (r"^motion_encoder\.conv_in\.weight", "motion_encoder.enc.net_app.convs.0.0.weight"),
    (r"^motion_encoder\.conv_in\.act_fn\.bias", "motion_encoder.enc.net_app.convs.0.1.bias"),
    (r"^motion_encoder\.conv_out", "motion_encoder.enc.net_app.convs.8"),
    *((rf"^motion_encoder\.res_blocks\.{n}\.", f"motion_encoder.enc.net_app.convs.{n + 1}.") for n in range(7)),
    (r"(convs\.\d\.conv1)\.weight", r"\1.0.weight"),
    (r"(convs\.\d\.conv1)\.act_fn\.bias", r"\1.1.bias"),
    (r"(convs\.\d\.conv2)\.weight", r"\1.1.weight"),
    (r"(convs\.\d\.conv2)\.act_fn\.bias", r"\1.2.bias"),
    (r"(convs\.\d)\.conv_skip\.weight", r"\1.skip.1.weight"),
    (r"^condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
    (r"^condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
    (r"^condition_embedder\.time_proj", "time_projection.1"),
    (r"^condition_embedder\.image_embedder\.norm1", "img_emb.proj.0"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj", "img_emb.proj.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2", "img_emb.proj.3"),
    (r"^condition_embedder\.image_embedder\.norm2", "img_emb.proj.4"),
    (r"^condition_embedder\.image_embedder\.pos_embed", "img_emb.emb_pos"),
    (r"^scale_shift_table", "head.modulation"),
    (r"^proj_out", "head.head"),
    (r"scale_shift_table", "modulation"),
    (r"fps_projection\.net\.0\.proj", "fps_projection.0"),
    (r"fps_projection\.net\.2", "fps_projection.2"),
    (r"attn1", "self_attn"),
    (r"attn2", "cross_attn"),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.add_([kv])_proj\.", r".\1_img."),
    (r"norm_added_k", "norm_k_img"),
    (r"ffn\.net\.0\.proj", "ffn.0"),
    (r"ffn\.net\.2", "ffn.2"),
    (r"\.norm2\.", ".norm!."),
    (r"\.norm3\.", ".norm2."),
    (r"\.norm!\.", ".norm3."),
    (r"(vace_blocks\.\d+)\.proj_in", r"\1.before_proj"),
    (r"(vace_blocks\.\d+)\.proj_out", r"\1.after_proj"),
]
LTX = [(r"^proj_in", "patchify_proj"), (r"^time_embed", "adaln_single"), (r"norm_([qk])", r"\1_norm")]

_WAN_VAE = [
    (r"^quant_conv", "conv1"),
    (r"^post_quant_conv", "conv2"),
    (r"coder\.conv_in", "coder.conv1"),
    (r"norm_out", "head.0"),
    (r"conv_out", "head.2"),
    (r"mid_block\.resnets\.0", "middle.0"),
    (r"mid_block\.attentions\.0", "middle.1"),
    (r"mid_block\.resnets\.1", "middle.2"),
    (r"(middle\.\d|resnets\.\d|down_blocks\.\d+)\.norm1", r"\1.residual.0"),
    (r"(middle\.\d|resnets\.\d|down_blocks\.\d+)\.conv1", r"\1.residual.2"),
    (r"(middle\.\d|resnets\.\d|down_blocks\.\d+)\.norm2", r"\1.residual.3"),
    (r"(middle\.\d|resnets\.\d|down_blocks\.\d+)\.conv2", r"\1.residual.6"),
    (r"conv_shortcut", "shortcut"),
]
WAN_VAE = [
    *_WAN_VAE,
    *((rf"up_blocks\.{b}\.resnets\.{i}", f"upsamples.{4 * b + i}") for b in range(4) for i in range(3)),
    *((rf"up_blocks\.{b}\.upsamplers\.0", f"upsamples.{4 * b + 3}") for b in range(4)),
    (r"encoder\.down_blocks", "encoder.downsamples"),
]
WAN_22_VAE = [
    *_WAN_VAE,
    (r"encoder\.down_blocks\.(\d)\.resnets", r"encoder.downsamples.\1.downsamples"),
    (r"encoder\.down_blocks\.(\d)\.downsampler", r"encoder.downsamples.\1.downsamples.2"),
    (r"decoder\.up_blocks\.(\d)\.resnets", r"decoder.upsamples.\1.upsamples"),
    (r"decoder\.up_blocks\.(\d)\.upsampler\.", r"decoder.upsamples.\1.upsamples.3."),
]


def ltx_vae(up, down):
    """`up`, `down`: what the n-th block of the original is called in diffusers, the longest names first."""

    def by_length(names):
        return sorted(enumerate(names), key=lambda item: -len(item[1]))

    return [
        *((rf"^decoder\.{re.escape(name)}\.", f"decoder.up_blocks!{n}.") for n, name in by_length(up)),
        *((rf"^encoder\.{re.escape(name)}\.", f"encoder.down_blocks!{n}.") for n, name in by_length(down)),
        (r"blocks!(\d)", r"blocks.\1"),
        (r"\.resnets\.", ".res_blocks."),
        (r"\.conv_shortcut\.conv\.", ".conv_shortcut."),
        (r"\.norm3\.", ".norm3.norm."),
        (r"^latents_mean", "per_channel_statistics.mean-of-means"),
        (r"^latents_std", "per_channel_statistics.std-of-means"),
        (r"^decoder\.time_embedder", "decoder.last_time_embedder"),
        (r"^decoder\.scale_shift_table", "decoder.last_scale_shift_table"),
    ]


_UP = ["mid_block", *(f"up_blocks.{n}{part}" for n in range(4) for part in (".upsamplers.0", ""))]
_DOWN_091 = "down_blocks.0 down_blocks.0.downsamplers.0 down_blocks.0.conv_out down_blocks.1 \
down_blocks.1.downsamplers.0 down_blocks.1.conv_out down_blocks.2 down_blocks.2.downsamplers.0 \
down_blocks.3 mid_block".split()
_UP_090 = "mid_block up_blocks.0 up_blocks.1.upsamplers.0 up_blocks.1 up_blocks.2.conv_in up_blocks.2.upsamplers.0 \
up_blocks.2 up_blocks.3.conv_in up_blocks.3.upsamplers.0 up_blocks.3".split()
_DOWN_095 = [*(f"down_blocks.{n}{part}" for n in range(4) for part in ("", ".downsamplers.0")), "mid_block"]
LTX_VAES = {
    "0.9.0": ltx_vae(_UP_090, _DOWN_091),
    "0.9.1": ltx_vae(_UP, _DOWN_091),
    "0.9.5": ltx_vae(_UP, _DOWN_095),
}
LTX_2_VAE = ltx_vae(_UP[:7], _DOWN_095)
LTX_23_VAE = ltx_vae(_UP, _DOWN_095)
LTX_2 = [
    (r"^proj_in", "patchify_proj"),
    (r"^audio_proj_in", "audio_patchify_proj"),
    (r"^time_embed", "adaln_single"),
    (r"^audio_time_embed", "audio_adaln_single"),
    (r"^(audio_)?prompt_adaln", r"\1prompt_adaln_single"),
    (r"^av_cross_attn_video_scale_shift", "av_ca_video_scale_shift_adaln_single"),
    (r"^av_cross_attn_audio_scale_shift", "av_ca_audio_scale_shift_adaln_single"),
    (r"^av_cross_attn_video_a2v_gate", "av_ca_a2v_gate_adaln_single"),
    (r"^av_cross_attn_audio_v2a_gate", "av_ca_v2a_gate_adaln_single"),
    (r"(video|audio)_a2v_cross_attn_scale_shift_table", r"scale_shift_table_a2v_ca_\1"),
    (r"norm_([qk])", r"\1_norm"),
]
LTX_2_CONNECTORS = [
    (r"^text_proj_in", "text_embedding_projection.aggregate_embed"),
    (r"^(video|audio)_text_proj_in", r"text_embedding_projection.\1_aggregate_embed"),
    (r"^(video|audio)_connector\.", r"model.diffusion_model.\1_embeddings_connector."),
    (r"transformer_blocks", "transformer_1d_blocks"),
    (r"norm_([qk])", r"\1_norm"),
]
COSMOS = [
    (r"^patch_embed\.proj", "x_embedder.proj.1"),
    (r"^time_embed\.t_embedder", "t_embedder.1"),
    (r"^time_embed\.norm", "t_embedding_norm"),
    (r"^transformer_blocks", "blocks"),
    (r"^norm_out\.linear_", "final_layer.adaln_modulation."),
    (r"^proj_out", "final_layer.linear"),
    (r"\.norm1\.linear_", ".adaln_modulation_self_attn."),
    (r"\.norm2\.linear_", ".adaln_modulation_cross_attn."),
    (r"\.norm3\.linear_", ".adaln_modulation_mlp."),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_([qkv])\.", r".\1_proj."),
    (r"\.to_out\.0", ".output_proj"),
    (r"\.norm_([qk])\.", r".\1_norm."),
    (r"\.ff\.net\.0\.proj", ".mlp.layer1"),
    (r"\.ff\.net\.2", ".mlp.layer2"),
]

HUNYUAN = [
    (r"^x_embedder", "img_in"),
    (r"^time_text_embed\.timestep_embedder\.linear_1", "time_in.mlp.0"),
    (r"^time_text_embed\.timestep_embedder\.linear_2", "time_in.mlp.2"),
    (r"^time_text_embed\.guidance_embedder\.linear_1", "guidance_in.mlp.0"),
    (r"^time_text_embed\.guidance_embedder\.linear_2", "guidance_in.mlp.2"),
    (r"^time_text_embed\.text_embedder\.linear_1", "vector_in.in_layer"),
    (r"^time_text_embed\.text_embedder\.linear_2", "vector_in.out_layer"),
    (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
    (r"^proj_out", "final_layer.linear"),
    (r"^context_embedder\.token_refiner\.refiner_blocks", "txt_in.individual_token_refiner.blocks"),
    (r"^context_embedder\.time_text_embed\.timestep_embedder\.linear_1", "txt_in.t_embedder.mlp.0"),
    (r"^context_embedder\.time_text_embed\.timestep_embedder\.linear_2", "txt_in.t_embedder.mlp.2"),
    (r"^context_embedder\.time_text_embed\.text_embedder", "txt_in.c_embedder"),
    (r"^context_embedder\.proj_in", "txt_in.input_embedder"),
    (r"^(txt_in.*)\.norm_out\.linear", r"\1.adaLN_modulation.1"),
    (r"^(txt_in.*)\.ff\.net\.0\.proj", r"\1.mlp.fc1"),
    (r"^(txt_in.*)\.ff\.net\.2", r"\1.mlp.fc2"),
    (r"^(txt_in.*)\.attn\.to_out\.0", r"\1.self_attn_proj"),
    (r"^(txt_in.*)\.attn\.qkv", r"\1.self_attn_qkv"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_([qk])", r"single_blocks.\1.\2_norm"),
    (r"^single_transformer_blocks\.(\d+)\.norm\.linear", r"single_blocks.\1.modulation.linear"),
    (r"^single_transformer_blocks\.(\d+)\.proj_out", r"single_blocks.\1.linear2"),
    (r"^single_transformer_blocks\.(\d+)\.qkvmlp", r"single_blocks.\1.linear1"),
    (r"^transformer_blocks", "double_blocks"),
    (r"norm1_context\.linear", "txt_mod.linear"),
    (r"norm1\.linear", "img_mod.linear"),
    (r"ff_context\.net\.0\.proj", "txt_mlp.fc1"),
    (r"ff_context\.net\.2", "txt_mlp.fc2"),
    (r"\.ff\.net\.0\.proj", ".img_mlp.fc1"),
    (r"\.ff\.net\.2", ".img_mlp.fc2"),
    (r"attn\.norm_added_([qk])", r"txt_attn_\1_norm"),
    (r"attn\.norm_([qk])", r"img_attn_\1_norm"),
    (r"attn\.to_add_out", "txt_attn_proj"),
    (r"attn\.to_out\.0", "img_attn_proj"),
    (r"attn\.qkv", "img_attn_qkv"),
    (r"attn\.add_qkv", "txt_attn_qkv"),
]
# from the makers' names to those under which ComfyUI keeps and saves them (its supported_models.HunyuanVideo)
COMFY_HUNYUAN = [
    (r"^txt_in\.t_embedder\.mlp\.0\.", "txt_in.t_embedder.in_layer."),
    (r"^txt_in\.t_embedder\.mlp\.2\.", "txt_in.t_embedder.out_layer."),
    (r"^txt_in\.c_embedder\.linear_1\.", "txt_in.c_embedder.in_layer."),
    (r"^txt_in\.c_embedder\.linear_2\.", "txt_in.c_embedder.out_layer."),
    (r"_mod\.linear\.", "_mod.lin."),
    (r"_attn_qkv\.", "_attn.qkv."),
    (r"mlp\.fc1\.", "mlp.0."),
    (r"mlp\.fc2\.", "mlp.2."),
    (r"_attn_q_norm\.weight", "_attn.norm.query_norm.scale"),
    (r"_attn_k_norm\.weight", "_attn.norm.key_norm.scale"),
    (r"\.q_norm\.weight", ".norm.query_norm.scale"),
    (r"\.k_norm\.weight", ".norm.key_norm.scale"),
    (r"_attn_proj\.", "_attn.proj."),
    (r"\.modulation\.linear\.", ".modulation.lin."),
    (r"_in\.mlp\.2\.", "_in.out_layer."),
    (r"_in\.mlp\.0\.", "_in.in_layer."),
]
# as scripts/convert_hunyuan_video1_5_to_diffusers.py in diffusers' repository tells them
HUNYUAN_15 = [
    (r"^time_embed\.timestep_embedder\.linear_1", "time_in.mlp.0"),
    (r"^time_embed\.timestep_embedder\.linear_2", "time_in.mlp.2"),
    (r"^time_embed\.timestep_embedder_r\.linear_1", "time_r_in.mlp.0"),
    (r"^time_embed\.timestep_embedder_r\.linear_2", "time_r_in.mlp.2"),
    (r"^context_embedder_2\.norm", "byt5_in.layernorm"),
    (r"^context_embedder_2\.linear_(\d)", r"byt5_in.fc\1"),
    (r"^image_embedder\.norm_in", "vision_in.proj.0"),
    (r"^image_embedder\.linear_1", "vision_in.proj.1"),
    (r"^image_embedder\.linear_2", "vision_in.proj.3"),
    (r"^image_embedder\.norm_out", "vision_in.proj.4"),
    (r"^cond_type_embed\.", "cond_type_embedding."),
    *HUNYUAN,
    (r"attn\.to_([qkv])", r"img_attn_\1"),
    (r"attn\.add_([qkv])_proj", r"txt_attn_\1"),
]
HUNYUAN_15_VAE = [
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.proj_out", "mid.attn_1.proj_out"),
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets", r"up.\1.block"),
    (r"up_blocks\.(\d)\.upsamplers\.0", r"up.\1.upsample"),
]
HUNYUAN_VAE = [
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    *((rf"up_blocks\.{n}\.resnets", f"up.{3 - n}.block") for n in range(4)),
    *((rf"up_blocks\.{n}\.upsamplers\.0", f"up.{3 - n}.upsample") for n in range(4)),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
]
UMT5 = [
    (r"^shared\.", "token_embedding."),
    (r"^encoder\.final_layer_norm", "norm"),
    (r"^encoder\.block\.", "blocks."),
    (r"layer\.0\.SelfAttention\.relative_attention_bias", "pos_embedding.embedding"),
    (r"layer\.0\.SelfAttention", "attn"),
    (r"layer\.0\.layer_norm", "norm1"),
    (r"layer\.1\.layer_norm", "norm2"),
    (r"layer\.1\.DenseReluDense\.wi_0", "ffn.gate.0"),
    (r"layer\.1\.DenseReluDense\.wi_1", "ffn.fc1"),
    (r"layer\.1\.DenseReluDense\.wo", "ffn.fc2"),
]


def original(state, renames, prefix=""):
    """The state dict under its original names."""
    result = {}
    for key, value in state.items():
        for pattern, new in renames:
            key = re.sub(pattern, new, key)
        result[prefix + key] = value
    return result


def faced(state):
    """Wan Animate's, of what reads faces: keys and values in one tensor, biases of four dimensions, blurs."""
    found = {}
    for key, value in state.items():
        if key.startswith("face_adapter.") and ".to_k." in key:
            found[key.replace("to_k", "to_kv")] = torch.cat([value, state[key.replace("to_k", "to_v")]])
        elif not (key.startswith("face_adapter.") and ".to_v." in key):
            found[key] = value[None, :, None, None] if key.endswith("act_fn.bias") else value
    blurs = [f"convs.{n}.{layer}.0.kernel" for n in range(1, 8) for layer in ("conv2", "skip")]
    return {**found, **{f"motion_encoder.enc.net_app.{key}": value.new_zeros(4, 4) for key in blurs}}


def fused(state, only=""):
    """HunyuanVideo's: queries, keys and values in one tensor, of a single block the MLP's too; (shift, scale). Of 1.5
    `only` the refiner's."""
    state = dict(state)
    for key in [key for key in state if key.startswith(only) and re.search(r"attn\.(to_q|add_q_proj)\.", key)]:
        names = ["to_q", "to_k", "to_v"] if "to_q" in key else ["add_q_proj", "add_k_proj", "add_v_proj"]
        parts = [state.pop(key.replace(names[0], name)) for name in names]
        target = key.replace("to_q", "qkv").replace("add_q_proj", "add_qkv")
        if key.startswith("single_"):
            parts.append(state.pop(key.replace("attn.to_q", "proj_mlp")))
            target = key.replace("attn.to_q", "qkvmlp")
        state[target] = torch.cat(parts)
    for end in ("weight", "bias"):
        state[f"norm_out.linear.{end}"] = torch.cat(state[f"norm_out.linear.{end}"].chunk(2)[::-1])
    return state
