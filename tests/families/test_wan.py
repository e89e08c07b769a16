"""Wan equals diffusers: 2.1 text-, image- and first-last-frame-to-video, the two experts of 2.2 A14B, VACE.

(TI2V, whose tokens have times of their own, is pocket's shape: tests/test_parity.py.)
"""

import pytest
import torch
from bench import grid, lively, load, picture, result, sample, save, stock, tokenizer, umt5

WIDTH, HEIGHT, FRAMES, CLIP = 32, 32, 9, 32
SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES, "max_sequence_length": 16}


def transformer(seed=0, kind="WanTransformer3DModel", **shape):
    import diffusers

    torch.manual_seed(seed)
    return lively(
        getattr(diffusers, kind)(
            num_attention_heads=2, attention_head_dim=16, text_dim=32, freq_dim=32, ffn_dim=64, num_layers=2,
            **{"in_channels": 4, "out_channels": 4, **shape},
        ),
        seed,
    )  # fmt: skip


def parts(transformer):
    import diffusers

    torch.manual_seed(0)
    statistics = {"latents_mean": torch.randn(4).tolist(), "latents_std": (torch.rand(4) + 0.5).tolist()}
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        **statistics,
    )  # fmt: skip
    return {
        "transformer": transformer, "vae": lively(vae), "text_encoder": umt5(), "tokenizer": tokenizer(16),
        "scheduler": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    }  # fmt: skip


def clip():
    """A CLIP image encoder and what prepares for it."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes = {"hidden_size": CLIP, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    encoder = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=32, patch_size=16))
    side = {"height": 32, "width": 32}
    return {"image_encoder": lively(encoder), "image_processor": CLIPImageProcessor(size=side, crop_size=side)}


SEES = {"in_channels": 12, "image_dim": CLIP, "added_kv_proj_dim": 32}


@pytest.fixture(scope="module")
def pipelines(models_base):
    import diffusers

    made = {}
    make = {
        "Wan2.1-T2V": lambda: diffusers.WanPipeline(**parts(transformer())),
        "Wan2.1-I2V": lambda: diffusers.WanImageToVideoPipeline(**parts(transformer(**SEES)), **clip()),
        "Wan2.1-FLF2V": lambda: diffusers.WanImageToVideoPipeline(
            **parts(transformer(**SEES, pos_embed_seq_len=10)), **clip()
        ),
        "Wan2.2-T2V-A14B": lambda: diffusers.WanPipeline(
            **parts(transformer()), transformer_2=transformer(5), boundary_ratio=0.875
        ),
        "Wan2.2-I2V-A14B": lambda: diffusers.WanImageToVideoPipeline(
            **parts(transformer(in_channels=12)), transformer_2=transformer(5, in_channels=12), boundary_ratio=0.9
        ),
        "Wan2.1-VACE": lambda: diffusers.WanVACEPipeline(
            **parts(transformer(kind="WanVACETransformer3DModel", vace_layers=[0], vace_in_channels=72))
        ),
    }

    def get(name):
        if name not in made:
            made[name] = save(make[name](), models_base, name)
        return made[name]

    return get


def raw(pipeline, latents):
    """As WanPipeline denormalises before decoding."""
    mean = torch.tensor(pipeline.vae.config.latents_mean).view(1, -1, 1, 1, 1)
    return latents / (1.0 / torch.tensor(pipeline.vae.config.latents_std).view(1, -1, 1, 1, 1)) + mean


def placed(model, *times, seeds=(0, 1)):
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    for time, seed in zip(times, seeds, strict=False):
        canvas = result("PlaceFrames", model.vae, canvas, time, "cover", 1.0, picture(WIDTH, HEIGHT, seed)[1])[0]
    return canvas


def free_cells(model, canvas):
    """guidance → the free latent frames; the known ones are as they were placed."""
    known = canvas["noise_mask"][0, 0, :, 0, 0] == 0

    def run(guidance):
        done = sample(model, canvas, guidance)["samples"]
        assert torch.equal(done[:, :, known], canvas["samples"][:, :, known])
        return done[:, :, ~known]

    return run, ~known


@pytest.mark.parametrize("name", ["Wan2.1-T2V", "Wan2.2-T2V-A14B"])
def test_text_to_video(pipelines, same, name):
    theirs = raw(pipelines(name), stock(pipelines(name), **SIZES))
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    same(name, "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs)


def test_both_experts_have_their_part(pipelines):
    pipelines("Wan2.2-T2V-A14B")
    model = load("Wan2.2-T2V-A14B")
    high, low = model.dit.adapter.experts
    seen = []
    for name, expert in (("high", high), ("low", low)):
        expert.register_forward_pre_hook(lambda *_, name=name, **__: seen.append(name), with_kwargs=True)
    sample(model, grid(model, WIDTH, HEIGHT, FRAMES), 1.0)
    assert seen == sorted(seen) and set(seen) == {"high", "low"}


@pytest.mark.parametrize("name", ["Wan2.1-I2V", "Wan2.2-I2V-A14B"])
def test_image_to_video(pipelines, same, hosted, name):
    image, _ = picture(WIDTH, HEIGHT)
    theirs = raw(pipelines(name), stock(pipelines(name), image=image, **SIZES))
    model = load(name)
    run, free = free_cells(model, placed(model, "start"))
    same(name, "I2V", run, theirs[:, :, free], "beside x")
    assert any("known cells go in beside x, as pixels" in notice for notice in hosted.notices)


@pytest.mark.parametrize("name", ["Wan2.1-FLF2V", "Wan2.2-I2V-A14B"])
def test_first_and_last_frame(pipelines, same, name):
    first, last = (picture(WIDTH, HEIGHT, seed)[0] for seed in (0, 1))
    theirs = raw(pipelines(name), stock(pipelines(name), image=first, last_image=last, **SIZES))
    model = load(name)
    run, free = free_cells(model, placed(model, "start", "end"))
    same(name, "first-last", run, theirs[:, :, free], "beside x")


def test_a_clip_read_without_its_pixels_still_keeps_its_cells(pipelines):
    """As from a .latent file: the cells stand for the frames they hold."""
    pipelines("Wan2.1-I2V")
    model = load("Wan2.1-I2V")
    canvas = {key: value for key, value in placed(model, "start").items() if key not in ("encoder", "shown")}
    done = sample(model, canvas)["samples"]
    assert torch.equal(done[:, :, :1], canvas["samples"][:, :, :1]) and done.isfinite().all()


def test_VACE_text_to_video(pipelines, same):
    theirs = raw(pipelines("Wan2.1-VACE"), stock(pipelines("Wan2.1-VACE"), **SIZES))
    model = load("Wan2.1-VACE")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    same("Wan2.1-VACE", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs)


def test_VACE_first_and_last_frame(pipelines, same):
    video, mask = torch.full((FRAMES, 3, HEIGHT, WIDTH), 0.5), torch.ones(FRAMES, 3, HEIGHT, WIDTH)
    for at, seed in ((0, 0), (-1, 1)):
        video[at], mask[at] = picture(WIDTH, HEIGHT, seed)[1][0].permute(2, 0, 1), 0
    theirs = raw(pipelines("Wan2.1-VACE"), stock(pipelines("Wan2.1-VACE"), video=[*video], mask=[*mask], **SIZES))
    model = load("Wan2.1-VACE")
    run, free = free_cells(model, placed(model, "start", "end"))
    same("Wan2.1-VACE", "first-last", run, theirs[:, :, free], "beside x")
