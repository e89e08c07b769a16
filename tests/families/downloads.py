"""A ComfyUI user's model folder with tiny random weights: transformers and VAEs in their makers' layout, repackaged
text encoders, image encoders; and the diffusers folder of the same."""

import json

import diffusers
import original_layout as old
import torch
import transformers
from bench import lively, t5, tokenizer, umt5
from safetensors.torch import save_file
from spacetime_nodes.model_loaders.checkpoint import read_json
from spacetime_nodes.model_loaders.families import cosmos, ltx
from spacetime_nodes.model_loaders.folders import CONFIGS
from tiny import MODELS
from tiny_files import TINY, TINY_VAES, make, random_state, to_comfyui, to_original

WAN, LTX, HUNYUAN = TINY["wan-2.1-t2v-1.3b"], TINY["ltx-2b-0.9.5"], TINY["hunyuan-video-t2v"]
LTX_2 = {**TINY["ltx-2-19b"], "caption_channels": 32}
LTX_23 = {
    **LTX_2,
    "cross_attention_dim": 48,
    "attention_head_dim": 24,
    "audio_attention_head_dim": 8,
    "audio_cross_attention_dim": 16,
}
HUNYUAN_I2V = {**HUNYUAN, "text_embed_dim": 32, "pooled_projection_dim": 24}
HUNYUAN_15 = {  # widths that tell what the encoders' files are stay as they are
    **TINY["hunyuan-video-1.5-i2v-480p-step-distilled"], "text_embed_dim": 32, "text_embed_2_dim": 1472,
    "image_embed_dim": 1152,
}  # fmt: skip
SEES = {"image_dim": 1280, "added_kv_proj_dim": 24}
COSMOS = {**TINY["cosmos-predict2.5-2b"], "crossattn_proj_in_channels": 64}
VAES = {
    **TINY_VAES,
    "ltx-2b-0.9.5": {"block_out_channels": [4, 8, 16, 16, 2048], "layers_per_block": [1, 1, 1, 1, 0],
                     "decoder_block_out_channels": [8, 16, 32]},
    "ltx-2-19b": {"block_out_channels": [4, 8, 16, 2048], "layers_per_block": [1, 1, 1, 1, 0],
                  "decoder_block_out_channels": [8, 16, 32], "decoder_layers_per_block": [1, 1, 1, 1]},
    "ltx-2.3-22b": {"block_out_channels": [4, 8, 16, 1024], "layers_per_block": [1, 1, 1, 1, 0],
                    "decoder_block_out_channels": [8, 16, 16, 32], "decoder_layers_per_block": [1, 1, 1, 1, 1]},
}  # fmt: skip
SCHEDULERS = {
    "cosmos": cosmos.DEFAULT_SCHEDULER,
    **dict.fromkeys(("gemma", "later_gemma"), ltx.DEFAULT_SCHEDULER),
}  # of pipelines that ship none
# what people download → (config and changes of the transformer, of the VAE, text encoder)
MADE = {
    "wan2.1_t2v_1.3B": ("wan-2.1-t2v-1.3b", WAN, "wan-2.1-vae", "umt5"),
    "wan2.1_i2v_480p_14B": ("wan-2.1-i2v-14b-480p", {**WAN, **SEES}, "wan-2.1-vae", "umt5"),
    "wan2.1_vace_1.3B": ("wan-2.1-vace-1.3b", TINY["wan-2.1-vace-1.3b"], "wan-2.1-vae", "umt5"),
    "wan2.2_t2v_high_noise_14B": ("wan-2.2-t2v-a14b", WAN, "wan-2.1-vae", "umt5"),
    "wan2.2_i2v_high_noise_14B": ("wan-2.2-i2v-a14b", WAN, "wan-2.1-vae", "umt5"),
    "wan2.2_fun_vace_high_noise_14B": ("wan-2.2-vace-fun-a14b", TINY["wan-2.1-vace-1.3b"], "wan-2.1-vae", "umt5"),
    "wan2.2_animate_14B": ("wan-2.2-animate-14b", TINY["wan-2.2-animate-14b"], "wan-2.1-vae", "umt5"),
    "wan2.2_ti2v_5B": ("wan-2.2-ti2v-5b", WAN, "wan-2.2-ti2v-5b", "umt5"),
    "SkyReels-V2-DF-1.3B": ("skyreels-v2-df-1.3b", WAN, "wan-2.1-vae", "umt5"),
    "ltx-video-2b-v0.9": ("ltx-2b-0.9.0", LTX, "ltx-2b-0.9.0", "t5"),
    "ltx-video-2b-v0.9.1": ("ltx-2b-0.9.1", LTX, "ltx-2b-0.9.1", "t5"),
    "ltx-video-2b-v0.9.5": ("ltx-2b-0.9.5", LTX, "ltx-2b-0.9.5", "t5"),
    "ltx-2-19b-dev": ("ltx-2-19b", LTX_2, "ltx-2-19b", "gemma"),
    "ltx-2.3-22b-dev": ("ltx-2.3-22b", LTX_23, "ltx-2.3-22b", "later_gemma"),
    "hunyuan_video_t2v_720p": ("hunyuan-video-t2v", HUNYUAN, "hunyuan-video-t2v", "llama"),
    "hunyuan_video_t2v_720p_of_comfyui": ("hunyuan-video-t2v", HUNYUAN, "hunyuan-video-t2v", "llama"),
    "hunyuan_video_i2v_720p": ("hunyuan-video-i2v", HUNYUAN_I2V, "hunyuan-video-t2v", "llava"),
    "hunyuan_video_i2v_v2_720p": ("hunyuan-video-i2v-v2", HUNYUAN_I2V, "hunyuan-video-t2v", "llava"),
    "hunyuan_video_t2v_720p_seeing": ("hunyuan-video-t2v", HUNYUAN_I2V, "hunyuan-video-t2v", "llava"),
    "framepack_i2v_hy_bf16": ("framepack-i2v", HUNYUAN, "hunyuan-video-t2v", "llama"),
    "framepack_f1_i2v_hy_20250503_bf16": ("framepack-f1-i2v", HUNYUAN, "hunyuan-video-t2v", "llama"),
    "hunyuanvideo1.5_480p_t2v": ("hunyuan-video-1.5-t2v-480p", HUNYUAN_15, "hunyuan-video-1.5-t2v-480p", "qwen"),
    "hunyuanvideo1.5_480p_i2v": ("hunyuan-video-1.5-i2v-480p", HUNYUAN_15, "hunyuan-video-1.5-t2v-480p", "qwen"),
    "Cosmos-Predict2.5-2B": ("cosmos-predict2.5-2b", COSMOS, "wan-2.1-vae", "cosmos"),
}
# of one layout with another
ALIKE = {
    "wan-2.2-t2v-a14b": "wan-2.1-t2v-14b", "wan-2.2-vace-fun-a14b": "wan-2.1-vace-14b", "ltx-2b-0.9.1": "ltx-2b-0.9.0",
    "hunyuan-video-1.5-i2v-480p": "hunyuan-video-1.5-t2v-480p", "hunyuan-video-i2v-v2": "hunyuan-video-i2v",
}  # fmt: skip


def random_module(name, part, changes, scale=0.2):
    module = make({**read_json(CONFIGS / name / part / "config.json"), **changes}, "cpu")
    module.load_state_dict({key: scale * value for key, value in random_state(module).items()})
    return module.eval()


class Files:
    """A user's model folder, which is filled with single files."""

    def __init__(self, base):
        self.models = base / "models"

    def put(self, shelf, name, state, config, words=None) -> str:
        """A file, the settings that make it tiny, and its tokenizer. Returns its name in a loader's menu."""
        path = self.models / shelf / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.clone().contiguous() for key, value in state.items()}, path)
        path.with_suffix(".json").write_text(json.dumps(config, default=str))
        if words:
            words.save_pretrained(path.with_suffix(""))
        return path.relative_to(self.models / shelf).as_posix()

    def reader(self, shelf, name, module, prefix="", words=None, unread=()) -> str:
        """A model of transformers' under its published keys; unread: others that the published file holds too."""
        state = {key: value for key, value in module.state_dict().items() if key != "encoder.embed_tokens.weight"}
        state = old.original(state, [(f"^(?!{prefix})", prefix)] if prefix else [])
        config = {**module.config.to_dict(), "architectures": [type(module).__name__]}
        return self.put(shelf, name, {**state, **{key: torch.zeros(8) for key in unread}}, config, words)

    def umt5(self):
        parts = {"text_encoder": umt5(16), "tokenizer": tokenizer(16)}
        return parts, self.reader("text_encoders", "umt5_xxl_fp16", parts["text_encoder"], words=parts["tokenizer"])

    def t5(self):
        """Its file comes with the tokenizer of T5 itself, LTX's folders with a shorter one."""
        encoder = t5(16)
        name = self.reader("text_encoders", "t5xxl_fp16", encoder, words=tokenizer(512))
        return {"text_encoder": encoder, "tokenizer": tokenizer(128)}, name

    def llama(self):
        sizes = {"num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 64, "pad_token_id": 0}
        llama = transformers.LlamaConfig(hidden_size=16, intermediate_size=32, **sizes)
        clip = transformers.CLIPTextConfig(hidden_size=8, intermediate_size=16, eos_token_id=1, **sizes)
        parts = {
            "text_encoder": lively(transformers.LlamaModel(llama)), "tokenizer": tokenizer(512),
            "text_encoder_2": lively(transformers.CLIPTextModel(clip)), "tokenizer_2": tokenizer(77, start="<s>"),
        }  # fmt: skip
        self.reader("text_encoders", "clip_l", parts["text_encoder_2"], "text_model.", parts["tokenizer_2"])
        name = self.reader("text_encoders", "llava_llama3_fp16", parts["text_encoder"], "model.", parts["tokenizer"])
        return parts, name

    def llava(self):
        """The Llama in one file, what it sees through in another."""
        parts = MODELS["HunyuanVideo-I2V"]().components
        config, size = parts["text_encoder"].config, {"height": 336, "width": 336}
        config.vision_config = transformers.CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=336,
            patch_size=14,
        )  # fmt: skip
        names = "tokenizer", "text_encoder_2", "tokenizer_2"
        parts = {
            "text_encoder": lively(transformers.LlavaForConditionalGeneration(config)), **{n: parts[n] for n in names},
            "image_processor": transformers.CLIPImageProcessor(size={"shortest_edge": 336}, crop_size=size),
        }  # fmt: skip
        inner = parts["text_encoder"].model
        sees = old.original(inner.vision_tower.state_dict(), [("^(?!vision_model)", "vision_model.")])
        sees |= old.original(inner.multi_modal_projector.state_dict(), [("^", "multi_modal_projector.")])
        about = {**inner.vision_tower.config.to_dict(), "architectures": ["CLIPVisionModel"]}
        self.put("clip_vision", "llava_llama3_vision", sees, about)
        self.reader("text_encoders", "clip_l", parts["text_encoder_2"], "text_model.", parts["tokenizer_2"])
        inner.language_model.config.image_token_index = config.image_token_index
        inner.language_model.config.pad_token_id = 0
        llama = inner.language_model
        return parts, self.reader("text_encoders", "llava_llama3_fp16", llama, "model.", parts["tokenizer"])

    def qwen(self):
        parts = MODELS["HunyuanVideo-1.5-T2V"]().components
        names = "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "guider"
        parts = {**{name: parts[name] for name in names}, "text_encoder_2": t5(1472, words=400)}
        self.reader("text_encoders", "byt5_small_glyphxl_fp16", parts["text_encoder_2"], words=parts["tokenizer_2"])
        more = ("visual.patch_embed.proj.weight", "lm_head.weight")
        encoder, words = parts["text_encoder"], parts["tokenizer"]
        return parts, self.reader("text_encoders", "qwen_2.5_vl_7b", encoder, "model.", words, more)

    def later_gemma(self):
        return self.gemma("LTX-2.3", "ltx-2.3-22b")

    def gemma(self, model="LTX-2", name="ltx-2-19b"):
        """What lies between it and the transformer comes in a file of its own or in the transformer's checkpoint."""
        parts = MODELS[model]().components
        names = "text_encoder", "tokenizer", "connectors", "vocoder"
        sound = diffusers.AutoencoderKLLTX2Audio(
            base_channels=8, ch_mult=(1,), num_res_blocks=1, latent_channels=8, mel_bins=64, resolution=32
        )
        parts = {**{name: parts[name] for name in names}, "audio_vae": sound}
        between = parts["connectors"]
        state = old.original(between.state_dict(), old.LTX_2_CONNECTORS)
        about = {**between.config, "_class_name": type(between).__name__}
        self.put("text_encoders", f"{name}-embeddings_connector", state, about)
        state = old.original(parts["text_encoder"].model.language_model.state_dict(), [("^", "model.")])
        state |= {"vision_model.post_layernorm.weight": torch.zeros(8)}
        about = {**parts["text_encoder"].config.to_dict(), "architectures": ["Gemma3ForConditionalGeneration"]}
        return parts, self.put("text_encoders", "gemma_3_12B_it", state, about, parts["tokenizer"])

    def cosmos(self):
        """Its text encoder is published as a folder only."""
        parts = MODELS["Cosmos2.5"]().components
        return {name: parts[name] for name in ("text_encoder", "tokenizer", "safety_checker")}, ""

    def clip_vision(self):
        config = transformers.CLIPVisionConfig(
            hidden_size=1280, intermediate_size=16, num_hidden_layers=2, num_attention_heads=16, patch_size=56
        )
        encoder = lively(transformers.CLIPVisionModel(config))
        self.reader("clip_vision", "clip_vision_h", encoder, "vision_model.", unread=["visual_projection.weight"])
        return {"image_encoder": encoder, "image_processor": transformers.CLIPImageProcessor()}

    def siglip(self):
        config = transformers.SiglipVisionConfig(
            hidden_size=1152, intermediate_size=16, num_hidden_layers=1, num_attention_heads=16, image_size=384,
            patch_size=14, vision_use_head=False,
        )  # fmt: skip
        encoder = lively(transformers.SiglipVisionModel(config))
        self.reader(
            "clip_vision", "sigclip_vision_patch14_384", encoder, "vision_model.", unread=["vision_model.head.probe"]
        )
        size = {"height": 384, "width": 384}
        return {"image_encoder": encoder, "feature_extractor": transformers.SiglipImageProcessor(size=size)}

    def both(self, name):
        """One model as single files and as a diffusers folder: (names of the files, name of the folder)."""
        config, changes, vae_config, reads = MADE[name]
        parts = {
            "transformer": random_module(config, "transformer", changes),
            "vae": random_module(vae_config, "vae", VAES[vae_config]),
        }
        told = read_json(CONFIGS / config / "model_index.json")
        if "boundary_ratio" in told:
            parts["transformer_2"] = random_module(config, "transformer", changes, 0.17)
            self.dit(name.replace("high", "low"), config, parts["transformer_2"])
        readers, text = getattr(self, reads)()
        parts |= readers
        if reads == "llava" and "t2v" in config:
            parts["text_encoder"] = parts.pop("text_encoder").model.language_model
            del parts["image_processor"]
        if "image_dim" in changes:
            parts |= self.clip_vision()
        if "framepack" in config or "1.5" in config and "i2v" in config:
            parts |= self.siglip()
        settings = CONFIGS / config / "scheduler" / "scheduler_config.json"
        settings = read_json(settings) if settings.is_file() else SCHEDULERS[reads]
        parts["scheduler"] = getattr(diffusers, settings["_class_name"]).from_config(settings)
        pipeline = getattr(diffusers, told.pop("_class_name"))(**parts, **told)
        if "safety_checker" in parts:
            pipeline.register_modules(safety_checker=None)
        folder = f"{name} folder"
        pipeline.save_pretrained(self.models / "diffusion_models" / folder)
        vae = to_original(parts["vae"].state_dict(), vae_config, "vae")
        files = (
            self.dit(name, config, parts["transformer"]),
            self.put("vae", vae_config, vae, dict(parts["vae"].config)),
        )
        return (*files, text or folder), folder

    def dit(self, name, config, module):
        if "comfyui" in name:
            return self.put("diffusion_models", name, to_comfyui(module.state_dict(), config), dict(module.config))
        state = module.state_dict()
        if "framepack" not in config:  # whose makers' names are diffusers'
            state = to_original(state, ALIKE.get(config, config), "transformer")
        return self.put("diffusion_models", name, state, dict(module.config))
