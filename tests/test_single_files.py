"""Single files in their makers' layout load as the diffusers folders of the same model do: bit for bit, no hub."""

import json

import original_layout as old
import pytest
import torch
from headers import shapes, write_header
from safetensors.torch import save_file
from spacetime_nodes.model_loaders import fingerprints, weights
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, read_json
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.model_loaders.reading import read
from spacetime_nodes.model_loaders.single_file import CONFIGS, locate, pieces
from tiny_files import LAYOUTS, TINY, TINY_VAES, make, random_state, to_comfyui, to_original

PARTS = {"transformer": fingerprints.DIT, "vae": fingerprints.VAE, "text_encoder": fingerprints.TEXT}
ORACLES = {
    "WanAnimateTransformer3DModel": "convert_wan_transformer_to_diffusers",
    "WanTransformer3DModel": "convert_wan_transformer_to_diffusers",
    "WanVACETransformer3DModel": "convert_wan_transformer_to_diffusers",
    "SkyReelsV2Transformer3DModel": "convert_wan_transformer_to_diffusers",
    "CosmosTransformer3DModel": "convert_cosmos_transformer_checkpoint_to_diffusers",
    "LTX2VideoTransformer3DModel": "convert_ltx2_transformer_to_diffusers",
    "AutoencoderKLLTX2Video": "convert_ltx2_vae_to_diffusers",
    "LTXVideoTransformer3DModel": "convert_ltx_transformer_checkpoint_to_diffusers",
    "HunyuanVideoTransformer3DModel": "convert_hunyuan_video_transformer_to_diffusers",
    "AutoencoderKLLTXVideo": "convert_ltx_vae_checkpoint_to_diffusers",
    "AutoencoderKLWan": "convert_wan_vae_to_diffusers",
}
NAMED = [  # diffusers' loaders know LTX-2 2.0 alone, its script convert_ltx2_to_diffusers 2.3 too
    (name, part)
    for name, part in LAYOUTS
    if not any(word in name for word in ("1.5", "2.3")) and ("hunyuan" not in name or part != "vae")
]
UNCONVERTED = {"pos_embed", "fps_projection"}  # diffusers' conversion forgets these: FLF2V and SkyReels-DF fail there


@pytest.mark.parametrize(("name", "part"), LAYOUTS)
def test_every_tensor_of_the_published_size_finds_its_place(name, part, tmp_path):
    """Real widths, and as many layers as published; no weights. The file is told by its header, its config is ours."""
    module = make(read_json(CONFIGS / name / part / "config.json"))
    state = module.state_dict()
    path = tmp_path / "model.safetensors"
    write_header(path, shapes(to_original(state, name, part)))
    source = locate(path, PARTS[part])
    assert source.identity.layout == "original"
    assert source.config == read_json(CONFIGS / name / part / "config.json")
    said = []
    fitting = weights._fitting(module, pieces(source), source, said.append)
    assert {key: piece.shape for key, piece in fitting.items()} == shapes(state)
    assert said == []


@pytest.mark.parametrize(("name", "part"), NAMED)
def test_the_names_are_those_that_diffusers_itself_converts(name, part):
    import diffusers.loaders.single_file_utils as utils

    config = read_json(CONFIGS / name / part / "config.json")
    if config.get("is_residual"):
        pytest.skip("diffusers' conversion knows the Wan 2.1 VAE only")
    state = make(config).state_dict()
    prefix = "vae." if config["_class_name"] == "AutoencoderKLLTXVideo" else ""
    theirs = getattr(utils, ORACLES[config["_class_name"]])(to_original(state, name, part, prefix))
    if prefix:  # these statistics diffusers' own conversion drops, for want of a mean-of-stds
        state = {key: value for key, value in state.items() if not key.startswith("latents_mean")}
        theirs.pop("latents_mean", None)
    known = {key: value for key, value in state.items() if not UNCONVERTED & set(key.split("."))}
    assert shapes({key: theirs[key] for key in known}) == shapes(known)


def test_the_names_of_hunyuan_video_15_are_those_of_diffusers_script(tmp_path):
    """Its package converts no file of 1.5; the script of its repository does, and says these among others."""
    pairs = {
        "time_in.mlp.2.bias": "time_embed.timestep_embedder.linear_2.bias",
        "txt_in.t_embedder.mlp.0.weight": "context_embedder.time_text_embed.timestep_embedder.linear_1.weight",
        "txt_in.c_embedder.linear_1.bias": "context_embedder.time_text_embed.text_embedder.linear_1.bias",
        "txt_in.individual_token_refiner.blocks.1.norm2.weight":
            "context_embedder.token_refiner.refiner_blocks.1.norm2.weight",
        "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias":
            "context_embedder.token_refiner.refiner_blocks.0.norm_out.linear.bias",
        "byt5_in.fc3.weight": "context_embedder_2.linear_3.weight",
        "vision_in.proj.4.bias": "image_embedder.norm_out.bias",
        "double_blocks.7.img_attn_q.weight": "transformer_blocks.7.attn.to_q.weight",
        "double_blocks.7.txt_attn_v.bias": "transformer_blocks.7.attn.add_v_proj.bias",
        "double_blocks.7.txt_attn_k_norm.weight": "transformer_blocks.7.attn.norm_added_k.weight",
        "double_blocks.7.txt_mlp.fc2.bias": "transformer_blocks.7.ff_context.net.2.bias",
        "final_layer.linear.weight": "proj_out.weight",
    }  # fmt: skip
    marks = ("vision_in.proj.0.weight", "txt_in.individual_token_refiner.blocks.0.norm1.weight")
    header = {**dict.fromkeys(pairs, (2, 2)), **dict.fromkeys(marks, (2,)), "img_in.proj.weight": (2, 65, 1, 1, 1)}
    path = write_header(tmp_path / "a.safetensors", header)
    assert set(pairs.values()) < pieces(locate(path, fingerprints.DIT)).keys()


@pytest.mark.parametrize(
    ("file", "name", "variant"),
    [
        ("FramePackI2V_HY_bf16", "framepack-i2v", "FramePack I2V"),
        ("FramePackI2V_HY_fp8_e4m3fn", "framepack-i2v", "FramePack I2V"),
        ("FramePack_F1_I2V_HY_20250503_fp8_e4m3fn", "framepack-f1-i2v", "FramePack F1 I2V"),
    ],
)
def test_FramePacks_files_keep_diffusers_names_and_are_told_apart_by_their_own(file, name, variant, tmp_path):
    """As Kijai publishes them: of both kinds every tensor is alike."""
    config = read_json(CONFIGS / name / "transformer" / "config.json")
    state = make(config).state_dict()
    source = locate(write_header(tmp_path / f"{file}.safetensors", shapes(state)), fingerprints.DIT)
    assert (source.identity.variant, source.identity.layout, source.config) == (variant, "diffusers", config)
    assert {key: piece.shape for key, piece in pieces(source).items()} == shapes(state)


COMFYUIS = {  # as they are called in its repackaged repository → the config that ships
    "hunyuan_video_t2v_720p_bf16": "hunyuan-video-t2v",
    "hunyuan_video_image_to_video_720p_bf16": "hunyuan-video-i2v",
    "hunyuan_video_v2_replace_image_to_video_720p_bf16": "hunyuan-video-i2v-v2",
    "hunyuanvideo1.5_720p_t2v_fp16": "hunyuan-video-1.5-t2v-720p",
    "hunyuanvideo1.5_480p_i2v_step_distilled": "hunyuan-video-1.5-i2v-480p-step-distilled",
}


@pytest.mark.parametrize("file", COMFYUIS)
def test_hunyuans_files_as_comfyui_saves_them_are_its_diffusers_folder(file, tmp_path):
    """Its own names behind `model.model.`: the published size by the header, a tiny one by its values."""
    name = COMFYUIS[file]
    config = read_json(CONFIGS / name / "transformer" / "config.json")
    module = make(config)
    path = write_header(tmp_path / f"{file}.safetensors", shapes(to_comfyui(module.state_dict(), name)))
    source = locate(path, fingerprints.DIT)
    assert (source.identity.layout, source.config) == ("ComfyUI", config)
    fitting = weights._fitting(module, pieces(source), source)
    assert {key: piece.shape for key, piece in fitting.items()} == shapes(module.state_dict())
    few = "hunyuan-video-1.5-i2v-480p-step-distilled" if "1.5" in name else "hunyuan-video-t2v"
    config |= TINY[few]
    state = random_state(make(config, "cpu"))
    save_file({key: value.contiguous() for key, value in to_comfyui(state, name).items()}, path)
    path.with_suffix(".json").write_text(json.dumps(config))
    source = locate(path, fingerprints.DIT)
    loaded = weights.build(lambda: make(config, "cpu"), source, torch.float32, torch.device("cpu")).state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)


SMALL = [
    *((name, "transformer", changes) for name, changes in TINY.items()),
    *((name, "vae", changes) for name, changes in TINY_VAES.items()),
]


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize(("name", "part", "changes"), SMALL)
def test_the_values_of_a_tiny_model_arrive_where_they_belong(name, part, changes, prefix, tmp_path):
    config = {**read_json(CONFIGS / name / part / "config.json"), **changes}
    module = make(config, "cpu")
    state = random_state(module)
    prefix = {"": "", "vae": "vae."}.get(part if prefix else "", prefix)
    path = tmp_path / "tiny.safetensors"
    save_file(to_original(state, name, part, prefix), path)
    (tmp_path / "tiny.json").write_text(json.dumps(config))  # of no published size: it brings its settings
    source = locate(path, PARTS[part])
    assert source.config == config
    built = weights.build(lambda: make(config, "cpu"), source, torch.float32, torch.device("cpu"))
    loaded = built.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_convolution_of_one_pixel_is_a_matrix(tmp_path):
    """ComfyUI's HunyuanVideo VAE keeps its attention's weights with three dimensions of length 1 more."""
    config = {**read_json(CONFIGS / "hunyuan-video-t2v" / "vae" / "config.json"), **TINY_VAES["hunyuan-video-t2v"]}
    state = random_state(make(config, "cpu"))
    swollen = {
        key: value[..., None, None, None] if "attentions" in key and value.ndim == 2 else value
        for key, value in state.items()
    }
    save_file(
        {key: value.contiguous() for key, value in to_original(swollen, "hunyuan-video-t2v", "vae").items()},
        tmp_path / "vae.safetensors",
    )
    (tmp_path / "vae.json").write_text(json.dumps(config))
    source = locate(tmp_path / "vae.safetensors", fingerprints.VAE)
    loaded = weights.build(lambda: make(config, "cpu"), source, torch.float32, torch.device("cpu")).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_the_folder_of_wans_own_repository_is_taken_too(tmp_path):
    state = make(read_json(CONFIGS / "wan-2.1-t2v-1.3b" / "transformer" / "config.json")).state_dict()
    tensors = sorted(shapes(to_original(state, "wan-2.1-t2v-1.3b", "transformer")).items())
    folder = tmp_path / "Wan2.1-T2V-1.3B"
    folder.mkdir()
    (folder / "config.json").write_text('{"_class_name": "WanModel", "model_type": "t2v"}')
    weight_map = {}
    for i, part in enumerate((tensors[::2], tensors[1::2])):
        write_header(folder / f"{i}.safetensors", dict(part))
        weight_map |= {key: f"{i}.safetensors" for key, _ in part}
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    source = locate(folder, fingerprints.DIT)
    assert (source.identity.name, source.config["_class_name"]) == ("Wan 2.1 T2V 1.3B", "WanTransformer3DModel")
    fitting = weights._fitting(make(source.config), pieces(source), source)
    assert {key: piece.shape for key, piece in fitting.items()} == shapes(state)
    with pytest.raises(CheckpointError, match="Wan2.1-T2V-1.3B is a Wan 2.1 T2V 1.3B transformer"):
        locate(folder, fingerprints.VAE)


def test_fp8_weights_are_scaled_back(tmp_path):
    """Both of ComfyUI's ways of keeping the factor; a bias has none."""
    config = {**read_json(CONFIGS / "wan-2.1-t2v-1.3b" / "transformer" / "config.json"), **TINY["wan-2.1-t2v-1.3b"]}
    state = to_original(random_state(make(config, "cpu")), "wan-2.1-t2v-1.3b", "transformer")
    stored = {key: value.to(torch.float8_e4m3fn) for key, value in state.items()}
    factors = {"blocks.0.self_attn.q.scale_weight": torch.tensor(0.5), "head.head.weight_scale": torch.tensor([2.0])}
    save_file({**stored, **factors, "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text(json.dumps(config))
    source = locate(tmp_path / "a.safetensors", fingerprints.DIT)
    assert source.identity.dtype == "fp8 e4m3 scaled"
    loaded = weights.build(lambda: make(config, "cpu"), source, torch.float32, torch.device("cpu")).state_dict()
    for ours, theirs, factor in (
        ("blocks.0.attn1.to_q.weight", "blocks.0.self_attn.q.weight", 0.5),
        ("proj_out.weight", "head.head.weight", 2.0),
        ("proj_out.bias", "head.head.bias", 1.0),
    ):
        assert torch.equal(loaded[ours], stored[theirs].float() * factor)


@pytest.mark.parametrize(
    ("name", "fused", "parts"),
    [
        (
            "wan-2.2-animate-14b",
            "face_adapter.fuser_blocks.0.linear1_kv",
            ("face_adapter.0.to_k", "face_adapter.0.to_v"),
        ),
        (
            "hunyuan-video-t2v",
            "double_blocks.0.img_attn_qkv",
            [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"],
        ),
    ],
)
@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_factor_of_fp8_layers_that_are_one_in_the_file_is_of_each(tmp_path, name, fused, parts, shape):
    config = {**read_json(CONFIGS / name / "transformer" / "config.json"), **TINY[name]}
    state = to_original(random_state(make(config, "cpu")), name, "transformer")
    stored = {key: value.to(torch.float8_e4m3fn) for key, value in state.items()}
    factors = {f"{fused}.{end}": torch.full(shape, 0.5) for end in ("scale_weight", "scale_input")}
    save_file({**stored, **factors, "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text(json.dumps(config))
    source = locate(tmp_path / "a.safetensors", fingerprints.DIT)
    loaded = weights.build(lambda: make(config, "cpu"), source, torch.float32, torch.device("cpu")).state_dict()
    assert torch.equal(torch.cat([loaded[f"{part}.weight"] for part in parts]), stored[f"{fused}.weight"].float() / 2)


def test_weights_that_the_model_has_no_place_for_are_told_and_what_is_harmless_is_not(tmp_path):
    config = {**read_json(CONFIGS / "wan-2.1-t2v-1.3b" / "transformer" / "config.json"), **TINY["wan-2.1-t2v-1.3b"]}
    state = to_original(random_state(make(config, "cpu")), "wan-2.1-t2v-1.3b", "transformer")
    path, said = tmp_path / "a.safetensors", []
    path.with_suffix(".json").write_text(json.dumps(config))
    harmless = {"freqs": torch.zeros(4, 4), "scaled_fp8": torch.zeros(2), "vae.conv1.weight": torch.zeros(4, 4)}
    save_file({**state, **harmless}, path)
    DiT(path, tell=said.append).adapter  # noqa: B018 - loads
    assert said == []
    save_file({**state, **harmless, "blocks.0.cam_encoder.weight": torch.zeros(24, 12)}, path)
    DiT(path, tell=said.append).adapter  # noqa: B018
    (line,) = said
    assert "a.safetensors holds 1 weights that WanTransformer3DModel has no place for (blocks.0.cam_encoder" in line


DISTILLED = {
    "ltxv-2b-0.9.6-distilled-04-25": ("ltx-2b-0.9.5", "an LTX 0.9.5 to 0.9.8 2B transformer, distilled"),
    "ltxv-13b-0.9.8-distilled": ("ltx-13b", "an LTX 0.9.7 to 0.9.8 13B transformer, distilled"),
    "ltx-2-19b-distilled": ("ltx-2-19b", "an LTX-2 19B transformer, distilled"),
    "ltx-2.3-22b-distilled": ("ltx-2.3-22b", "an LTX-2 2.3 22B transformer, distilled"),
}


@pytest.mark.parametrize("file", DISTILLED)
def test_a_distilled_ltx_says_what_is_right_for_it(file, tmp_path):
    name, what = DISTILLED[file]
    state = shapes(make(read_json(CONFIGS / name / "transformer" / "config.json")).state_dict())
    said = []
    for one in (file, file.replace("distilled", "dev")):
        path = write_header(tmp_path / f"{one}.safetensors", to_original(state, name, "transformer"))
        DiT(path, tell=said.append)
        assert len(pieces(locate(path, fingerprints.DIT))) == len(state)
    few = "about 8" if "0.9.6" in file else "8"
    assert said == [f"{file}.safetensors is distilled: guidance 1 and {few} steps are right for it"]
    assert str(locate(tmp_path / f"{file}.safetensors", fingerprints.DIT).identity) == what


@pytest.fixture
def narrow_vae(tmp_path):
    """A single file of a narrow Wan VAE: its path, its config, its weights and what `locate` says of it."""
    config = {**read_json(CONFIGS / "wan-2.1-vae" / "vae" / "config.json"), "base_dim": 4}
    state, path = random_state(make(config, "cpu")), tmp_path / "vae.safetensors"
    save_file(state, path)
    path.with_suffix(".json").write_text(json.dumps(config))
    return path, config, state, locate(path, fingerprints.VAE)


def test_a_file_cut_short_while_it_is_open_is_an_error_and_not_the_end(narrow_vae):
    """Mapped memory would end the process here (SIGBUS)."""
    path, config, _, source = narrow_vae

    def cut_short():
        module = make(config, "cpu")
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        return module

    found = pieces(source)
    cut_short()
    with path.open("rb") as file, pytest.raises(CheckpointError, match="vae.safetensors was cut short while") as error:
        for piece in found.values():
            read(piece, file, torch.float32, torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_weights_in_use_do_not_hang_on_their_file(narrow_vae):
    path, config, state, source = narrow_vae
    module = weights.build(lambda: make(config, "cpu"), source, torch.float32, torch.device("cpu"))
    with path.open("r+b") as file:
        file.truncate(0)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


TEXTS = {
    "umt5": ("UMT5EncoderModel", "UMT5Config", old.UMT5, "umt5-xxl",
             {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 64}),
    "umt5, repackaged": ("UMT5EncoderModel", "UMT5Config", [], "umt5-xxl",
                         {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 64}),
    "t5": ("T5EncoderModel", "T5Config", [], "t5-xxl",
           {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 64}),
    "clip": ("CLIPTextModel", "CLIPTextConfig", [(r"^(?!text_model)", "text_model.")], "clip-l",
             {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2,
              "vocab_size": 64}),
    "llama": ("LlamaModel", "LlamaConfig", [(r"^", "model.")], "llava-llama-3-8b",
              {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2,
               "num_hidden_layers": 2, "vocab_size": 64}),
}  # fmt: skip


NOTES = {
    "of A1111": {"description": "mine", "sd version": "Unknown", "activation text": "", "transformer": "x", "vae": "y"},
    "of other parts": {"vae": {"_class_name": "AutoencoderKLWan"}, "transformer": {"activation text": ""}},
    "a list": ["WanTransformer3DModel"],
    "a number for a class": {"_class_name": 7, "architectures": "WanTransformer3DModel"},
}


def published(folder):
    state = make(read_json(CONFIGS / "wan-2.1-t2v-1.3b" / "transformer" / "config.json")).state_dict()
    path = folder / "wan2.1_t2v_1.3B_fp16.safetensors"
    return write_header(path, shapes(to_original(state, "wan-2.1-t2v-1.3b", "transformer")))


@pytest.mark.parametrize("kind", NOTES)
def test_notes_beside_a_file_are_no_config(kind, tmp_path):
    path = published(tmp_path)
    path.with_suffix(".json").write_text(json.dumps(NOTES[kind]))
    assert DiT(path).config.width == 1536
    assert locate(path, fingerprints.DIT).settings == CONFIGS / "wan-2.1-t2v-1.3b" / "transformer" / "config.json"


@pytest.mark.parametrize("inner", [False, True])
def test_the_config_of_another_model_beside_a_file_is_refused(inner, tmp_path):
    path = published(tmp_path)
    config = read_json(CONFIGS / "hunyuan-video-t2v" / "transformer" / "config.json")
    path.with_suffix(".json").write_text(json.dumps({"transformer": config} if inner else config))
    with pytest.raises(CheckpointError) as error:
        locate(path, fingerprints.DIT)
    assert str(error.value) == (
        "wan2.1_t2v_1.3B_fp16.json is the config of 'HunyuanVideoTransformer3DModel', but "
        "wan2.1_t2v_1.3B_fp16.safetensors beside it is a Wan 2.1 T2V 1.3B transformer (WanTransformer3DModel): remove "
        "or rename wan2.1_t2v_1.3B_fp16.json"
    )


@pytest.mark.parametrize("component", PARTS.values())
def test_a_path_where_nothing_is_is_said_as_it_was_given(component, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        locate(tmp_path / "nope.safetensors", component)
    assert str(error.value) == f"{tmp_path / 'nope.safetensors'} isn't there"


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_encoder_as_comfyui_packs_it_computes_what_transformers_own_does(name, tmp_path, monkeypatch):
    import transformers
    from spacetime_nodes.model_loaders import identify

    class_name, config_name, renames, shipped, small = TEXTS[name]
    published = read_json(CONFIGS / shipped / "text_encoder" / "config.json")
    assert published["architectures"] == [class_name]
    config = {**published, **small}
    for key in ("bos_token_id", "eos_token_id", "pad_token_id", "rope_theta"):
        config.pop(key, None)

    def make_text():
        return getattr(transformers, class_name)(getattr(transformers, config_name).from_dict(config))

    torch.manual_seed(0)
    theirs = make_text().eval()
    state = {key: value.clone() for key, value in theirs.state_dict().items() if key != "encoder.embed_tokens.weight"}
    path = tmp_path / "text.safetensors"
    save_file(old.original(state, renames), path)
    (tmp_path / "text.json").write_text(json.dumps(config))
    found = identify.identify_file(path)[0]
    assert found.component == fingerprints.TEXT
    monkeypatch.setattr(identify, "VARIANTS", {(fingerprints.TEXT, found.family): (identify.Variant("", {}, shipped),)})
    identify._identified.cache_clear()
    source = locate(path, fingerprints.TEXT)
    ours = weights.build(make_text, source, torch.float32, torch.device("cpu"))
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        assert torch.equal(ours(ids).last_hidden_state, theirs(ids).last_hidden_state)
    identify._identified.cache_clear()
