"""What is this file? Told from its header: component, family, variant, number format, size; and what belongs to it."""

import shutil
import time
import tracemalloc

import original_layout as old
import pytest
import torch
from headers import shapes, write_gguf, write_header
from spacetime_nodes.model_loaders.checkpoint import read_header, read_json
from spacetime_nodes.model_loaders.folders import POCKET_FOLDER
from spacetime_nodes.model_loaders.identify import Identity, components, fits, identify_file, identify_folder
from spacetime_nodes.model_loaders.single_file import CONFIGS

# class, what its published config says otherwise than the class, what it is
DIFFUSERS = [
    ("WanTransformer3DModel", {"num_attention_heads": 12}, "a Wan 2.1 T2V 1.3B transformer"),
    ("WanTransformer3DModel", {}, "a Wan 2.1 T2V 14B transformer, or one of 2.2's two experts"),
    ("WanTransformer3DModel", {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120},
     "a Wan 2.1 I2V 14B transformer"),
    ("WanTransformer3DModel",
     {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120, "pos_embed_seq_len": 514},
     "a Wan 2.1 FLF2V 14B transformer"),
    ("WanTransformer3DModel", {"in_channels": 36}, "a Wan 2.2 I2V A14B transformer, one of two experts"),
    ("WanTransformer3DModel", {"in_channels": 48, "out_channels": 48, "num_attention_heads": 24},
     "a Wan 2.2 TI2V 5B transformer"),
    ("WanVACETransformer3DModel", {"vace_layers": [0, 1]}, "a Wan VACE 14B transformer"),
    ("WanAnimateTransformer3DModel", {"added_kv_proj_dim": 5120}, "a Wan 2.2 Animate 14B transformer"),
    ("SkyReelsV2Transformer3DModel", {"num_attention_heads": 12, "inject_sample_info": True},
     "a Wan SkyReels-V2 DF 1.3B transformer"),
    ("LTXVideoTransformer3DModel", {"num_layers": 28}, "an LTX 2B transformer"),
    ("LTXVideoTransformer3DModel", {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096},
     "an LTX 0.9.7 to 0.9.8 13B transformer"),
    ("LTX2VideoTransformer3DModel", {}, "an LTX-2 19B transformer"),
    ("HunyuanVideoTransformer3DModel", {"num_single_layers": 1}, "a HunyuanVideo T2V transformer"),
    ("HunyuanVideoTransformer3DModel", {"num_single_layers": 1, "in_channels": 33, "guidance_embeds": False},
     "a HunyuanVideo I2V transformer"),
    ("HunyuanVideo15Transformer3DModel", {}, "a HunyuanVideo 1.5 T2V or I2V transformer"),
    ("CogVideoXTransformer3DModel", {}, "a CogVideoX 2B T2V transformer"),
    ("CogVideoXTransformer3DModel", {"num_attention_heads": 48, "use_rotary_positional_embeddings": True},
     "a CogVideoX 5B T2V transformer"),
    ("CogVideoXTransformer3DModel",
     {"num_attention_heads": 48, "in_channels": 32, "use_learned_positional_embeddings": True,
      "use_rotary_positional_embeddings": True}, "a CogVideoX 5B I2V transformer"),
    ("EasyAnimateTransformer3DModel", {"in_channels": 48, "out_channels": 16, "patch_size": 2},
     "an EasyAnimate 5.1 Control transformer"),
    ("CogVideoXTransformer3DModel", {"num_attention_heads": 48, "patch_size_t": 2, "patch_bias": False,
                                     "use_rotary_positional_embeddings": True}, "a CogVideoX 1.5 5B T2V transformer"),
    ("MochiTransformer3DModel", {}, "a Mochi transformer"),
    ("LatteTransformer3DModel",
     {"attention_head_dim": 72, "in_channels": 4, "out_channels": 8, "caption_channels": 4096, "patch_size": 2,
      "sample_size": 64, "norm_type": "ada_norm_single"}, "a Latte transformer"),
    ("AllegroTransformer3DModel", {}, "an Allegro transformer"),
    ("EasyAnimateTransformer3DModel", {"in_channels": 33, "out_channels": 16, "patch_size": 2},
     "an EasyAnimate 5.1 InP transformer"),
    ("SanaVideoTransformer3DModel", {}, "a Sana-Video 2B 480p transformer"),
    ("CosmosTransformer3DModel",
     {"in_channels": 17, "num_attention_heads": 16, "use_crossattn_projection": True, "extra_pos_embed_type": None},
     "a Cosmos 2.5 2B transformer"),
    ("CosmosTransformer3DModel",
     {"in_channels": 17, "num_attention_heads": 16, "use_crossattn_projection": True, "extra_pos_embed_type": None,
      "controlnet_block_every_n": 7, "img_context_dim_in": 1152}, "a Cosmos 2.5 Transfer 2B transformer"),
    ("CosmosControlNetModel", {}, "a Cosmos 2.5 Transfer ControlNet"),
    ("CosmosTransformer3DModel", {"in_channels": 17, "num_attention_heads": 16, "extra_pos_embed_type": None},
     "a Cosmos 2 V2W 2B transformer"),
    ("AutoencoderKLLTX2Video", {}, "an LTX 2.0 VAE"),
    ("AutoencoderKLLTX2Video", {"block_out_channels": [256, 512, 1024, 1024]}, "an LTX 2.3 VAE"),
    ("AutoencoderKLHunyuanVideo15", {}, "a HunyuanVideo 1.5 VAE"),
    ("AutoencoderKLCogVideoX", {"latent_channels": 16}, "a CogVideoX VAE"),
    ("AutoencoderKLMochi", {}, "a Mochi VAE"),
    ("AutoencoderKLAllegro", {}, "an Allegro VAE"),
    ("AutoencoderKLMagvit", {}, "an EasyAnimate VAE"),
    ("AutoencoderKLCosmos", {}, "a Cosmos 1 VAE"),
    ("AutoencoderDC", {}, "a DC-AE VAE"),
    ("AutoencoderKL", {}, "an image Stable Diffusion VAE"),
    ("FluxTransformer2DModel", {"num_single_layers": 1}, "a Flux transformer"),
]  # fmt: skip
FEW = {"num_layers": 2}
FEWER = {"vace_layers", "num_single_layers"}  # than published


@pytest.mark.parametrize(("name", "changes", "what"), DIFFUSERS, ids=[row[2] for row in DIFFUSERS])
def test_diffusers_own_models_are_told(name, changes, what, tmp_path):
    import diffusers

    with torch.device("meta"):
        model = getattr(diffusers, name)
        few = FEW if "Transformer" in name else {}
        state = model(**{**few, **changes}).state_dict()
    (found,) = identify_file(write_header(tmp_path / "model.safetensors", shapes(state)))
    assert (str(found), found.layout) == (what, "diffusers")
    assert found.parameters == sum(value.numel() for value in state.values()) and found.bytes == 2 * found.parameters
    if found.config:
        part = "transformer" if found.component == "transformer" else "vae"
        shipped = read_json(CONFIGS / found.config / part / "config.json")
        told = {key: value for key, value in changes.items() if key in shipped and key not in FEWER}
        assert {key: shipped[key] for key in told} == told


def keys(text):
    """'key 16x4x3 …' → key → shape, `.weight` added."""
    words = text.split()
    return {
        f"{key}.weight": tuple(map(int, size.split("x"))) for key, size in zip(words[::2], words[1::2], strict=True)
    }


T5_BLOCK = "encoder.block.0.layer.0.SelfAttention.q 4096x4096 "
UMT5_BLOCK = T5_BLOCK + "encoder.block.1.layer.0.SelfAttention.relative_attention_bias 32x64 "
LLAMA = "model.layers.0.self_attn.q_proj {0}x{0} model.embed_tokens {1}x{0} "
REFINER = "txt_in.individual_token_refiner.blocks.0.norm1 {0} "
WAN = "head.modulation 1 blocks.0.self_attn.norm_q {0} patch_embedding {0}x{1}x1x2x2 "
VACE = "vace_patch_embedding 5120x96x1x2x2"
OTHERS = {
    "umt5_xxl": (UMT5_BLOCK + "shared 256384x4096", "a UMT5 XXL text encoder"),
    "models_t5_umt5-xxl-enc-bf16": (
        "blocks.0.attn.q 4096x4096 blocks.1.pos_embedding.embedding 32x64 token_embedding 256384x4096",
        "a UMT5 XXL text encoder"),
    "t5xxl": (T5_BLOCK + "shared 32128x4096", "a T5 XXL text encoder"),
    "byt5": ("encoder.block.0.layer.0.SelfAttention.q 384x1472 shared 1510x1472",
             "a T5 ByT5 small (glyphs) text encoder"),
    "clip_l": ("text_model.encoder.layers.0.mlp.fc1 3072x768 text_model.embeddings.token_embedding 49408x768",
               "a CLIP L text encoder"),
    "clip_vision_h": ("vision_model.encoder.layers.0.mlp.fc1 5120x1280", "a CLIP H image encoder"),
    "llava_llama3": (LLAMA.format(4096, 128320), "a Llama 3 8B of LLaVA text encoder"),
    "qwen_2.5_vl_7b": (LLAMA.format(3584, 152064), "a Qwen2.5 VL 7B text encoder"),
    "gemma_3_12B": (LLAMA.format(3840, 262208) + "model.layers.0.self_attn.q_norm 256 "
                    "model.layers.0.pre_feedforward_layernorm 3840", "a Gemma 3 12B text encoder"),
    "gemma_2_2b": (LLAMA.format(2304, 256000) + "model.layers.0.pre_feedforward_layernorm 2304",
                   "a Gemma 2 2B text encoder"),
    "mochi": ("blocks.0.attn.qkv_x 9216x3072 t5_y_embedder.to_q 4096x4096", "a Mochi transformer"),
    "ltx-2": ("model.diffusion_model.patchify_proj 4096x128 model.diffusion_model.audio_patchify_proj 2048x128 "
              "model.diffusion_model.caption_projection.linear_1 4096x3840", "an LTX-2 19B transformer"),
    "ltx-2.3": ("model.diffusion_model.patchify_proj 4096x128 model.diffusion_model.audio_patchify_proj 2048x128",
                "an LTX-2 2.3 22B transformer"),
    "hunyuanvideo1.5_720p_t2v": (
        REFINER.format(2048) + "vision_in.proj.0 1152 img_in.proj 2048x65x1x1x1 cond_type_embedding 3x2048",
        "a HunyuanVideo 1.5 T2V 720p transformer"),
    "hunyuan_video_t2v_720p_bf16": (
        "model.model." + REFINER.format(3072) + "model.model.img_in.proj 3072x16x1x2x2 "
        "model.model.vector_in.in_layer 3072x768 model.model.guidance_in.in_layer 3072x256 "
        "model.model.double_blocks.0.img_attn.qkv 9216x3072", "a HunyuanVideo T2V transformer"),
    "hunyuanimage2.1_bf16": (
        REFINER.format(3584) + "img_in.proj 3584x64x1x1 double_blocks.0.img_attn.norm.key_norm.scale 128",
        "a HunyuanImage transformer"),
    "hunyuanimage": (REFINER.format(3584) + "img_in.proj 3584x64x1x1", "a HunyuanImage transformer"),
    "cosmos_predict2": ("net.x_embedder.proj.1 2048x72 net.blocks.0.self_attn.q_proj 2048x2048 "
                        "net.t_embedding_norm 2048", "a Cosmos 2 V2W 2B transformer"),
    "cosmos_predict2.5": ("net.x_embedder.proj.1 2048x72 net.blocks.0.self_attn.q_proj 2048x2048 "
                          "net.t_embedding_norm 2048 net.crossattn_proj.0 1024x100352", "a Cosmos 2.5 2B transformer"),
    "sana": ("blocks.0.mlp.t_conv 2240x2240x3x1 x_embedder.proj 2240x16x1x2x2", "a Sana-Video 2B 480p transformer"),
    "cogvideox_sat": ("model.diffusion_model.mixins.patch_embed.proj 1920x16x2x2 "
                      "model.diffusion_model.transformer.layers.0.attention.query_key_value 5760x1920",
                      "a CogVideoX 2B T2V transformer"),
    "hunyuan15_vae": ("decoder.mid_block.attentions.0.proj_out 1024x1024x1x1x1 decoder.conv_in.conv 1024x32x3x3x3",
                      "a HunyuanVideo 1.5 VAE"),
    "wan2.2_animate": ("head.head 64x5120 blocks.0.self_attn.norm_q 5120 patch_embedding 5120x36x1x2x2 "
                       "head.modulation 1 face_adapter.fuser_blocks.0.q_norm 128",
                       "a Wan 2.2 Animate 14B transformer"),
    "humo_17B_fp16": (
        WAN.format(5120, 36) + "audio_proj.audio_proj_glob_1.layer 512x51200", "a Wan HuMo transformer"),
    "wan2.1_fun_control_1.3B_bf16": (
        WAN.format(1536, 48) + "img_emb.proj.1 1280x1280 head.head 64x1536", "a Wan Fun control transformer"),
    "wan2.2_fun_control_high_noise_14B": (
        WAN.format(5120, 52) + "ref_conv 5120x16x2x2", "a Wan Fun control transformer"),
    "wan2.1_fun_inp_1.3B_bf16": (
        WAN.format(1536, 36) + "img_emb.proj.1 1280x1280", "a Wan 2.1 Fun InP 1.3B transformer"),
    "SkyReels-V2-I2V-1.3B-540P": (
        WAN.format(1536, 36) + "img_emb.proj.1 1280x1280", "a Wan SkyReels-V2 I2V 1.3B transformer"),
    "hunyuanvideo1.5_720p_sr_distilled_fp16": (
        REFINER.format(2048) + "vision_in.proj.0 1152 img_in.proj 2048x98x1x1x1",
        "a HunyuanVideo 1.5 super-resolution transformer"),
    "wan2.2_fun_vace_high_noise_14B_bf16": (
        WAN.format(5120, 16) + VACE, "a Wan 2.2 VACE Fun A14B transformer, the high-noise expert"),
    "Wan2.2-VACE-Fun-A14B_low_noise_model": (
        WAN.format(5120, 16) + VACE, "a Wan 2.2 VACE Fun A14B transformer, the low-noise expert"),
    "wan2.2_vace_merged": (
        WAN.format(5120, 16) + VACE, "a Wan 2.2 VACE Fun A14B transformer, one of two experts"),
    "wan2.1_vace_14B_high_quality": (WAN.format(5120, 16) + VACE, "a Wan VACE 14B transformer"),
    "Wan2_2_Fun_VACE_module_A14B_HIGH_bf16": (f"{VACE} vace_blocks.0.before_proj 5120x5120", "a Wan VACE module"),
    "wan_lora": ("diffusion_model.blocks.0.self_attn.q.lora_down 16x5120", "a Wan 14B LoRA"),
    "hunyuan_lora": ("transformer.double_blocks.0.img_attn_qkv.lora_A 16x3072", "a HunyuanVideo LoRA"),
    "noise": ("a 1", "a file of unknown kind (its first tensor is 'a.weight')"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_the_makers_and_of_comfyui_are_told(name, tmp_path):
    text, what = OTHERS[name]
    tensors = keys(text)
    tensors = {key.replace(".scale.weight", ".scale"): shape for key, shape in tensors.items()}
    if name == "qwen_2.5_vl_7b":
        tensors["model.layers.0.self_attn.q_proj.bias"] = (3584,)
    (found,) = identify_file(write_header(tmp_path / f"{name}.safetensors", tensors))
    assert str(found) == what


WAN_14B = "head.modulation 2 blocks.0.self_attn.norm_q 5120 patch_embedding 5120x{}x1x2x2"
NAMES = {
    ("wan2.2_t2v_high_noise_14B_fp16", 16): "a Wan 2.2 T2V A14B transformer, the high-noise expert",
    ("Wan2_2-T2V-A14B_LOW_fp8", 16): "a Wan 2.2 T2V A14B transformer, the low-noise expert",
    ("wan2.1_t2v_14B_fp16", 16): "a Wan 2.1 T2V 14B transformer",
    ("Wan2.1_T2V_14B_high_quality", 16): "a Wan 2.1 T2V 14B transformer",
    ("t2v_14B_high_quality", 16): "a Wan 2.1 T2V 14B transformer, or one of 2.2's two experts",
    ("t2v_14B_low_vram", 16): "a Wan 2.1 T2V 14B transformer, or one of 2.2's two experts",
    ("mine_T2V_HIGH_v3", 16): "a Wan 2.2 T2V A14B transformer, the high-noise expert",
    ("my_favourite", 16): "a Wan 2.1 T2V 14B transformer, or one of 2.2's two experts",
    ("wan2.2_i2v_low_noise_14B_fp8_scaled", 36): "a Wan 2.2 I2V A14B transformer, the low-noise expert",
    ("my_favourite_i2v", 36): "a Wan 2.2 I2V A14B transformer, one of two experts",
}


@pytest.mark.parametrize(("name", "channels"), NAMES)
def test_what_only_the_name_tells_is_taken_from_the_name(name, channels, tmp_path):
    (found,) = identify_file(write_header(tmp_path / f"{name}.safetensors", keys(WAN_14B.format(channels))))
    assert str(found) == NAMES[name, channels]


def published(name, part):
    import diffusers

    config = read_json(CONFIGS / name / part / "config.json")
    with torch.device("meta"):
        return getattr(diffusers, config["_class_name"]).from_config(config).state_dict()


def test_a_checkpoint_of_transformer_and_vae_is_both_and_one_tells_the_others_version(tmp_path):
    vae = old.original(published("ltx-2b-0.9.1", "vae"), old.LTX_VAES["0.9.1"], "vae.")
    dit = old.original(published("ltx-2b-0.9.1", "transformer"), old.LTX, "model.diffusion_model.")
    found = identify_file(write_header(tmp_path / "both.safetensors", shapes({**vae, **dit})))
    assert [str(one) for one in found] == ["an LTX 0.9.1 2B transformer", "an LTX 0.9.1 VAE"]
    assert [one.parameters for one in found] == [sum(v.numel() for v in one.values()) for one in (dit, vae)]


def test_number_formats_are_told(tmp_path):
    tensors = keys(WAN_14B.format(16))
    plain = identify_file(write_header(tmp_path / "a.safetensors", tensors, "F8_E4M3"))[0]
    factors = [("scaled_fp8", "F8_E4M3", (2,)), ("blocks.0.self_attn.norm_q.scale_weight", "F32", ())]
    scaled = identify_file(write_header(tmp_path / "b.safetensors", tensors, "F8_E4M3", factors))[0]
    assert (plain.dtype, scaled.dtype, scaled.parameters) == ("fp8 e4m3", "fp8 e4m3 scaled", plain.parameters)
    (folded,) = identify_file(write_gguf(tmp_path / "wan2.1-Q4_K.gguf", tensors))
    assert (str(folded), folded.dtype) == ("a Wan 2.1 T2V 14B transformer", "Q4_K")
    assert folded.bytes < plain.bytes


def test_folders_and_shards_are_told(tmp_path):
    import json

    parts = {"transformer": "a Wan pocket transformer", "vae": "a Wan pocket VAE"}
    assert {part: str(identify_folder(POCKET_FOLDER / part)) for part in parts} == parts
    tensors = sorted(keys(WAN_14B.format(16)).items())
    for i, one in enumerate(tensors):
        write_header(tmp_path / f"{i}.safetensors", dict([one]))
    weight_map = {key: f"{i}.safetensors" for i, (key, _) in enumerate(tensors)}
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert identify_folder(tmp_path).name == "Wan 2.1 T2V 14B"


def test_thirty_gigabytes_are_told_in_no_time_and_no_memory(tmp_path):
    state = old.original(published("wan-2.1-t2v-14b", "transformer"), old.WAN)
    path = write_header(tmp_path / "wan2.1_t2v_14B.safetensors", shapes(state))
    assert path.stat().st_size > 28e9
    seconds = []
    for _ in range(5):
        start = time.process_time()  # of this process alone, whatever else runs
        (found,) = components(read_header(path), path.name)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05 and str(found) == "a Wan 2.1 T2V 14B transformer"
    tracemalloc.start()
    components(read_header(path), path.name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_what_fits_together():
    files = {
        name: components({key: SHAPED(shape) for key, shape in keys(text).items()})[0]
        for name, (text, _) in OTHERS.items()
    }
    wan = components({key: SHAPED(shape) for key, shape in keys(WAN_14B.format(16)).items()})[0]
    fitting = [name for name, other in files.items() if fits(wan, other)]
    assert fitting == ["umt5_xxl", "models_t5_umt5-xxl-enc-bf16", "wan_lora"]
    reads_t5 = {name for name, other in files.items() if fits(other, files["t5xxl"])}
    assert reads_t5 == {"mochi", "cogvideox_sat", "cosmos_predict2"}
    decoded = {name for name, other in files.items() if fits(other, files["hunyuan15_vae"])}
    assert decoded == {"hunyuanvideo1.5_720p_t2v", "hunyuanvideo1.5_720p_sr_distilled_fp16"}
    assert not fits(files["t5xxl"], files["clip_l"]) and not fits(wan, wan)


@pytest.mark.parametrize(("version", "reads"), [("Qwen2", "EasyAnimate"), ("Qwen2_5_", "HunyuanVideo 1.5")])
def test_of_two_qwens_that_read_alike_each_is_wired_to_its_own_model(version, reads, tmp_path):
    """Their language models have the same keys and shapes; what they see through hasn't."""
    import diffusers
    import transformers

    config = getattr(transformers, f"{version}VLConfig")()
    text = config.text_config
    text.hidden_size, text.num_hidden_layers, text.vocab_size, config.vision_config.depth = 3584, 1, 152064, 1
    with torch.device("meta"):
        encoder = getattr(transformers, f"{version}VLForConditionalGeneration")(config)
        models = {
            "EasyAnimate": diffusers.EasyAnimateTransformer3DModel(
                in_channels=33, out_channels=16, patch_size=2, num_layers=1
            ),
            "HunyuanVideo 1.5": diffusers.HunyuanVideo15Transformer3DModel(num_layers=1),
        }
    (text,) = identify_file(write_header(tmp_path / "text.safetensors", shapes(encoder.state_dict())))
    dits = {
        name: identify_file(write_header(tmp_path / f"{name}.safetensors", shapes(dit.state_dict())))[0]
        for name, dit in models.items()
    }
    assert [name for name, dit in dits.items() if fits(dit, text)] == [reads]


def SHAPED(shape):  # noqa: N802
    from spacetime_nodes.model_loaders.checkpoint import TensorInfo

    return TensorInfo("BF16", shape)


def test_a_file_that_changes_is_looked_at_again(tmp_path):
    path = write_header(tmp_path / "a.safetensors", keys(OTHERS["t5xxl"][0]))
    assert identify_file(path)[0].name == "T5 XXL"
    shutil.copy(write_header(tmp_path / "b.safetensors", keys(OTHERS["clip_l"][0])), path)
    assert identify_file(path)[0].name == "CLIP L"


@pytest.mark.parametrize(
    "dit, lora, right",
    [
        (("LTX", "0.9.7 13B"), ("LTX 13B or LTX-2", ""), True),
        (("LTX-2", "19B"), ("LTX 13B or LTX-2", ""), True),
        (("LTX", "0.9.5 2B"), ("LTX 13B or LTX-2", ""), False),
        (("Wan", "2.1 T2V 14B"), ("Wan", "14B"), True),
        (("Wan", "2.1 T2V 1.3B"), ("Wan", "14B"), False),
        (("HunyuanVideo", "T2V"), ("HunyuanVideo", ""), True),
        (("HunyuanVideo", "T2V"), ("HunyuanVideo 1.5", ""), False),
        (("Wan", "2.1 T2V 14B"), ("", ""), False),
    ],
)
def test_a_lora_is_wired_to_each_model_that_it_may_be_for(dit, lora, right):
    assert fits(Identity("transformer", *dit), Identity("LoRA", *lora)) is right
