"""diffusers is the oracle: same weights, same seed → the same latents as its own pipelines, difference 0.0."""

import numpy as np
import pytest
import torch
from PIL import Image

PROMPT = "red circle moving right on a black background"
WIDTH, HEIGHT, FRAMES, STEPS, SEED = 80, 48, 9, 5, 7


@pytest.fixture(scope="module")
def prompts(nodes, pocket):
    return nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, PROMPT, "blurry")


@pytest.fixture(scope="module")
def grid(nodes, pocket):
    run = nodes["SpacetimeGrid"]().run
    return run(pocket.dit, pocket.vae, "custom", 0, WIDTH, HEIGHT, 0.0, 8.0, FRAMES, 1)["result"][0]


def scheduler(name):
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    if name == "euler":
        return FlowMatchEulerDiscreteScheduler(shift=3.0)
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def ours(nodes, pocket, prompts, latent, name, guidance, denoise=1.0, evaluation="auto"):
    return nodes["SpacetimeSample"]().run(
        pocket.dit, *prompts, latent, SEED, STEPS, guidance, name, 3.0, denoise, "cfg", evaluation, False
    )[0]["samples"]


def run_stock(pipeline, guidance, **more):
    latents = pipeline(
        prompt=PROMPT, negative_prompt="blurry", width=WIDTH, height=HEIGHT, num_inference_steps=STEPS,
        guidance_scale=guidance, max_sequence_length=64, generator=torch.Generator().manual_seed(SEED),
        output_type="latent", **more,
    ).frames  # fmt: skip
    return raw(pipeline, latents)


def raw(pipeline, latents):
    """As WanPipeline denormalises before decoding."""
    mean = torch.tensor(pipeline.vae.config.latents_mean).view(1, -1, 1, 1, 1)
    inverse_std = 1.0 / torch.tensor(pipeline.vae.config.latents_std).view(1, -1, 1, 1, 1)
    return latents / inverse_std + mean


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("name", ["euler", "unipc"])
def test_text_to_video_equals_WanPipeline_bit_for_bit(nodes, pocket, stock, prompts, grid, name, guidance):
    stock.scheduler = scheduler(name)
    theirs = run_stock(stock, guidance, num_frames=FRAMES)
    assert (ours(nodes, pocket, prompts, grid, name, guidance) - theirs).abs().max() == 0.0
    if guidance > 1:  # 2 % more guidance is no longer the same video
        assert (ours(nodes, pocket, prompts, grid, name, guidance * 1.02) - theirs).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["euler", "unipc"])
def test_a_known_first_frame_equals_WanImageToVideoPipeline(nodes, pocket, stock, prompts, grid, name):
    from diffusers import WanImageToVideoPipeline

    parts = {key: getattr(stock, key) for key in ("tokenizer", "text_encoder", "vae", "transformer")}
    pipeline = WanImageToVideoPipeline(**parts, scheduler=scheduler(name), expand_timesteps=True)
    pipeline.set_progress_bar_config(disable=True)
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    theirs = run_stock(pipeline, 4.0, image=image, num_frames=FRAMES)

    pixels = pipeline.video_processor.preprocess(image, height=HEIGHT, width=WIDTH).unsqueeze(2)
    first = pocket.vae.module.encode(pixels).latent_dist.mode()  # [1, C, 1, H, W]
    samples = torch.zeros_like(grid["samples"])
    samples[:, :, :1] = first
    mask = torch.ones_like(samples[:, :1])
    mask[:, :, 0] = 0
    latents = ours(nodes, pocket, prompts, {"samples": samples, "noise_mask": mask}, name, 4.0)

    assert (latents - theirs)[:, :, 1:].abs().max() == 0.0
    assert torch.equal(latents[:, :, :1], first)  # the source itself; theirs went through normalising and back
    assert torch.allclose(theirs[:, :, :1], first, atol=1e-6)


@pytest.mark.parametrize("name", ["euler", "unipc"])
def test_partial_denoise_equals_WanVideoToVideoPipeline(nodes, pocket, stock, prompts, grid, name, monkeypatch):
    """Also the families with one scalar timestep: that pipeline gives the transformer one."""
    from diffusers import WanVideoToVideoPipeline

    parts = {key: getattr(stock, key) for key in ("tokenizer", "text_encoder", "vae", "transformer")}
    pipeline = WanVideoToVideoPipeline(**parts, scheduler=scheduler(name))
    pipeline.vae_scale_factor_spatial = 8  # diffusers 0.42 guesses it from the number of stages, patches aside
    pipeline.set_progress_bar_config(disable=True)
    pixels = np.random.RandomState(0).randint(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    video = [Image.fromarray(frame) for frame in pixels]
    theirs = run_stock(pipeline, 4.0, video=video, strength=0.6)

    tensor = pipeline.video_processor.preprocess_video(video, height=HEIGHT, width=WIDTH)
    source = pocket.vae.module.encode(tensor).latent_dist.mode()
    monkeypatch.setattr(pocket.dit.adapter, "per_token_time", False)
    assert (ours(nodes, pocket, prompts, {"samples": source}, name, 4.0, 0.6) - theirs).abs().max() == 0.0


def test_both_prompts_in_one_batch_give_the_same_video(nodes, pocket, prompts, grid):
    """To a tenth of an 8-bit step: a batch adds up in another order, and guided steps amplify the last bit."""
    one, two = (ours(nodes, pocket, prompts, grid, "unipc", 4.0, evaluation=way) for way in ("batched", "two passes"))
    one, two = (torch.cat(list(pocket.vae.decode_stream(latent))) for latent in (one, two))
    assert (one - two).abs().max() < 0.1 / 255


def test_a_batch_is_WanPipelines_batch(nodes, pocket, stock, prompts):
    """One generator draws the noise of all its videos, there and here."""
    run = nodes["SpacetimeGrid"]().run
    grid = run(pocket.dit, pocket.vae, "custom", 0, WIDTH, HEIGHT, 0.0, 8.0, 5, 2)["result"][0]
    stock.scheduler = scheduler("euler")
    theirs = run_stock(stock, 4.0, num_frames=5, num_videos_per_prompt=2)
    assert (ours(nodes, pocket, prompts, grid, "euler", 4.0) - theirs).abs().max() == 0.0


def test_prompts_are_encoded_as_WanPipeline_encodes_them(pocket, stock):
    for text in ["", PROMPT, "  Red&amp;blue\n\ncircle ", "<b> red&amp;amp;blue", "circle " * 200]:
        with torch.no_grad():
            theirs, _ = stock.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=64)
        embeddings, more = pocket.text_encoder.encode(text)
        assert torch.equal(embeddings, theirs)
        assert more["attention_mask"].shape == (1, 64)


def test_decoded_frames_equal_WanPipelines(nodes, pocket, stock, prompts, grid):
    stock.scheduler = scheduler("euler")
    theirs = stock(
        prompt=PROMPT, negative_prompt="blurry", width=WIDTH, height=HEIGHT, num_frames=FRAMES,
        num_inference_steps=2, max_sequence_length=64, generator=torch.Generator().manual_seed(SEED), output_type="pt",
        guidance_scale=4.0,
    ).frames[0].permute(0, 2, 3, 1)  # fmt: skip
    latent = nodes["SpacetimeSample"]().run(pocket.dit, *prompts, grid, SEED, 2, 4.0, "euler", 3.0)[0]
    (images,) = nodes["SpacetimeDecodeImages"]().run(pocket.vae, latent)
    assert torch.equal(images, theirs)
