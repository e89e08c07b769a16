"""HunyuanVideo equals diffusers: Llama and CLIP, guidance that the model is told; and image-to-video of both kinds,
whose prompt is read together with the picture."""

import pytest
import torch
from bench import GUIDANCE, NEGATIVE, NODES, PROMPT, SEED, STEPS, free_cells, grid, load, picture, result, sample, stock
from spacetime_nodes.model_loaders.checkpoint import CheckpointError
from spacetime_nodes.model_loaders.families import hunyuan_video

WIDTH, HEIGHT, FRAMES = 32, 32, 9
SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES}


@pytest.fixture(scope="module")
def hunyuan(pipelines):
    return pipelines("HunyuanVideo")


def test_text_to_video(hunyuan, same):
    theirs = stock(hunyuan, negative_prompt=None, **SIZES) / hunyuan.vae.config.scaling_factor
    model = load("HunyuanVideo")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert same("HunyuanVideo", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def test_text_to_video_guided_by_the_negative_prompt(pipelines, same):
    """Those that weren't told the guidance in training."""
    pipeline = pipelines("HunyuanVideo-CFG")
    theirs = stock(pipeline, 1.0, true_cfg_scale=GUIDANCE, **SIZES) / pipeline.vae.config.scaling_factor
    model = load("HunyuanVideo-CFG")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    assert same("HunyuanVideo-CFG", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def test_SkyReels_V1_image_to_video(pipelines, same, hosted):
    """It is told guidance 1 and guided by the negative prompt. The first latent frame is the picture itself."""
    name, (image, pixels) = "SkyReels-V1-I2V", picture(WIDTH, HEIGHT)
    pipeline = pipelines(name)
    theirs = stock(pipeline, 1.0, image=image, true_cfg_scale=GUIDANCE, **SIZES) / pipeline.vae.config.scaling_factor
    model = load(name)
    canvas = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), "start", "cover", 1.0, pixels)[0]
    assert same(name, "I2V", free_cells(model, canvas)[0], theirs[:, :, 1:], "beside x") == 0.0
    assert any("beside x where they are the first frame" in notice for notice in hosted.notices)


def test_channels_that_no_known_model_takes_are_refused_in_a_line(pipelines, tmp_path):
    config = dict(pipelines("HunyuanVideo").transformer.config)
    with pytest.raises(CheckpointError, match="odd takes 7 channels to denoise 4; .* with 4 or 8 are known here"):
        hunyuan_video.facts({**config, "in_channels": 7}, tmp_path / "odd")


def test_the_prompt_is_read_by_both_encoders_and_one_pass_a_step_is_enough(hunyuan):
    model, passes = load("HunyuanVideo"), []
    embeddings, more = model.text_encoder.encode(PROMPT)
    other, other_more = model.text_encoder.encode("a blurry square")
    assert more["attention_mask"].sum() > 3 and (embeddings - other).abs().max() > 1e-3
    assert (more["pooled_output"] - other_more["pooled_output"]).abs().max() > 1e-3
    model.dit.adapter.transformer.register_forward_pre_hook(lambda *_: passes.append(1))
    sample(model, grid(model, WIDTH, HEIGHT, FRAMES))
    assert len(passes) == 4


def test_decoded_frames_are_the_pipelines(hunyuan):
    model = load("HunyuanVideo")
    theirs = stock(hunyuan, negative_prompt=None, output_type="pt", **SIZES)[0].permute(0, 2, 3, 1)
    (images,) = result("DecodeImages", model.vae, sample(model, grid(model, WIDTH, HEIGHT, FRAMES)))
    assert torch.equal(images, theirs)


KINDS = {"HunyuanVideo-I2V": "guidance_scale", "HunyuanVideo-I2V-33ch": "true_cfg_scale"}


@pytest.mark.parametrize("name", KINDS)
def test_image_to_video(pipelines, same, hosted, name):
    """Of the 33-channel kind diffusers throws the first latent frame away; ours is the picture itself."""
    pipeline, (image, pixels) = pipelines(name), picture(WIDTH, HEIGHT)
    scales = {"guidance_scale": 1.0, KINDS[name]: GUIDANCE}
    negative = {"negative_prompt": None} if KINDS[name] == "guidance_scale" else {}
    theirs = pipeline.__call__(
        image=image, prompt=PROMPT, **{"negative_prompt": NEGATIVE, **negative}, **scales, **SIZES,
        num_inference_steps=STEPS, output_type="latent", generator=torch.Generator().manual_seed(SEED),
    ).frames / pipeline.vae.config.scaling_factor  # fmt: skip
    model = load(name)
    canvas = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), "start", "cover", 1.0, pixels)[0]
    assert same(name, "I2V", free_cells(model, canvas)[0], theirs[:, :, -2:], "beside x") == 0.0
    assert any("beside x where they are the first frame" in notice for notice in hosted.notices)


def test_the_prompt_is_read_with_the_canvas_picture(pipelines):
    pipelines("HunyuanVideo-I2V")
    model = load("HunyuanVideo-I2V")
    blind, more = model.text_encoder.encode(PROMPT)
    seen, _ = more["with_picture"](picture(WIDTH, HEIGHT)[0])
    other, _ = model.text_encoder.encode("a blurry square")
    count = more["picture_tokens"]
    assert (seen - blind)[:, :count].abs().max() > 1e-3
    assert (seen - blind)[:, count:].abs().max() > 1e-5  # the words are read in its light
    assert (other - blind)[:, count : count + 3].abs().amax(2).min() > 1e-3  # the words themselves, not the template
    assert "with_picture" not in model.text_encoder.encode(PROMPT, negative=True)[1]


def test_a_prompt_that_saw_no_picture_is_refused_by_name(pipelines, hunyuan):
    pipelines("HunyuanVideo-I2V")
    model = load("HunyuanVideo-I2V")
    model.text_encoder = load("HunyuanVideo").text_encoder
    with pytest.raises(
        ValueError, match="this prompt lacks 'picture_tokens', which the DiT reads: it sees pictures with"
    ):
        sample(model, grid(model, WIDTH, HEIGHT, FRAMES))


def test_an_encoder_that_sees_no_picture_is_refused_in_the_plan(pipelines, hunyuan):
    pipelines("HunyuanVideo-I2V")
    model, words = load("HunyuanVideo-I2V"), load("HunyuanVideo").text_encoder
    latent = {"shape": [1, 4, 3, 4, 4], "fps": 8.0, "vae": model.vae}
    node, line = NODES["SpacetimeSample"](), "can't read a Llama text encoder.*: it sees pictures with LLaVA: Hunyuan"
    with pytest.raises(ValueError, match=line):
        node.plan(model.dit, {"text_encoder": words}, None, latent, 0, 4, 4.0)
    node.plan(model.dit, {"text_encoder": model.text_encoder}, None, latent, 0, 4, 4.0)
    node.plan(load("HunyuanVideo").dit, {"text_encoder": words}, None, latent, 0, 4, 4.0)
