"""What was trained together goes together: other models' VAEs and text encoders are refused though their sizes agree,
and an encoder that many were trained with reads for each as that one wants."""

import gc
import json
import shutil
import weakref

import pytest
import torch
from bench import PROMPT, grid, load, result, sample, tokenizer
from spacetime_nodes.model_loaders.component import check_pair
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.model_loaders.identify import identify, strange
from spacetime_nodes.model_loaders.text_encoder import TextEncoder
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as NODES
from spacetime_nodes.nodes.conditioning import as_read_by
from tiny import MODELS

WAN, HUNYUAN, LTX = "Wan2.1-T2V", "HunyuanVideo", "LTX-0.9.5"


@pytest.fixture
def three(pipelines):
    for name in (WAN, HUNYUAN, LTX):
        pipelines(name)


@pytest.mark.parametrize("dit, other, right", [(WAN, HUNYUAN, "a Wan 2.1 VAE"), (HUNYUAN, WAN, "a HunyuanVideo VAE")])
def test_another_models_vae_is_refused_before_anything_is_loaded(three, dit, other, right, monkeypatch):
    monkeypatch.setattr("spacetime_nodes.model_loaders.weights.build", None)
    model = load(dit, vae_name=other)
    assert model.dit.config.channels == model.vae.config.channels
    with pytest.raises(ValueError, match=f"VAE doesn't fit .* transformer.*; {right} would be right"):
        grid(model, 64, 64, 9)


def test_a_vae_of_the_same_family_but_other_channels_is_named_too(pipelines):
    for name in (WAN, "Wan2.2-TI2V-5B"):
        pipelines(name)
    with pytest.raises(
        ValueError, match="a Wan 2.2 5B VAE doesn't fit a Wan transformer; a Wan 2.1 VAE would be right"
    ):
        grid(load(WAN, vae_name="Wan2.2-TI2V-5B"), 64, 64, 9)


@pytest.mark.parametrize("dit, other, right", [(WAN, LTX, "a UMT5 XXL"), (LTX, WAN, "a T5 XXL"), (WAN, HUNYUAN, "XXL")])
def test_another_models_text_encoder_is_refused(three, dit, other, right):
    model = load(dit, text_encoder_name=other)
    latent = grid(model, 64, 64, 9)
    why = f"text encoder doesn't fit an? [^,]* transformer; .*{right}.* text encoder would be right"  # no remarks
    with pytest.raises(ValueError, match=why):
        sample(model, latent)
    told = {"text_encoder": model.text_encoder}
    planned = NODES["SpacetimeGrid"]().plan(model.dit, model.vae, "1:1", 64, 0, 0, 0.0, 8.0, 9, 1)["result"][0]
    with pytest.raises(ValueError, match=why):  # and before it runs
        NODES["SpacetimeSample"]().plan(model.dit, told, told, planned, 0, 4, 4.0)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_fits_its_own(name, pipelines):
    pipelines(name)
    model = load(name)
    for one in (model.vae, model.text_encoder):
        check_pair(model.dit, one.identity)


def test_what_is_of_no_known_kind_is_not_judged(three):
    from spacetime_nodes.model_loaders.checkpoint import TensorInfo

    unknown = identify({"x": TensorInfo("F32", (1,))})
    assert strange(load(WAN).dit.identity, unknown) == strange(unknown, load(HUNYUAN).vae.identity) == ""


def test_a_t5_from_another_models_folder_reads_as_the_transformer_wants(three, models_base, tmp_path):
    """One encoder of ten gigabytes is enough for all who read T5; a prompt on its way doesn't keep its weights."""
    own, other = models_base / "models" / "diffusion_models" / LTX, tmp_path / "of CogVideoX"
    shutil.copytree(own, other)
    index = json.loads((other / "model_index.json").read_text())
    (other / "model_index.json").write_text(json.dumps({**index, "_class_name": "CogVideoXPipeline"}))
    prompts = []
    for where in (own, other):
        encoder = TextEncoder(where / "text_encoder")
        embeddings, more = encoder.encode(PROMPT)
        prompts += as_read_by("LTXConditionPipeline", [[embeddings, more]])
    (first, said), (second, told) = prompts
    assert embeddings.shape[1] == 226 and first.shape[1] == 256
    assert torch.equal(first, second) and torch.equal(said["attention_mask"], told["attention_mask"])
    lost = weakref.ref(encoder.module)
    del encoder
    gc.collect()
    assert lost() is None and callable(more["readings"][1]["LTXConditionPipeline"])


@pytest.mark.parametrize("name", ["Allegro", "CogVideoX-2B", "LTX-0.9.0", "Latte", "Mochi"])
def test_the_prompt_of_a_transformer_that_stands_alone_is_read_as_in_its_pipeline(
    pipelines, models_base, tmp_path, name
):
    pipelines(name)
    own = models_base / "models" / "diffusion_models" / name
    for part in ("transformer", "text_encoder"):
        shutil.copytree(own / part, tmp_path / part / "alone")
    tokenizer(512).save_pretrained(tmp_path / "text_encoder" / "alone")  # T5's own; LTX's folders have a shorter one
    first, said = TextEncoder(own / "text_encoder").encode(PROMPT)
    prompt = list(TextEncoder(tmp_path / "text_encoder" / "alone").encode(PROMPT))
    ((second, told),) = as_read_by(DiT(tmp_path / "transformer" / "alone").pipeline, [prompt])
    assert torch.equal(first, second) and torch.equal(said["attention_mask"], told["attention_mask"])


@pytest.mark.parametrize("name, pipeline", [("HunyuanVideo", "HunyuanVideoPipeline"), ("HunyuanVideo-I2V", "")])
def test_a_hunyuan_that_stands_alone_is_read_for_as_it_takes_the_picture(
    pipelines, models_base, tmp_path, name, pipeline
):
    pipelines(name)
    shutil.copytree(models_base / "models" / "diffusion_models" / name / "transformer", tmp_path / "alone")
    assert DiT(tmp_path / "alone").pipeline == pipeline


def test_a_pipeline_of_a_class_of_its_own_is_read_as_one_that_stands_alone(pipelines, models_base, tmp_path):
    """diffusers then names the file and the class in it."""
    pipelines("CogVideoX-2B")
    own, mine = models_base / "models" / "diffusion_models" / "CogVideoX-2B", tmp_path / "mine"
    shutil.copytree(own, mine)
    index = json.loads((mine / "model_index.json").read_text())
    (mine / "model_index.json").write_text(json.dumps({**index, "_class_name": ["pipeline_mine", "Mine"]}))
    first, _ = TextEncoder(own / "text_encoder").encode(PROMPT)
    prompt = list(TextEncoder(mine / "text_encoder").encode(PROMPT))
    assert torch.equal(as_read_by(DiT(mine / "transformer").pipeline, [prompt])[0][0], first)


def test_a_llava_from_image_to_videos_folder_reads_words_alone_for_those_that_do(pipelines, models_base, tmp_path):
    """As the Llama in it does in text-to-video's folder."""
    pipelines("HunyuanVideo-I2V")
    own, other = models_base / "models" / "diffusion_models" / "HunyuanVideo-I2V", tmp_path / "T2V"
    seeing = TextEncoder(own / "text_encoder")
    embeddings, more = seeing.encode(PROMPT)
    shutil.copytree(own, other, ignore=lambda folder, names: ["text_encoder"])
    seeing.module.language_model.save_pretrained(other / "text_encoder")
    (other / "model_index.json").write_text('{"_class_name": "HunyuanVideoPipeline"}')
    first, said = TextEncoder(other / "text_encoder").encode(PROMPT)
    for pipeline in (f"Hunyuan{kind}Pipeline" for kind in ("Video", "SkyreelsImageToVideo", "VideoFramepack")):
        ((second, told),) = as_read_by(pipeline, [[embeddings, more]])
        assert torch.equal(first, second) and not told["with_picture"]
        assert all(torch.equal(said[name], told[name]) for name in ("attention_mask", "pooled_output"))
    assert as_read_by("HunyuanVideoImageToVideoPipeline", [[embeddings, more]]) == [[embeddings, more]]


@pytest.mark.parametrize("name", ["HunyuanVideo", "HunyuanVideo-I2V", "HunyuanVideo-1.5-T2V"])
@pytest.mark.parametrize("there", [False, True])
def test_two_text_encoders_of_a_folder_stay_together(pipelines, models_base, tmp_path, name, there):
    """there: the second one's folder is, but nothing in it."""
    pipelines(name)
    own, alone = models_base / "models" / "diffusion_models" / name, tmp_path / "alone"
    shutil.copytree(own, alone, ignore=lambda folder, names: ["transformer", "vae", "text_encoder_2"])
    if there:
        (alone / "text_encoder_2").mkdir()
    with pytest.raises(ValueError, match=f"^{alone}/text_encoder is read with .*: keep it beside its text_encoder_2/"):
        TextEncoder(alone / "text_encoder")


def test_mochi_reads_nothing_of_an_empty_prompt_from_any_t5(pipelines, models_base, tmp_path):
    pipelines("Mochi")
    own, alone = models_base / "models" / "diffusion_models" / "Mochi", tmp_path / "alone"
    shutil.copytree(own / "text_encoder", alone)
    shutil.copytree(own / "tokenizer", alone, dirs_exist_ok=True)
    ((first, said),) = result("EncodePrompt", load("Mochi").text_encoder, "", PROMPT)[0]
    ((second, told),) = as_read_by("MochiPipeline", [list(TextEncoder(alone).encode(""))])
    assert torch.equal(first, second) and told["attention_mask"].sum() == said["attention_mask"].sum() == 0


def test_both_prompts_are_read_anew_by_one_loading_which_does_not_stay(three, models_base, tmp_path, monkeypatch):
    other = tmp_path / "of CogVideoX"
    shutil.copytree(models_base / "models" / "diffusion_models" / LTX, other)
    index = json.loads((other / "model_index.json").read_text())
    (other / "model_index.json").write_text(json.dumps({**index, "_class_name": "CogVideoXPipeline"}))
    model = load(LTX)
    right = sample(model, grid(model, 64, 64, 9))["samples"]
    model.text_encoder, made = TextEncoder(other / "text_encoder"), []
    loads = TextEncoder.load
    monkeypatch.setattr(TextEncoder, "load", lambda self, source: made.append(self) or loads(self, source))
    assert torch.equal(sample(model, grid(model, 64, 64, 9))["samples"], right)
    again = model.text_encoder.again
    assert made == [model.text_encoder, again] and not TextEncoder.module.made(again)
