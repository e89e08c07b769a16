"""By which keys and shapes each kind of model file is known. Data; identify.py reads it, variants.py goes on from it.

The first line of KINDS that fits wins. marks: keys that must be there; `key:1=32` asks for a length, `key:n=5` for five
dimensions, `*key` for one that ends so, whatever stands before it. measures: what tells the variants apart; `key` is
there or not, `key:1` a length, `stem.#` how many blocks. The word `.weight` at a key's end is left out. Key names are
those of the published files: diffusers' models and single_file_utils, the repositories of the models, ComfyUI's
repackaged files.
"""

from typing import NamedTuple

DIT, VAE, TEXT, VISION, LORA = "transformer", "VAE", "text encoder", "image encoder", "LoRA"
CONTROLNET = "ControlNet"  # beside a transformer, which follows a control video through it
UPSAMPLER = "latent upsampler"
CONNECTORS = "text projection"  # between LTX-2's text encoder and its transformer
# the node that loads each
LOADERS = {
    **{DIT: "Load DiT", VAE: "Load VAE", TEXT: "Load Text Encoder", LORA: "Load LoRA"},
    UPSAMPLER: "Upsample Latent",
}

# pictures only: named, so that the user knows why they aren't taken
IMAGE_MODELS = ("Flux", "Stable Diffusion 3", "Qwen-Image", "Lumina 2 or Z-Image", "HunyuanImage", "PixArt")


class Kind(NamedTuple):
    component: str
    family: str
    layout: str
    marks: str
    measures: dict[str, str] = {}  # noqa: RUF012


# what a file's keys may begin with
PREFIXES = (
    *("", "model.diffusion_model.", "diffusion_model.", "model.", "transformer.", "net.", "module.", "vae."),
    *("audio_vae.", "first_stage_model.", "model.language_model.", "language_model.model.", "language_model."),
    *("text_encoders.", "text_model.", "model.diffusion_model.net.", "model.model."),
)

WAN = {
    "width": "patch_embedding:0",
    "channels": "patch_embedding:1",
    "fps": "fps_embedding",
    "vace": "vace_patch_embedding",
}
COG = {
    "width": "patch_embed.proj:0",
    "channels": "patch_embed.proj:1",
    "rank": "patch_embed.proj:n",
}
IMG = {"channels": "img_in.proj:1"}
COMFY_BLOCK = "double_blocks.0.img_attn.qkv txt_in.individual_token_refiner.blocks.0.norm1"
EACH = "video_aggregate_embed"  # since 2.3, a projection for the picture and one for the sound
LTX_2 = {"reads": "caption_projection.linear_1"}
LTX_VAE = {"encoder": "encoder.conv_out.conv:1"}

KINDS = (
    Kind(
        DIT,
        "Wan",
        "original",
        "head.modulation blocks.0.self_attn.norm_q patch_embedding",
        {
            **WAN,
            "clip": "img_emb.proj.1",
            "ends": "img_emb.emb_pos",
            "pose": "face_adapter.fuser_blocks.0.q_norm",
            "speech": "casual_audio_encoder.encoder.final_linear",
            "control": "control_adapter.conv",
            "humo": "audio_proj.audio_proj_glob_1.layer",
            "reference": "ref_conv",
            "out": "head.head:0",
        },
    ),
    Kind(
        DIT,
        "Wan",
        "diffusers",
        "condition_embedder.text_embedder.linear_1 blocks.0.attn1.norm_q patch_embedding",
        {
            **WAN,
            "clip": "condition_embedder.image_embedder.norm1",
            "ends": "condition_embedder.image_embedder.pos_embed",
            "pose": "pose_patch_embedding",
            "out": "proj_out:0",
        },
    ),
    Kind(DIT, "LTX-2", "original", "patchify_proj audio_patchify_proj", LTX_2),
    Kind(DIT, "LTX-2", "diffusers", "proj_in audio_proj_in transformer_blocks.0.audio_attn1.to_q", LTX_2),
    Kind(
        DIT,
        "LTX",
        "original",
        "patchify_proj adaln_single.emb.timestep_embedder.linear_1",
        {"width": "patchify_proj:0", "layers": "transformer_blocks.#"},
    ),
    Kind(DIT, "HunyuanVideo 1.5", "ComfyUI", f"{COMFY_BLOCK} vision_in.proj.0", {**IMG, "steps": "time_r_in.in_layer"}),
    Kind(
        DIT,
        "HunyuanVideo 1.5",
        "original",
        "txt_in.individual_token_refiner.blocks.0.norm1 vision_in.proj.0",
        {**IMG, "steps": "time_r_in.mlp.0"},
    ),
    Kind(
        DIT,
        "HunyuanVideo 1.5",
        "diffusers",
        "cond_type_embed context_embedder_2.linear_1",
        {"channels": "x_embedder.proj:1", "steps": "time_embed.timestep_embedder_r.linear_1"},
    ),
    Kind(
        DIT,
        "HunyuanVideo",
        "ComfyUI",
        f"{COMFY_BLOCK} img_in.proj:n=5 vector_in.in_layer",
        {**IMG, "guidance": "guidance_in.in_layer", "pack": "clean_x_embedder.proj"},
    ),
    Kind(
        DIT,
        "HunyuanVideo",
        "original",
        "txt_in.individual_token_refiner.blocks.0.norm1 img_in.proj:n=5 vector_in.in_layer",
        {**IMG, "guidance": "guidance_in.mlp.0", "pack": "clean_x_embedder.proj"},
    ),
    Kind(
        DIT,
        "HunyuanVideo",
        "diffusers",
        "context_embedder.token_refiner.refiner_blocks.0.norm1 x_embedder.proj:n=5 "
        "time_text_embed.text_embedder.linear_1",
        {
            "channels": "x_embedder.proj:1",
            "guidance": "time_text_embed.guidance_embedder.linear_1",
            "pack": "clean_x_embedder.proj",
        },
    ),
    Kind(DIT, "CogVideoX", "diffusers", "patch_embed.text_proj norm_final transformer_blocks.0.norm1.linear", COG),
    Kind(DIT, "CogVideoX", "ComfyUI", "patch_embed.text_proj norm_final blocks.0.norm1.linear", COG),
    Kind(
        DIT,
        "CogVideoX",
        "original",
        "mixins.patch_embed.proj transformer.layers.0.attention.query_key_value",
        {
            "width": "mixins.patch_embed.proj:0",
            "channels": "mixins.patch_embed.proj:1",
            "rank": "mixins.patch_embed.proj:n",
        },
    ),
    Kind(DIT, "Mochi", "original", "t5_y_embedder.to_q blocks.0.attn.qkv_x"),
    Kind(DIT, "Mochi", "diffusers", "pos_frequencies time_embed.pooler.to_q"),
    Kind(DIT, "Latte", "diffusers", "temporal_transformer_blocks.0.scale_shift_table pos_embed.proj"),
    Kind(DIT, "Allegro", "diffusers", "adaln_single.linear pos_embed.proj:0=2304 caption_projection.linear_1"),
    Kind(
        DIT,
        "EasyAnimate",
        "diffusers",
        "proj:n=4 time_embedding.linear_1 norm_final proj_out transformer_blocks.0.norm1.linear",
        {"channels": "proj:1", "width": "proj:0"},
    ),
    Kind(
        DIT,
        "Sana-Video",
        "diffusers",
        "transformer_blocks.0.ff.conv_temp patch_embedding",
        {"width": "patch_embedding:0", "channels": "patch_embedding:1"},
    ),
    Kind(
        DIT,
        "Sana-Video",
        "original",
        "blocks.0.mlp.t_conv x_embedder.proj",
        {"width": "x_embedder.proj:0", "channels": "x_embedder.proj:1"},
    ),
    Kind(
        DIT,
        "LTX",
        "diffusers",
        "proj_in time_embed.emb.timestep_embedder.linear_1 "
        "caption_projection.linear_1 transformer_blocks.0.attn1.norm_q",
        {"width": "proj_in:0", "layers": "transformer_blocks.#"},
    ),
    Kind(
        DIT,
        "Cosmos",
        "original",
        "x_embedder.proj.1 blocks.0.self_attn.q_proj t_embedding_norm",
        {"width": "x_embedder.proj.1:0", "patch": "x_embedder.proj.1:1", "reason": "crossattn_proj.0"},
    ),
    Kind(
        DIT,
        "Cosmos",
        "original",
        "x_embedder.proj.1 blocks.block0.blocks.0.block.attn.to_q.0",
        {
            "width": "x_embedder.proj.1:0",
            "patch": "x_embedder.proj.1:1",
            "first": "blocks.block0.blocks.0.block.attn.to_q.0",
        },
    ),
    Kind(CONTROLNET, "Cosmos", "diffusers", "patch_embed_base.proj control_blocks.0.after_proj"),
    Kind(
        DIT,
        "Cosmos",
        "diffusers",
        "patch_embed.proj:n=2 time_embed.t_embedder.linear_1",
        {
            "width": "patch_embed.proj:0",
            "patch": "patch_embed.proj:1",
            "reason": "crossattn_proj.0",
            "pictures": "img_context_proj.0",
            "first": "learnable_pos_embed.pos_emb_t",
        },
    ),
    Kind(DIT, "HunyuanImage", "original", "txt_in.individual_token_refiner.blocks.0.norm1 img_in.proj:n=4"),
    Kind(DIT, "Flux", "original", "double_blocks.0.img_attn.norm.key_norm.scale"),
    Kind(DIT, "Flux", "diffusers", "single_transformer_blocks.0.norm.linear transformer_blocks.0.norm1_context.linear"),
    Kind(DIT, "Stable Diffusion 3", "original", "joint_blocks.0.context_block.adaLN_modulation.1.bias"),
    Kind(DIT, "Qwen-Image", "original", "txt_norm img_in transformer_blocks.0.img_mod.1"),
    Kind(DIT, "Lumina 2 or Z-Image", "original", "cap_embedder.1 noise_refiner.0.attention.k_norm"),
    Kind(DIT, "PixArt", "diffusers", "adaln_single.linear pos_embed.proj caption_projection.linear_1"),
    Kind(
        "VACE module", "Wan", "original", "vace_patch_embedding vace_blocks.0.before_proj"
    ),  # without what it is used on
    Kind("ControlNet", "Stable Diffusion", "original", "control_model.time_embed.0"),
    Kind("ControlNet", "Stable Diffusion", "diffusers", "controlnet_cond_embedding.conv_in"),
    Kind("UNet", "Stable Diffusion", "original", "input_blocks.0.0"),
    Kind("UNet", "Stable Diffusion", "diffusers", "down_blocks.0.resnets.0.conv1 time_embedding.linear_1"),
    Kind(VAE, "Wan", "original", "decoder.middle.0.residual.0.gamma conv2", {"channels": "conv2:0"}),
    Kind(
        VAE,
        "Wan",
        "diffusers",
        "decoder.mid_block.resnets.0.norm1.gamma post_quant_conv:n=5 encoder.conv_in",
        {"channels": "post_quant_conv:0", "width": "encoder.conv_in:0"},
    ),
    Kind(CONNECTORS, "LTX-2", "original", "text_embedding_projection.aggregate_embed", {}),
    Kind(
        CONNECTORS,
        "LTX-2",
        "original",
        f"text_embedding_projection.{EACH}",
        {"each": f"text_embedding_projection.{EACH}"},
    ),
    Kind(
        UPSAMPLER,
        "LTX",
        "diffusers",
        "initial_conv res_blocks.0.conv1 post_upsample_res_blocks.0.conv1",
        {"width": "initial_conv:0", "rows": "upsampler.0:0", "rank": "upsampler.0:n", "rational": "upsampler.conv:0"},
    ),
    Kind("audio VAE", "LTX-2", "original", "per_channel_statistics.mean-of-means decoder.up.0.block.0.conv1.conv"),
    Kind(
        VAE,
        "LTX",
        "original",
        "per_channel_statistics.mean-of-means decoder.up_blocks.0.res_blocks.0.conv1.conv",
        {**LTX_VAE, "timed": "decoder.last_time_embedder.timestep_embedder.linear_1"},
    ),
    Kind(
        VAE,
        "LTX",
        "diffusers",
        "latents_mean decoder.mid_block.resnets.0.conv1.conv encoder.conv_out.conv",
        {**LTX_VAE, "timed": "decoder.time_embedder.timestep_embedder.linear_1"},
    ),
    Kind(VAE, "HunyuanVideo 1.5", "diffusers", "decoder.mid_block.attentions.0.proj_out decoder.conv_in.conv:1=32"),
    Kind(VAE, "HunyuanVideo 1.5", "original", "decoder.mid.block_1.norm1.gamma decoder.conv_in.conv:1=32"),
    Kind(VAE, "HunyuanVideo", "original", "decoder.mid.block_1.conv1.conv decoder.conv_in.conv:n=5"),
    Kind(
        VAE,
        "HunyuanVideo",
        "diffusers",
        "decoder.mid_block.attentions.0.group_norm decoder.conv_in.conv:n=5 post_quant_conv",
    ),
    Kind(VAE, "CogVideoX", "diffusers", "decoder.mid_block.resnets.0.norm1.norm_layer decoder.conv_in.conv:n=5"),
    Kind(VAE, "Mochi", "diffusers", "decoder.block_in.resnets.0.norm1.norm_layer"),
    Kind(VAE, "Mochi", "original", "decoder.blocks.2.blocks.3.stack.5"),
    Kind(VAE, "Mochi", "original", "blocks.2.blocks.3.stack.5"),
    Kind(VAE, "Allegro", "diffusers", "decoder.temp_conv_in encoder.temp_conv_in"),
    Kind(VAE, "EasyAnimate", "diffusers", "decoder.mid_block.convs.0.norm1 quant_conv:n=5"),
    Kind(VAE, "Cosmos 1", "diffusers", "decoder.conv_in.conv_s"),
    Kind(VAE, "Cosmos 1", "original", "decoder.unpatcher3d.wavelets"),
    Kind(VAE, "DC-AE", "diffusers", "decoder.up_blocks.0.0.conv decoder.conv_in:n=4"),
    Kind(VAE, "DC-AE", "original", "decoder.stages.1.op_list.0.main.conv.conv.bias"),
    Kind(
        VAE,
        "image",
        "diffusers",
        "decoder.mid_block.attentions.0.group_norm decoder.conv_in:n=4",
        {"channels": "decoder.conv_in:1"},
    ),
    Kind(VAE, "image", "original", "decoder.mid.attn_1.q decoder.conv_in:n=4", {"channels": "decoder.conv_in:1"}),
    Kind(
        TEXT,
        "UMT5",
        "diffusers",
        "encoder.block.1.layer.0.SelfAttention.relative_attention_bias shared",
        {"width": "shared:1"},
    ),
    Kind(TEXT, "UMT5", "original", "blocks.1.pos_embedding.embedding token_embedding", {"width": "token_embedding:1"}),
    Kind(TEXT, "UMT5", "GGUF", "enc.blk.1.attn_rel_b token_embd", {"width": "token_embd:1"}),
    Kind(
        TEXT,
        "T5",
        "diffusers",
        "encoder.block.0.layer.0.SelfAttention.q",
        {"width": "encoder.block.0.layer.0.SelfAttention.q:1", "words": "shared:0"},
    ),
    Kind(TEXT, "T5", "GGUF", "enc.blk.0.attn_q token_embd", {"width": "token_embd:1", "words": "token_embd:0"}),
    Kind(
        TEXT,
        "CLIP",
        "diffusers",
        "encoder.layers.0.mlp.fc1 embeddings.token_embedding",
        {"width": "embeddings.token_embedding:1"},
    ),
    Kind(
        VISION,
        "CLIP",
        "diffusers",
        "vision_model.encoder.layers.0.mlp.fc1",
        {"width": "vision_model.encoder.layers.0.mlp.fc1:1", "projector": "multi_modal_projector.linear_1"},
    ),
    Kind(
        VISION,
        "CLIP",
        "original",
        "visual.transformer.resblocks.0.mlp.c_fc",
        {"width": "visual.transformer.resblocks.0.mlp.c_fc:1"},
    ),
    Kind(
        TEXT,
        "Gemma 3",
        "diffusers",
        "layers.0.self_attn.q_norm layers.0.pre_feedforward_layernorm embed_tokens",
        {"width": "embed_tokens:1"},
    ),
    Kind(TEXT, "Gemma 2", "diffusers", "layers.0.pre_feedforward_layernorm embed_tokens", {"width": "embed_tokens:1"}),
    Kind(TEXT, "Qwen3", "diffusers", "layers.0.self_attn.q_norm embed_tokens", {"width": "embed_tokens:1"}),
    Kind(  # reads as 2.5 does, sees otherwise
        TEXT,
        "Qwen2",
        "diffusers",
        "layers.0.self_attn.q_proj.bias embed_tokens *visual.blocks.0.mlp.fc1.weight",
        {"width": "embed_tokens:1"},
    ),
    Kind(TEXT, "Qwen2.5", "diffusers", "layers.0.self_attn.q_proj.bias embed_tokens", {"width": "embed_tokens:1"}),
    Kind(
        TEXT,
        "Llama",
        "diffusers",
        "layers.0.self_attn.q_proj embed_tokens",
        {"width": "embed_tokens:1", "words": "embed_tokens:0"},
    ),
    Kind(TEXT, "language model", "GGUF", "blk.0.attn_q token_embd", {"width": "token_embd:1"}),
)
