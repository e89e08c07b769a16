"""The files that ComfyUI users have give the video that the diffusers folder of the same weights gives, bit for bit;
and what such a file is used with is found, or named in one line."""

import json
import shutil

import pytest
import torch
from bench import grid, load, picture, result, sample
from downloads import MADE, WAN, Files, random_module
from headers import shapes, write_header
from safetensors.torch import load_file
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, read_json
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.model_loaders.folders import CONFIGS
from spacetime_nodes.nodes.conditioning import as_read_by
from tiny_files import TINY_VAES, make, to_original

SIZE, FRAMES = 64, 9


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture
def base(tmp_path):
    return tmp_path


def video(*names, known=False):
    """names: for the three loaders. Frames [F, height, width, 3], after the first latent frame where that is given."""
    model = load(*names)
    canvas = grid(model, SIZE, SIZE, FRAMES)
    if known:
        canvas = result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, picture(SIZE, SIZE)[1])[0]
    frames = result("DecodeImages", model.vae, sample(model, canvas))[0]
    assert frames.isfinite().all() and frames[1:].std() > 1e-3
    return frames


@pytest.mark.parametrize("name", MADE)
def test_files_give_the_video_of_their_folder(files, name):
    names, folder = files.both(name)
    assert torch.equal(video(*names, known="i2v" in name), video(folder, known="i2v" in name))


@pytest.mark.parametrize("name", ["ltx-video-2b-v0.9.1", "ltx-video-2b-v0.9.5", "ltx-2-19b-dev", "ltx-2.3-22b-dev"])
def test_a_checkpoint_of_transformer_and_VAE_gives_the_video_of_their_folder(files, name):
    """As LTX-Video and LTX-2 are published. The VAE in it tells the version, whatever the file is called."""
    (dit, vae, text), folder = files.both(name)
    states, settings = {}, {}
    for shelf, file, part, prefix in (
        ("diffusion_models", dit, "transformer", "model.diffusion_model."), ("vae", vae, "vae", "vae."),
        ("text_encoders", dit.replace("dev", "embeddings_connector"), "connectors", ""),
    ):  # fmt: skip
        path = files.models / shelf / file
        if not path.exists():
            continue
        states |= {prefix + key: value for key, value in load_file(path).items()}
        settings[part] = json.loads(path.with_suffix(".json").read_text())
        path.unlink()
    both = files.put("checkpoints", "all in one", states, settings)
    assert torch.equal(video(both, both, text), video(folder))


def test_a_gemma_beside_the_files_of_two_models_reads_for_either(files):
    """Which of the two a prompt is for, only the sampler knows."""
    later, folder = files.both("ltx-2.3-22b-dev")
    earlier, other = files.both("ltx-2-19b-dev")  # the same Gemma, written once more
    assert earlier[2] == later[2]
    for names, same in ((later, folder), (earlier, other)):
        assert torch.equal(video(*names), video(same))


def test_a_file_that_projects_the_text_alone_is_no_partner(files):
    """As some publish it for 2.3; the checkpoint on its shelf holds the connectors too."""
    (dit, vae, text), folder = files.both("ltx-2.3-22b-dev")
    shelf = files.models / "text_encoders"
    whole = shelf / dit.replace("dev", "embeddings_connector")
    state, about = load_file(whole), json.loads(whole.with_suffix(".json").read_text())
    files.put("checkpoints", whole.stem, state, about)
    whole.unlink()
    alone = {key: value for key, value in state.items() if "aggregate_embed" in key}
    files.put("text_encoders", "ltx-2.3_text_projection_bf16", alone, about)
    assert torch.equal(video(dit, vae, text), video(folder))


# Wan 2.2 A14B's two experts


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("wan2.2_t2v_high_noise_14B_fp16", "wan2.2_t2v_low_noise_14B_fp16"),
        ("Wan2_2-T2V-A14B_HIGH_bf16", "Wan2_2-T2V-A14B-LOW_bf16"),
        ("HighNoise/Wan2.2-T2V-A14B-HighNoise", "LowNoise/Wan2.2-T2V-A14B-LowNoise"),
    ],
)
def test_either_expert_stands_for_both(files, high, low):
    parts = {name: random_module("wan-2.2-t2v-a14b", "transformer", WAN, scale) for name, scale in
             ((high, 0.2), (low, 0.17))}  # fmt: skip
    for name, module in parts.items():
        files.dit(name, "wan-2.2-t2v-a14b", module)
    vae = files.put("vae", "wan_2.1_vae", *vae_of("wan-2.1-vae"))
    text = files.umt5()[1]
    first, second = (video(f"{name}.safetensors", vae, text) for name in (high, low))
    assert torch.equal(first, second)
    dit = load(f"{low}.safetensors", vae, text).dit
    assert {part: source.file.stem for part, source in dit.sources().items()} == {
        "transformer": high.rpartition("/")[2], "transformer_2": low.rpartition("/")[2],
    }  # fmt: skip


def vae_of(config):
    module = random_module(config, "vae", TINY_VAES[config])
    return to_original(module.state_dict(), config, "vae"), dict(module.config)


@pytest.mark.parametrize(("here", "there"), [("high", "low"), ("low", "high")])
def test_an_expert_alone_says_which_file_it_misses(files, here, there):
    files.dit(f"wan2.2_i2v_{here}_noise_14B", "wan-2.2-i2v-a14b", random_module("wan-2.2-i2v-a14b", "transformer", WAN))
    with pytest.raises(CheckpointError, match=rf"for {there} noise has to lie beside it: wan2.2_i2v_{there}_noise_14B"):
        load(f"wan2.2_i2v_{here}_noise_14B.safetensors")


def test_an_expert_that_no_name_tells_denoises_alone(tmp_path):
    """Merges of the two are published, too."""
    state = make(read_json(CONFIGS / "wan-2.2-i2v-a14b" / "transformer" / "config.json")).state_dict()
    path = write_header(
        tmp_path / "my_merge.safetensors", shapes(to_original(state, "wan-2.2-i2v-a14b", "transformer"))
    )
    said = []
    dit = DiT(path, tell=said.append)
    assert "boundary_ratio" not in dit.config.pipeline and list(dit.sources()) == ["transformer"]
    assert "it denoises alone" in said[0] and "\n" not in said[0]


def makers(folder, config):
    """A folder as Wan's makers publish it, all header."""
    state = make(read_json(CONFIGS / config / "transformer" / "config.json")).state_dict()
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"_class_name": "WanModel"}')
    write_header(folder / "diffusion_pytorch_model.safetensors", shapes(to_original(state, config, "transformer")))
    return folder


def test_the_makers_own_folders_of_both_experts_stand_for_both(tmp_path):
    high, low = (tmp_path / "Wan2.2-I2V-A14B" / f"{noise}_noise_model" for noise in ("high", "low"))
    makers(low, "wan-2.2-i2v-a14b")
    with pytest.raises(CheckpointError, match="low_noise_model is one of .* has to lie beside it: high_noise_model$"):
        DiT(low)
    makers(high, "wan-2.2-i2v-a14b")
    for chosen in (high, low):
        sources = DiT(chosen).sources()
        assert {part: source.weights for part, source in sources.items()} == {"transformer": high, "transformer_2": low}
    whole, blocks = (DiT(high, "bfloat16", "cuda", memory=way) for way in ("fits", "block offload"))
    assert whole.weight_bytes == 2 * whole.footprints("fits")[0].device > 50e9
    assert blocks.weight_bytes == 2 * whole.footprints("block offload")[0].device < 8e9


def test_the_makers_own_folder_sees_through_the_clip_on_its_shelf(files):
    folder = makers(files.models / "diffusion_models" / "Wan2.1-I2V-14B-480P", "wan-2.1-i2v-14b-480p")
    with pytest.raises(CheckpointError, match="I2V-14B-480P is used with the CLIP H image encoder: put clip_vision_h"):
        DiT(folder)
    files.clip_vision()
    dit = load(folder.name, "pocket (built in)", "pocket (built in)").dit
    assert dit.kin[1].name == "clip_vision_h.safetensors" and dit.beside("image_processor").crop_size["height"] == 224


def test_FramePacks_own_folder_sees_through_the_siglip_on_its_shelf(files):
    """Its makers publish the transformer alone, under a class of their own."""
    (_, vae, text), folder = files.both("framepack_f1_i2v_hy_20250503_bf16")
    shelf, same = files.models / "diffusion_models", video(folder, known=True)
    alone = shelf / "lllyasviel" / "FramePack_F1_I2V_HY_20250503"
    shutil.copytree(shelf / folder / "transformer", alone)
    config = read_json(alone / "config.json")
    (alone / "config.json").write_text(json.dumps({**config, "_class_name": "HunyuanVideoTransformer3DModelPacked"}))
    assert torch.equal(video("lllyasviel/FramePack_F1_I2V_HY_20250503", vae, text, known=True), same)
    (files.models / "clip_vision" / "sigclip_vision_patch14_384.safetensors").unlink()
    with pytest.raises(CheckpointError, match="20250503 is used with the SigLIP image encoder: put sigclip_vision_pa"):
        DiT(alone)


# what is missing is said in one line, with what belongs where


@pytest.mark.parametrize(
    ("kind", "gone", "line"),
    [
        ("llama", "text_encoders/clip_l", r"is used with the CLIP L text encoder: put clip_l.safetensors into "),
        ("qwen", "text_encoders/byt5_small_glyphxl_fp16", r"put byt5_small_glyphxl_fp16.safetensors into "),
        (
            "gemma",
            "text_encoders/ltx-2-19b-embeddings_connector",
            "put ltx-2-19b-dev.safetensors .or 2.3.s. into models/checkp",
        ),
    ],
)
def test_what_a_text_encoder_is_used_with_is_named_where_it_is_missing(files, kind, gone, line):
    _, text = getattr(files, kind)()
    (files.models / f"{gone}.safetensors").unlink()
    with pytest.raises(CheckpointError, match=line):
        load("pocket (built in)", text_encoder_name=text)


@pytest.mark.parametrize(
    ("kind", "gone", "line"),
    [
        ("llama", "llava_llama3_fp16", r"tokenizer.json .*HunyuanVideo \(its folder tokenizer/\) into .*fp16$"),
        ("llama", "clip_l", "tokenizer.json .*openai/clip-vit-large-patch14 into .*clip_l$"),
        ("gemma", "gemma_3_12B_it", r"of Lightricks/LTX-2 \(its folder tokenizer/\) into .*gemma_3_12B_it$"),
        ("qwen", "qwen_2.5_vl_7b", r"HunyuanVideo-1.5-480p_t2v \(its folder tokenizer/\) into .*qwen_2.5_vl_7b$"),
        ("qwen", "byt5_small_glyphxl_fp16", "folder tokenizer_2/ into .*byt5_small_glyphxl_fp16$"),
    ],
)
def test_a_tokenizer_that_is_missing_is_named_with_its_place(files, kind, gone, line):
    _, text = getattr(files, kind)()
    shutil.rmtree(files.models / "text_encoders" / gone)
    with pytest.raises(CheckpointError, match=line) as error:  # at once, not when a prompt is read
        load("pocket (built in)", text_encoder_name=text)
    assert "\n" not in str(error.value)


def test_an_image_encoder_that_is_missing_is_named(files):
    dit = files.both("wan2.1_i2v_480p_14B")[0][0]
    (files.models / "clip_vision" / "clip_vision_h.safetensors").unlink()
    with pytest.raises(CheckpointError, match="put clip_vision_h.safetensors into models/clip_vision or beside it"):
        load(dit)


def test_a_llama_without_eyes_says_what_image_to_video_takes(files):
    (dit, vae, text), _ = files.both("hunyuan_video_i2v_720p")
    (files.models / "clip_vision" / "llava_llama3_vision.safetensors").unlink()
    with pytest.raises(
        ValueError, match="lacks 'picture_tokens', .*, llava_llama3_vision.safetensors in models/clip_vision"
    ):
        video(dit, vae, text)


def test_of_two_that_fit_the_best_known_name_is_taken(files):
    dit = files.both("wan2.1_i2v_480p_14B")[0][0]
    shelf = files.models / "clip_vision"
    for name in ("A", "CLIP-ViT-H-14-laion2B"):
        shutil.copy(shelf / "clip_vision_h.safetensors", shelf / f"{name}.safetensors")
    assert load(dit, "pocket (built in)", "pocket (built in)").dit.kin[1].name == "clip_vision_h.safetensors"
    for name in ("A", "clip_vision_h"):
        (shelf / f"{name}.safetensors").unlink()
    with pytest.raises(CheckpointError, match="put clip_vision_h.safetensors"):  # LAION's is another
        load(dit)


def test_what_another_node_made_of_a_prompt_stays(files):
    """A T5 that came alone reads for every family; embeddings that were changed on the way are used as they are."""
    encoder = load("pocket (built in)", text_encoder_name=files.t5()[1]).text_encoder
    embeddings, more = encoder.encode("a red circle")
    ((short, _),) = as_read_by("LTXPipeline", [[embeddings, more]])
    ((longer, said),) = as_read_by("LTXConditionPipeline", [[embeddings, more]])
    assert (embeddings.shape[1], short.shape[1], longer.shape[1], said["attention_mask"].shape[1]) == (
        512,
        128,
        256,
        256,
    )
    changed = embeddings * 2
    assert as_read_by("LTXPipeline", [[changed, more]]) == [[changed, more]]
