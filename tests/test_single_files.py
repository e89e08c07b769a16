"""Single files in their makers' layout load as the diffusers folders of the same model do: bit for bit, no hub."""

import json

import original_layout as old
import pytest
import torch
from headers import shapes, write_header
from safetensors.torch import save_file
from spacetime_nodes.model_loaders import fingerprints, weights
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, read_json
from spacetime_nodes.model_loaders.single_file import CONFIGS, locate, pieces, read

PARTS = {"transformer": fingerprints.DIT, "vae": fingerprints.VAE, "text_encoder": fingerprints.TEXT}
WAN_DITS = [
    *("wan-2.1-t2v-1.3b", "wan-2.1-t2v-14b", "wan-2.1-i2v-1.3b", "wan-2.1-i2v-14b-480p", "wan-2.1-flf2v-14b"),
    *("wan-2.1-vace-1.3b", "wan-2.1-vace-14b", "wan-2.2-i2v-a14b", "wan-2.2-ti2v-5b", "skyreels-v2-df-1.3b"),
]
HUNYUAN_DITS = ["hunyuan-video-t2v", "hunyuan-video-t2v-cfg", "hunyuan-video-i2v"]
# config folder and part → the renames that lead back to the original
LAYOUTS = {
    **{(name, "transformer"): old.WAN for name in WAN_DITS},
    **{(name, "transformer"): old.LTX for name in ("ltx-2b-0.9.0", "ltx-2b-0.9.5", "ltx-13b")},
    **{(name, "transformer"): old.HUNYUAN for name in HUNYUAN_DITS},
    **{(f"cosmos-predict2.5-{size}", "transformer"): old.COSMOS for size in ("2b", "14b")},
    ("ltx-2-19b", "transformer"): old.LTX_2,
    ("ltx-2-19b", "vae"): old.LTX_2_VAE,
    ("wan-2.1-vae", "vae"): old.WAN_VAE,
    ("wan-2.2-ti2v-5b", "vae"): old.WAN_22_VAE,
    **{(f"ltx-2b-{version}", "vae"): renames for version, renames in old.LTX_VAES.items()},
    ("hunyuan-video-t2v", "vae"): old.HUNYUAN_VAE,
}
ORACLES = {
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
UNCONVERTED = {"pos_embed", "fps_projection"}  # diffusers' conversion forgets these: FLF2V and SkyReels-DF fail there


def make(config, device="meta", **changes):
    import diffusers

    torch.manual_seed(0)
    with torch.device(device):
        return getattr(diffusers, config["_class_name"]).from_config({**config, **changes})


def to_original(state, name, part, prefix=""):
    state = old.fused(state) if "hunyuan" in name and part == "transformer" else state
    return old.original(state, LAYOUTS[name, part], prefix)


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
    fitting = weights._fitting(module, pieces(source), source)
    assert {key: piece.shape for key, piece in fitting.items()} == shapes(state)


@pytest.mark.parametrize(("name", "part"), [key for key in LAYOUTS if "hunyuan" not in key[0] or key[1] != "vae"])
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


TINY = {
    "wan-2.1-t2v-1.3b": {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "ffn_dim": 32,
                         "text_dim": 16},
    "wan-2.1-vace-1.3b": {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "ffn_dim": 32,
                          "text_dim": 16, "vace_layers": [0], "vace_in_channels": 96},
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
}  # fmt: skip
TINY_VAES = {
    "wan-2.1-vae": {"base_dim": 4},
    "wan-2.2-ti2v-5b": {"base_dim": 4, "decoder_base_dim": 8},
    "ltx-2b-0.9.0": {"block_out_channels": [4, 8, 16, 16], "decoder_block_out_channels": [4, 8, 16, 16]},
    "ltx-2b-0.9.1": {"block_out_channels": [4, 8, 16, 16], "decoder_block_out_channels": [8, 16, 32]},
    "hunyuan-video-t2v": {"block_out_channels": [4, 8, 8, 8], "norm_num_groups": 2},
}
SMALL = [
    *((name, "transformer", changes) for name, changes in TINY.items()),
    *((name, "vae", changes) for name, changes in TINY_VAES.items()),
]


def random_state(module):
    """Not the initial values: those are zeros and ones in many places, and would hide a swapped name."""
    generator = torch.Generator().manual_seed(1)
    return {key: torch.randn(value.shape, generator=generator) for key, value in module.state_dict().items()}


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


def test_a_file_cut_short_while_it_is_open_is_an_error_and_not_the_end(tmp_path):
    """Mapped memory would end the process here (SIGBUS)."""
    config = {**read_json(CONFIGS / "wan-2.1-vae" / "vae" / "config.json"), "base_dim": 4}
    state = random_state(make(config, "cpu"))
    path = tmp_path / "vae.safetensors"
    save_file(state, path)
    (tmp_path / "vae.json").write_text(json.dumps(config))
    source = locate(path, fingerprints.VAE)

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


def test_weights_in_use_do_not_hang_on_their_file(tmp_path):
    config = {**read_json(CONFIGS / "wan-2.1-vae" / "vae" / "config.json"), "base_dim": 4}
    state = random_state(make(config, "cpu"))
    path = tmp_path / "vae.safetensors"
    save_file(state, path)
    (tmp_path / "vae.json").write_text(json.dumps(config))
    source = locate(path, fingerprints.VAE)
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


def test_the_tokenizer_within_a_repackaged_t5_reads_as_sentencepiece_does(tmp_path):
    spm = pytest.importorskip("sentencepiece")
    import io
    import random

    from spacetime_nodes.model_loaders.single_file import Source
    from spacetime_nodes.model_loaders.tokenizers import tokenizer_of

    words = (
        "red blue circle square star moves left right up down slowly over a green hill in the rain and turns".split()
    )
    chance, model = random.Random(0), io.BytesIO()
    lines = (" ".join(chance.choices(words, k=8)) for _ in range(400))
    spm.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=80, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    data = model.getvalue()
    block = {"encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight": torch.zeros(32, 64)}
    path = tmp_path / "umt5.safetensors"
    embedded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    save_file({**block, "shared.weight": torch.zeros(8, 4096), "spiece_model": embedded}, path)
    source = locate(path, fingerprints.TEXT)
    tokenizer, reference = tokenizer_of(source), spm.SentencePieceProcessor(model_proto=data)
    for text in ("red circle moves left", "  two   spaces ", "Ünïcode ﬁ ½ Ａ", "strange字 words", "", "a\tb\nc"):
        assert tokenizer(text).input_ids == [*reference.encode(text), 1]
    padded = tokenizer(["red"], padding="max_length", max_length=12)
    assert padded.input_ids[0][-1] == 0 and sum(padded.attention_mask[0]) == len(reference.encode("red")) + 1
    assert tokenizer.model_max_length == 512
    save_file({**block, "shared.weight": torch.zeros(8, 4096), "spiece_model": embedded[:50].clone()}, path)
    with pytest.raises(CheckpointError, match="the tokenizer in umt5.safetensors can't be read: it is cut short"):
        tokenizer_of(locate(path, fingerprints.TEXT))
    save_file({**block, "shared.weight": torch.zeros(8, 4096)}, path)
    with pytest.raises(CheckpointError, match="put tokenizer.json .* of google/umt5-xxl into .*umt5$"):
        tokenizer_of(locate(path, fingerprints.TEXT))
    assert isinstance(source, Source)
