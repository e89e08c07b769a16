"""CogVideoX equals diffusers: 2B and 5B, text-, image- and video-to-video, and 1.5, which pairs latent frames."""

import pytest
import torch
from bench import grid, lively, load, picture, result, sample, save, stock, t5, tokenizer
from einops import rearrange

WIDTH, HEIGHT, FRAMES = 32, 32, 9
SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES}
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
            "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing"}  # fmt: skip


def parts(scheduler, scale=0.7, inverted=False, **shape):
    import diffusers

    torch.manual_seed(0)
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, time_embed_dim=16, text_embed_dim=32, num_layers=2,
        **{"sample_width": 6, "sample_height": 4, "sample_frames": 9, "in_channels": 4, "out_channels": 4, **shape},
    )  # fmt: skip
    vae = diffusers.AutoencoderKLCogVideoX(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2,
        scaling_factor=scale, invert_scale_latents=inverted,
    )  # fmt: skip
    return {
        "transformer": lively(transformer), "vae": lively(vae), "text_encoder": t5(), "tokenizer": tokenizer(226),
        "scheduler": getattr(diffusers, scheduler)(**SCHEDULE),
    }  # fmt: skip


ROTARY = {"use_rotary_positional_embeddings": True}
PAIRED = {**ROTARY, "patch_size_t": 2, "patch_bias": False}
IMAGE = {"in_channels": 8}
MODELS = {
    "CogVideoX-2B": ("CogVideoXPipeline", "CogVideoXDDIMScheduler", {"scale": 1.15258426}),
    "CogVideoX-5B": ("CogVideoXPipeline", "CogVideoXDPMScheduler", ROTARY),
    "CogVideoX-5B-I2V": ("CogVideoXImageToVideoPipeline", "CogVideoXDDIMScheduler", {**ROTARY, **IMAGE}),
    "CogVideoX1.5-5B": ("CogVideoXPipeline", "CogVideoXDPMScheduler", PAIRED),
    "CogVideoX1.5-5B-I2V": (
        "CogVideoXImageToVideoPipeline", "CogVideoXDPMScheduler",
        {**PAIRED, **IMAGE, "ofs_embed_dim": 16, "inverted": True},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pipelines(models_base):
    import diffusers

    made = {}

    def get(name):
        if name not in made:
            pipeline, scheduler, shape = MODELS[name]
            made[name] = save(getattr(diffusers, pipeline)(**parts(scheduler, **shape)), models_base, name)
        return made[name]

    return get


def raw(pipeline, latents, frames=FRAMES):
    """[B, T, C, H, W] without the frames 1.5 pads with, as the pipeline denormalises them."""
    latents = rearrange(latents, "b t c h w -> b c t h w")[:, :, -((frames - 1) // 4 + 1) :]
    return 1 / pipeline.vae_scaling_factor_image * latents


@pytest.mark.parametrize("name", ["CogVideoX-2B", "CogVideoX-5B", "CogVideoX1.5-5B"])
def test_text_to_video(pipelines, same, name):
    theirs = raw(pipelines(name), stock(pipelines(name), **SIZES))
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    same(name, "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs)


@pytest.mark.parametrize("name", ["CogVideoX-5B-I2V", "CogVideoX1.5-5B-I2V"])
def test_image_to_video(pipelines, same, hosted, name):
    image, pixels = picture(WIDTH, HEIGHT)
    theirs = raw(pipelines(name), stock(pipelines(name), image=image, **SIZES))
    model = load(name)
    canvas = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), "start", "cover", 1.0, pixels)[0]

    def free_cells(guidance):
        done = sample(model, canvas, guidance)["samples"]
        assert torch.equal(done[:, :, :1], canvas["samples"][:, :, :1])
        return done[:, :, 1:]

    same(name, "I2V", free_cells, theirs[:, :, 1:], "beside x")
    assert any("known cells go in beside x" in notice for notice in hosted.notices)


@pytest.mark.parametrize("name", ["CogVideoX-2B", "CogVideoX-5B"])
def test_video_to_video(pipelines, same, name):
    from diffusers import CogVideoXVideoToVideoPipeline

    text = pipelines(name)
    pipeline = CogVideoXVideoToVideoPipeline(**text.components)
    pipeline.set_progress_bar_config(disable=True)
    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(FRAMES)), strict=True)
    size = {"width": WIDTH, "height": HEIGHT}
    theirs = raw(text, stock(pipeline, video=list(images), strength=0.6, **size))
    model = load(name)
    canvas = {"samples": torch.cat(list(model.vae.encode_stream(pixels)), dim=2), "fps": 8.0}
    same(
        name, "V2V", lambda guidance: sample(model, canvas, guidance, denoise=0.6)["samples"], theirs,
        "all, noised to 0.6",
    )  # fmt: skip


def test_decoded_frames_are_the_pipelines(pipelines):
    pipeline, model = pipelines("CogVideoX-5B"), load("CogVideoX-5B")
    theirs = stock(pipeline, output_type="pt", **SIZES)[0].permute(0, 2, 3, 1)
    (images,) = result("DecodeImages", model.vae, sample(model, grid(model, WIDTH, HEIGHT, FRAMES)))
    assert torch.equal(images, theirs)


def test_a_solver_for_flow_models_is_refused_by_name(pipelines):
    pipelines("CogVideoX-2B")
    model = load("CogVideoX-2B")
    with pytest.raises(ValueError, match="'unipc' is for flow-matching models; this one's is CogVideoXDDIMScheduler"):
        sample(model, grid(model, WIDTH, HEIGHT, FRAMES), scheduler="unipc")


@pytest.mark.parametrize("frames", [5, 9])
def test_paired_latent_frames_make_any_length(pipelines, frames):
    pipelines("CogVideoX1.5-5B")
    model = load("CogVideoX1.5-5B")
    done = sample(model, grid(model, WIDTH, HEIGHT, frames), windows="overlapping", window=3)["samples"]
    assert done.shape[2] == (frames - 1) // 4 + 1 and done.isfinite().all()
