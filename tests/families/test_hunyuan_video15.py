"""HunyuanVideo 1.5 equals diffusers: Qwen2.5-VL, letters in quotes, the first frame beside x and through SigLIP."""

from functools import partial

import pytest
import torch
from bench import GUIDANCE, NEGATIVE, SEED, STEPS, grid, load, picture, result
from diffusers import ClassifierFreeGuidance

SIDE, FRAMES = 64, 9
PROMPT = 'a red circle moves right, "fast" on a gray square'


def stock(pipeline, guider=ClassifierFreeGuidance, **more):
    """Its guider holds the guidance."""
    pipeline.guider = guider(guidance_scale=GUIDANCE)
    settings = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": STEPS, "num_frames": FRAMES,
                "output_type": "latent"}  # fmt: skip
    generator = torch.Generator().manual_seed(SEED)
    return pipeline(**{**settings, **more}, generator=generator).frames


def sample(model, canvas, guidance=GUIDANCE, prompt=PROMPT, guider="cfg"):
    prompts = result("EncodePrompt", model.text_encoder, prompt, NEGATIVE)
    return result("Sample", model.dit, *prompts, canvas, SEED, STEPS, guidance, "auto", guider=guider)[0]


@pytest.mark.parametrize(
    ("mode", "frames", "count"), [("T2V", FRAMES, 1), ("T2I", 1, 1), ("T2V, two at once", FRAMES, 2)]
)
def test_text_to_video(pipelines, same, mode, frames, count):
    pipeline, told = pipelines("HunyuanVideo-1.5-T2V"), {"width": SIDE, "height": SIDE, "num_frames": frames}
    prompts = {"prompt": [PROMPT] * count, "negative_prompt": [NEGATIVE] * count}
    theirs = stock(pipeline, **prompts, **told) / pipeline.vae.config.scaling_factor
    model = load("HunyuanVideo-1.5-T2V")
    canvas = grid(model, SIDE, SIDE, frames, batch=count)
    assert same("HunyuanVideo 1.5", mode, lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


@pytest.mark.parametrize("guider", ["cfg-zero*", "apg", "tangential cfg"])
def test_other_guiders(pipelines, same, monkeypatch, guider):
    """Its pipeline takes any of diffusers' guiders. What apg limits, these small latents don't reach but with less."""
    import diffusers
    from spacetime_nodes.spacetime.names import GUIDERS

    limited = partial(diffusers.guiders.AdaptiveProjectedGuidance, adaptive_projected_guidance_rescale=0.1)
    monkeypatch.setattr(diffusers.guiders, "AdaptiveProjectedGuidance", limited)
    pipeline = pipelines("HunyuanVideo-1.5-T2V")
    kind = getattr(diffusers.guiders, GUIDERS[guider])
    theirs = stock(pipeline, kind, width=SIDE, height=SIDE) / pipeline.vae.config.scaling_factor
    model = load("HunyuanVideo-1.5-T2V")
    canvas = grid(model, SIDE, SIDE, FRAMES)
    run = lambda guidance: sample(model, canvas, guidance, guider=guider)["samples"]  # noqa: E731
    assert same("HunyuanVideo 1.5", f"T2V, {guider}", run, theirs) == 0.0


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
