"""HunyuanVideo 1.5 equals diffusers: Qwen2.5-VL, letters in quotes, the first frame beside x and through SigLIP."""

import pytest
import torch
from bench import GUIDANCE, NEGATIVE, SEED, STEPS, grid, load, picture, result

SIDE, FRAMES = 64, 9
PROMPT = 'a red circle moves right, "fast" on a gray square'


def stock(pipeline, **more):
    """Its guider holds the guidance."""
    from diffusers import ClassifierFreeGuidance

    pipeline.guider = ClassifierFreeGuidance(guidance_scale=GUIDANCE)
    settings = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": STEPS, "num_frames": FRAMES,
                "output_type": "latent"}  # fmt: skip
    generator = torch.Generator().manual_seed(SEED)
    return pipeline(**{**settings, **more}, generator=generator).frames


def sample(model, canvas, guidance=GUIDANCE, prompt=PROMPT):
    prompts = result("EncodePrompt", model.text_encoder, prompt, NEGATIVE)
    return result("Sample", model.dit, *prompts, canvas, SEED, STEPS, guidance, "auto")[0]


def test_text_to_video(pipelines, same):
    pipeline = pipelines("HunyuanVideo-1.5-T2V")
    theirs = stock(pipeline, width=SIDE, height=SIDE) / pipeline.vae.config.scaling_factor
    model = load("HunyuanVideo-1.5-T2V")
    canvas = grid(model, SIDE, SIDE, FRAMES)
    assert same("HunyuanVideo 1.5", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


@pytest.mark.parametrize(("name", "mode"), [("I2V", "I2V"), ("I2V-distilled", "I2V, step-distilled")])
def test_image_to_video(pipelines, same, hosted, name, mode):
    pipeline, (image, pixels) = pipelines(f"HunyuanVideo-1.5-{name}"), picture(SIDE, SIDE)
    theirs = stock(pipeline, image=image) / pipeline.vae.config.scaling_factor
    model = load(f"HunyuanVideo-1.5-{name}")
    canvas = result("PlaceFrames", model.vae, grid(model, SIDE, SIDE, FRAMES), "start", "cover", 1.0, pixels)[0]

    def free_cells(guidance):
        done = sample(model, canvas, guidance)["samples"]
        assert torch.equal(done[:, :, :1], canvas["samples"][:, :, :1])
        return done[:, :, 1:]

    assert same("HunyuanVideo 1.5", mode, free_cells, theirs[:, :, 1:], "beside x") == 0.0
    assert any("beside x where they are the first frame" in notice for notice in hosted.notices)


def test_letters_in_quotes_are_read_by_themselves(pipelines):
    pipelines("HunyuanVideo-1.5-T2V")
    model = load("HunyuanVideo-1.5-T2V")
    quoted, plain = (model.text_encoder.encode(text)[1] for text in (PROMPT, PROMPT.replace('"', "")))
    assert quoted["attention_mask_2"].sum() > 4 and not plain["attention_mask_2"].any()
    canvas = grid(model, SIDE, SIDE, FRAMES)
    blind = sample(model, canvas, prompt=PROMPT.replace('"', ""))["samples"]
    assert (sample(model, canvas)["samples"] - blind).abs().max() > 1e-4


def test_decoded_frames_are_the_pipelines(pipelines):
    pipeline, model = pipelines("HunyuanVideo-1.5-T2V"), load("HunyuanVideo-1.5-T2V")
    theirs = stock(pipeline, width=SIDE, height=SIDE, output_type="pt")[0].permute(0, 2, 3, 1)
    (images,) = result("DecodeImages", model.vae, sample(model, grid(model, SIDE, SIDE, FRAMES)))
    assert torch.equal(images, theirs)
