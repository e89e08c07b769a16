"""Which class name in a config belongs to which file in families/. A new family is one file there and one line here.

A transformer's family file offers `facts(config, folder) -> DiTFacts` (no torch) and `Adapter(transformer, facts,
beside)`, a `spacetime.model.Denoiser`; `beside(name)` loads a neighbour. A VAE's offers `facts(config, folder) ->
VAEFacts`, `decode_chunks(vae, latent)` and `encode_chunks(vae, clips)`; a text encoder's `facts(config, folder) ->
TextFacts`, `encode(encoder, text, negative)`, `clean(text)` and `most_tokens(encoder)`; an upsampler's `facts(config,
folder) -> UpsamplerFacts`, `upsample(module, vae, latent, adain, compression)` and `config_of(path)` for single files.
"""

from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

from .checkpoint import CheckpointError
from .fingerprints import DIT, LOADERS, TEXT, UPSAMPLER, VAE

# class in config.json -> (module that defines the class, file in families/)
TRANSFORMERS = {
    "AllegroTransformer3DModel": ("diffusers.models.transformers.transformer_allegro", "allegro"),
    "CogVideoXTransformer3DModel": ("diffusers.models.transformers.cogvideox_transformer_3d", "cogvideox"),
    "CosmosControlNetModel": ("diffusers.models.controlnets.controlnet_cosmos", "cosmos_transfer"),
    "CosmosTransformer3DModel": ("diffusers.models.transformers.transformer_cosmos", "cosmos"),
    "EasyAnimateTransformer3DModel": ("diffusers.models.transformers.transformer_easyanimate", "easyanimate"),
    "HunyuanVideo15Transformer3DModel": (
        "diffusers.models.transformers.transformer_hunyuan_video15",
        "hunyuan_video15",
    ),
    "HunyuanVideoFramepackTransformer3DModel": (
        "diffusers.models.transformers.transformer_hunyuan_video_framepack",
        "framepack",
    ),
    "HunyuanVideoTransformer3DModel": ("diffusers.models.transformers.transformer_hunyuan_video", "hunyuan_video"),
    "HunyuanVideoTransformer3DModelPacked": (
        "diffusers.models.transformers.transformer_hunyuan_video_framepack",
        "framepack",
    ),
    "LatteTransformer3DModel": ("diffusers.models.transformers.latte_transformer_3d", "latte"),
    "LTX2VideoTransformer3DModel": ("diffusers.models.transformers.transformer_ltx2", "ltx2"),
    "LTXVideoTransformer3DModel": ("diffusers.models.transformers.transformer_ltx", "ltx"),
    "MochiTransformer3DModel": ("diffusers.models.transformers.transformer_mochi", "mochi"),
    "SanaVideoTransformer3DModel": ("diffusers.models.transformers.transformer_sana_video", "sana_video"),
    "SkyReelsV2Transformer3DModel": ("diffusers.models.transformers.transformer_skyreels_v2", "skyreels_v2"),
    "WanAnimateTransformer3DModel": ("diffusers.models.transformers.transformer_wan_animate", "wan_animate"),
    "WanTransformer3DModel": ("diffusers.models.transformers.transformer_wan", "wan"),
    "WanVACETransformer3DModel": ("diffusers.models.transformers.transformer_wan_vace", "wan_vace"),
}
VAES = {
    "AutoencoderKL": ("diffusers.models.autoencoders.autoencoder_kl", "image_vae"),
    "AutoencoderKLAllegro": ("diffusers.models.autoencoders.autoencoder_kl_allegro", "allegro_vae"),
    "AutoencoderKLCogVideoX": ("diffusers.models.autoencoders.autoencoder_kl_cogvideox", "cogvideox_vae"),
    "AutoencoderKLHunyuanVideo15": (
        "diffusers.models.autoencoders.autoencoder_kl_hunyuanvideo15",
        "hunyuan_video15_vae",
    ),
    "AutoencoderKLHunyuanVideo": ("diffusers.models.autoencoders.autoencoder_kl_hunyuan_video", "hunyuan_video_vae"),
    "AutoencoderKLLTX2Video": ("diffusers.models.autoencoders.autoencoder_kl_ltx2", "ltx2_vae"),
    "AutoencoderKLLTXVideo": ("diffusers.models.autoencoders.autoencoder_kl_ltx", "ltx_vae"),
    "AutoencoderKLMagvit": ("diffusers.models.autoencoders.autoencoder_kl_magvit", "easyanimate_vae"),
    "AutoencoderKLMochi": ("diffusers.models.autoencoders.autoencoder_kl_mochi", "mochi_vae"),
    "AutoencoderKLTemporalDecoder": (
        "diffusers.models.autoencoders.autoencoder_kl_temporal_decoder",
        "image_vae",
    ),
    "AutoencoderKLWan": ("diffusers.models.autoencoders.autoencoder_kl_wan", "wan_vae"),
}
TEXT_ENCODERS = {
    "Gemma2Model": ("transformers", "gemma2"),
    "Gemma3ForConditionalGeneration": ("transformers", "gemma3"),
    "LlamaModel": ("transformers", "llama"),
    "LlavaForConditionalGeneration": ("transformers", "llava"),
    "Qwen2VLForConditionalGeneration": ("transformers", "easyanimate_qwen"),
    "Qwen2_5_VLTextModel": ("transformers", "hunyuan_qwen"),
    "Qwen2_5_VLForConditionalGeneration": ("transformers", "cosmos_reason"),
    "T5EncoderModel": ("transformers", "t5"),
    "UMT5EncoderModel": ("transformers", "umt5"),
}
UPSAMPLERS = {
    "LTX2LatentUpsamplerModel": ("diffusers.pipelines.ltx2.latent_upsampler", "ltx_upsampler"),
    "LTXLatentUpsamplerModel": ("diffusers.pipelines.ltx.modeling_latent_upsampler", "ltx_upsampler"),
}

# (class, a key of its config that only another model of the class has a value for) -> that model's file in families/
OF_ONE_CLASS = {("CosmosTransformer3DModel", "controlnet_block_every_n"): "cosmos_transfer"}

# pipeline -> tokens to which it pads what T5 reads, whether T5 is told what is padding, whether in small letters,
# whether an empty prompt is no token at all (its model_index.json may say otherwise)
T5_READS = {
    "AllegroPipeline": (512, True, True, False),
    "CogVideoXFunControlPipeline": (226, False, False, False),
    "CogVideoXImageToVideoPipeline": (226, False, False, False),
    "CogVideoXPipeline": (226, False, False, False),
    "CogVideoXVideoToVideoPipeline": (226, False, False, False),
    "LTXConditionPipeline": (256, True, False, False),
    "LTXImageToVideoPipeline": (128, False, False, False),
    "LTXPipeline": (128, False, False, False),
    "LattePipeline": (120, True, True, False),
    "MochiPipeline": (256, True, False, True),
}

# a transformer whose folder stands alone -> the pipeline as which its prompts are read
ALONE = {
    "AllegroTransformer3DModel": "AllegroPipeline",
    "CogVideoXTransformer3DModel": "CogVideoXPipeline",
    "HunyuanVideoFramepackTransformer3DModel": "HunyuanVideoFramepackPipeline",
    "HunyuanVideoTransformer3DModel": "HunyuanVideoPipeline",
    "HunyuanVideoTransformer3DModelPacked": "HunyuanVideoFramepackPipeline",
    "LatteTransformer3DModel": "LattePipeline",
    "LTXVideoTransformer3DModel": "LTXPipeline",
    "MochiTransformer3DModel": "MochiPipeline",
}

# neighbours in a pipeline folder that a family asks for by itself
ENCODERS = {
    "AutoencoderKLLTX2Audio": ("diffusers.models.autoencoders.autoencoder_kl_ltx2_audio",),
    "LTX2TextConnectors": ("diffusers.pipelines.ltx2.connectors",),
    "LTX2Vocoder": ("diffusers.pipelines.ltx2.vocoder",),
    "LTX2VocoderWithBWE": ("diffusers.pipelines.ltx2.vocoder",),
    "CLIPVisionModel": ("transformers",),
    "CLIPVisionModelWithProjection": ("transformers",),
    "CLIPTextModel": ("transformers",),
    "SiglipVisionModel": ("transformers",),
}

PICTURE_PROCESSORS = ("CLIPImageProcessor", "SiglipImageProcessor")

# what of a model that also sees and writes is built: without the head that writes, and, "Text", without what sees; and
# what diffusers calls a class that its makers name otherwise
BODIES = {
    "HunyuanVideoTransformer3DModelPacked": "HunyuanVideoFramepackTransformer3DModel",
    "Gemma3ForConditionalGeneration": "Gemma3TextModel",
    "LlavaForConditionalGeneration": "LlavaModel",
    "Qwen2VLForConditionalGeneration": "Qwen2VLModel",
    "Qwen2_5_VLForConditionalGeneration": "Qwen2_5_VLTextModel",
}

SHELVES = {DIT: TRANSFORMERS, VAE: VAES, TEXT: TEXT_ENCODERS, UPSAMPLER: UPSAMPLERS}


def family(shelf: str, class_name: str, folder, config: dict) -> ModuleType:
    known = SHELVES[shelf]
    if class_name in known:
        told = (file for (name, key), file in OF_ONE_CLASS.items() if name == class_name and config.get(key))
        return import_module(f".families.{next(told, known[class_name][1])}", __package__)
    for other, names in SHELVES.items():
        if class_name in names:
            raise CheckpointError(f"{folder} is a {other} ({class_name}), not a {shelf}; use {LOADERS[other]}")
    near = ", ".join(get_close_matches(class_name, known, 3, 0))
    raise CheckpointError(
        f"{folder} is of class {class_name!r}; of the {len(known)} {shelf}s that this version knows the nearest by "
        f"name are {near}"
    )


def maker(class_name: str, config: dict):
    """A function that builds the empty module a config describes: diffusers' or transformers'."""
    known = {name: place for names in (*SHELVES.values(), ENCODERS) for name, (place, *_) in names.items()}
    if class_name not in known:
        raise CheckpointError(f"this version doesn't know the class {class_name!r}")
    model = getattr(import_module(known[class_name]), BODIES.get(class_name, class_name))
    if hasattr(model, "from_config") and hasattr(model, "load_config"):
        return lambda: model.from_config(config)
    if model.__name__.endswith("TextModel"):
        config = config.get("text_config", config)
    return lambda: model(model.config_class.from_dict(config))
