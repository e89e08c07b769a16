"""Tiny models of every architecture with random weights, as diffusers' pipelines: name → a function that makes one."""

import diffusers
import torch
from bench import lively, t5, tokenizer, umt5

MODELS = {}


def model(name, **shape):
    def registered(make):
        MODELS[name] = lambda: make(**shape)
        return make

    return registered


# LTX-Video

SHIFT = {"use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 4,
         "max_image_seq_len": 64, "shift_terminal": 0.1}  # fmt: skip


@model("LTX-0.9.0", pipeline="LTXPipeline", **SHIFT)
@model("LTX-0.9.5", pipeline="LTXConditionPipeline", timed=True)
def ltx(pipeline, timed=False, **scheduler):
    torch.manual_seed(0)
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
        num_layers=2, caption_channels=32,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1), timestep_conditioning=timed,
    )  # fmt: skip
    vae.latents_mean.copy_(torch.randn(8))
    vae.latents_std.copy_(torch.rand(8) + 0.5)
    return getattr(diffusers, pipeline)(
        transformer=lively(transformer), vae=lively(vae), text_encoder=t5(), tokenizer=tokenizer(128),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**scheduler),
    )  # fmt: skip


# CogVideoX

COSINE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
          "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
          "timestep_spacing": "trailing"}  # fmt: skip
ROTARY = {"use_rotary_positional_embeddings": True}
PAIRED = {**ROTARY, "patch_size_t": 2, "patch_bias": False, "sample_width": 12, "sample_height": 12}


@model("CogVideoX-2B", scheduler="DDIM", scale=1.15258426)
@model("CogVideoX-5B", scheduler="DPM", **ROTARY)
@model("CogVideoX-5B-I2V", image=True, scheduler="DDIM", in_channels=8, **ROTARY)
@model("CogVideoX1.5-5B", scheduler="DPM", **PAIRED)
@model("CogVideoX1.5-5B-I2V", image=True, scheduler="DPM", in_channels=8, ofs_embed_dim=16, inverted=True, **PAIRED)
def cogvideox(scheduler, image=False, scale=0.7, inverted=False, **shape):
    torch.manual_seed(0)
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, time_embed_dim=16, text_embed_dim=32, num_layers=2,
        **{"sample_width": 6, "sample_height": 4, "sample_frames": 9, "in_channels": 4, "out_channels": 4, **shape},
    )  # fmt: skip
    vae = diffusers.AutoencoderKLCogVideoX(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2,
        scaling_factor=scale, invert_scale_latents=inverted,
    )  # fmt: skip
    return getattr(diffusers, f"CogVideoX{'ImageToVideo' if image else ''}Pipeline")(
        transformer=lively(transformer), vae=lively(vae), text_encoder=t5(), tokenizer=tokenizer(226),
        scheduler=getattr(diffusers, f"CogVideoX{scheduler}Scheduler")(**COSINE),
    )  # fmt: skip


# Wan

WITH_IMAGE, CLIP = {"in_channels": 12}, 32
SEES = {**WITH_IMAGE, "image_dim": CLIP, "added_kv_proj_dim": 32}


@model("Wan2.1-T2V")
@model("Wan2.1-I2V", pipeline="WanImageToVideoPipeline", **SEES)
@model("Wan2.1-FLF2V", pipeline="WanImageToVideoPipeline", pos_embed_seq_len=10, **SEES)
@model("Wan2.2-T2V-A14B", boundary=0.875)
@model("Wan2.2-I2V-A14B", pipeline="WanImageToVideoPipeline", boundary=0.9, **WITH_IMAGE)
@model("Wan2.1-VACE", pipeline="WanVACEPipeline", kind="WanVACE", vace_layers=[0], vace_in_channels=72)
def wan(pipeline="WanPipeline", boundary=None, kind="Wan", **shape):
    torch.manual_seed(0)
    statistics = {"latents_mean": torch.randn(4).tolist(), "latents_std": (torch.rand(4) + 0.5).tolist()}
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        **statistics,
    )  # fmt: skip
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    experts = {"transformer_2": wan_transformer(5, kind, **shape), "boundary_ratio": boundary} if boundary else {}
    return getattr(diffusers, pipeline)(
        transformer=wan_transformer(2, kind, **shape), vae=lively(vae), text_encoder=umt5(), tokenizer=tokenizer(16),
        scheduler=diffusers.UniPCMultistepScheduler(**flow), **experts, **(clip(kind) if "image_dim" in shape else {}),
    )  # fmt: skip


def wan_transformer(seed, kind, **shape):
    sizes = {"text_dim": 32, "freq_dim": 32, "ffn_dim": 64, "num_layers": 2, "in_channels": 4, "out_channels": 4}
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


# Sana-Video


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


# Mochi


@model("Mochi")
def mochi():
    torch.manual_seed(0)
    transformer = diffusers.MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, num_layers=2, pooled_projection_dim=16, in_channels=12,
        text_embed_dim=32, time_embed_dim=16,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLMochi(
        encoder_block_out_channels=(32, 32, 32, 32), decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1), latents_std=(torch.rand(12) + 0.5).tolist(),
    )  # fmt: skip
    return diffusers.MochiPipeline(
        transformer=lively(transformer), vae=lively(vae), text_encoder=t5(), tokenizer=tokenizer(256),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
    )  # fmt: skip


# HunyuanVideo

HEADERS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>"]


@model("HunyuanVideo")
@model("HunyuanVideo-I2V", image_condition_type="token_replace")
@model("HunyuanVideo-I2V-33ch", image_condition_type="latent_concat", guidance_embeds=False, in_channels=9)
def hunyuan_video(**shape):
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
    return getattr(diffusers, f"HunyuanVideo{'ImageToVideo' if sees else ''}Pipeline")(
        transformer=lively(transformer), vae=lively(vae), text_encoder_2=lively(clip),
        tokenizer_2=tokenizer(77, start="<s>"), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        **(llava(llama) if sees else {"text_encoder": lively(LlamaModel(llama)), "tokenizer": tokenizer(512)}),
    )  # fmt: skip


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


# HunyuanVideo 1.5

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


# EasyAnimate

SAYS = "{% for one in messages %}<|im_start|> {{ one.content[0].text }} <|im_end|> {% endfor %}<|im_start|>"


@model("EasyAnimate")
@model("EasyAnimate-InP", in_channels=9)
def easyanimate(**shape):
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
    return getattr(diffusers, f"EasyAnimate{'Inpaint' if shape else ''}Pipeline")(
        transformer=lively(transformer), vae=lively(vae), text_encoder=lively(qwen),
        tokenizer=tokenizer(512, additional_special_tokens=["<|im_start|>", "<|im_end|>"], chat_template=SAYS),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )  # fmt: skip


# Cosmos-Predict2.5


class Guard:
    """Stands where the pipeline wants NVIDIA's guard, which is none of ours to load: it lets everything pass."""

    def to(self, device):
        return self

    def check_text_safety(self, prompt):
        return True


CHAT = "{% for m in messages %}{{ m.role }} {% for c in m.content %}{{ c.text }}{% endfor %} </s> {% endfor %}"


@model("Cosmos2.5")
def cosmos():
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
    transformer = diffusers.CosmosTransformer3DModel(
        in_channels=5, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=2, mlp_ratio=2,
        text_embed_dim=32, adaln_lora_dim=4, max_size=(16, 32, 32), extra_pos_embed_type=None,
        use_crossattn_projection=True, crossattn_proj_in_channels=64, encoder_hidden_states_channels=32,
    )  # fmt: skip
    karras = {"use_karras_sigmas": True, "use_flow_sigmas": True, "sigma_max": 200.0, "sigma_min": 0.01}
    return diffusers.Cosmos2_5_PredictBasePipeline(
        transformer=lively(transformer), vae=wan().vae, text_encoder=lively(qwen),
        tokenizer=tokenizer(512, chat_template=CHAT), safety_checker=Guard(),
        scheduler=diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", **karras),
    )  # fmt: skip


# LTX-2


def ltx2_vae():
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLLTX2Video(
        latent_channels=8, block_out_channels=(8, 16, 32, 64), decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1), spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )  # fmt: skip
    vae.latents_mean.copy_(torch.randn(8))
    vae.latents_std.copy_(torch.rand(8) + 0.5)
    return lively(vae)


LATER = {"gated_attn": True, "audio_gated_attn": True, "cross_attn_mod": True, "audio_cross_attn_mod": True,
         "use_prompt_embeddings": False, "perturbed_attn": True}  # fmt: skip


@model("LTX-2")
@model("LTX-2.3", later=True)
def ltx2(later=False):
    from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(0)
    sound = {"audio_in_channels": 8, "audio_out_channels": 8, "audio_num_attention_heads": 2,
             "audio_attention_head_dim": 8, "audio_cross_attention_dim": 16}  # fmt: skip
    transformer = diffusers.LTX2VideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
        num_layers=2, caption_channels=32, **sound, **(LATER if later else {}),
    )  # fmt: skip
    connectors = LTX2TextConnectors(
        caption_channels=32, text_proj_in_factor=3, video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=16, video_connector_num_layers=1,
        video_connector_num_learnable_registers=8, audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=8 if later else 16, audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=8, per_modality_projections=later, video_hidden_dim=32,
        audio_hidden_dim=16,
    )  # fmt: skip
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
             "hidden_size": 32, "intermediate_size": 64, "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1,
             "eos_token_id": 1, "sliding_window": 16}  # fmt: skip
    sees = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
            "image_size": 28, "patch_size": 14}  # fmt: skip
    gemma = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=sizes, vision_config=sees, mm_tokens_per_image=4, image_token_index=63,
                     boi_token_index=61, eoi_token_index=62)
    )  # fmt: skip
    audio_vae = diffusers.AutoencoderKLLTX2Audio(
        base_channels=8, ch_mult=(1,), num_res_blocks=1, latent_channels=4, mel_bins=8, resolution=32
    )
    audio_vae.latents_mean.copy_(torch.randn(8))
    audio_vae.latents_std.copy_(torch.rand(8) + 0.5)
    vocoder = LTX2Vocoder(
        in_channels=16, hidden_channels=16, out_channels=2, upsample_kernel_sizes=[16, 15, 8, 4],
        upsample_factors=[6, 5, 4, 2], resnet_kernel_sizes=[3], resnet_dilations=[[1, 3, 5]],
    )  # fmt: skip
    return diffusers.LTX2Pipeline(
        transformer=lively(transformer), vae=ltx2_vae(), audio_vae=lively(audio_vae), vocoder=lively(vocoder),
        connectors=lively(connectors), text_encoder=lively(gemma), tokenizer=tokenizer(1024),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**SHIFT),
    )  # fmt: skip


# Latte and Allegro

LINEAR = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}


@model("Latte")
@model("Latte-temporal", vae="AutoencoderKLTemporalDecoder")
def latte(vae="AutoencoderKL"):
    torch.manual_seed(0)
    transformer = diffusers.LatteTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=2, patch_size=2,
        cross_attention_dim=32, sample_size=8, activation_fn="gelu-approximate", norm_type="ada_norm_single",
        norm_elementwise_affine=False, norm_eps=1e-6, caption_channels=32, attention_bias=True,
        num_embeds_ada_norm=1000,
    )  # fmt: skip
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4}
    if vae == "AutoencoderKL":
        kinds |= {"up_block_types": ["UpDecoderBlock2D"] * 4, "norm_num_groups": 4}
    return diffusers.LattePipeline(
        transformer=lively(transformer), text_encoder=t5(), tokenizer=tokenizer(120),
        vae=lively(getattr(diffusers, vae)(block_out_channels=(32,) * 4 if len(kinds) < 2 else (8,) * 4, **kinds)),
        scheduler=diffusers.DDIMScheduler(clip_sample=False, **LINEAR),
    )  # fmt: skip


@model("Allegro")
def allegro():
    torch.manual_seed(0)
    transformer = diffusers.AllegroTransformer3DModel(
        num_attention_heads=2, attention_head_dim=24, in_channels=4, out_channels=4, num_layers=2,
        cross_attention_dim=48, sample_height=16, sample_width=16, sample_frames=6, caption_channels=32,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLAllegro(
        block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2, sample_size=128
    )
    return diffusers.AllegroPipeline(
        transformer=lively(transformer), vae=lively(vae), text_encoder=t5(), tokenizer=tokenizer(512),
        scheduler=diffusers.EulerAncestralDiscreteScheduler(**LINEAR),
    )  # fmt: skip
