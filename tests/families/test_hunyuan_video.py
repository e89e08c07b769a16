"""HunyuanVideo text-to-video equals diffusers: Llama and CLIP, guidance that the model is told."""

import pytest
import torch
from bench import PROMPT, grid, load, result, sample, stock

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
