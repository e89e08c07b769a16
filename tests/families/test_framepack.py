"""FramePack and FramePack-F1 equal diffusers section by section; every canvas is made so."""

from types import SimpleNamespace

import pytest
import torch
from bench import GUIDANCE, NEGATIVE, NODES, PROMPT, SEED, STEPS, free_cells, grid, load, picture, result, sample
from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video_framepack
from spacetime_nodes.model_loaders.outlook import Wish, sampled

SIDE, CELLS, SECTION = 32, 4, 9  # pixels and latent cells a side, latent frames
ORDERS = {"FramePack": "inverted_anti_drifting", "FramePack-CFG": "inverted_anti_drifting", "FramePack-F1": "vanilla"}
KNOWN = "beside x"


@pytest.fixture
def theirs(pipelines, monkeypatch):
    """`theirs(name, sections, …)`: raw latents of the pipeline, each section's noise cut from that of the whole
    canvas of 1 + 9·sections latent frames (and `later` known ones), as ours is; it draws it section by section."""

    def run(name, sections, later=0, guidance=GUIDANCE, batch=1, **more):
        pipeline = pipelines(name)
        encode, see = pipeline.vae.encode, pipeline.encode_image
        noise = torch.randn(
            (batch, 4, 1 + SECTION * sections + later, CELLS, CELLS), generator=torch.Generator().manual_seed(SEED)
        )
        parts = list(noise[:, :, 1 : 1 + SECTION * sections].split(SECTION, dim=2))
        parts = iter(parts if ORDERS[name] == "vanilla" else parts[::-1])
        sizes = {"width": SIDE, "height": SIDE, "num_frames": 33 * sections}
        scales = {"guidance_scale": 1.0, "true_cfg_scale": guidance, "negative_prompt": NEGATIVE}
        if "CFG" not in name:
            scales = {"guidance_scale": guidance, "negative_prompt": None}
        words = {"prompt": PROMPT, "negative_prompt": scales["negative_prompt"]}
        words = {key: one and [one] * batch for key, one in words.items()} if batch > 1 else words
        told = {**scales, **sizes, **words, "num_inference_steps": STEPS, "output_type": "latent", **more}
        generator = torch.Generator().manual_seed(SEED)
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "prepare_latents", lambda *args, **more: next(parts).clone())
            patch.setattr(pipeline.vae, "encode", lambda x: of_mean(one_by_one(lambda one: encode(one).latents, x)))
            patch.setattr(pipeline, "encode_image", lambda x, device: one_by_one(see, x))
            made = pipeline(sampling_type=ORDERS[name], generator=generator, **told).frames[-1]
        assert next(parts, None) is None
        return made / pipeline.vae.config.scaling_factor

    return run


def of_mean(latents):
    """What an encoder says; a sample of it is its mean."""
    return SimpleNamespace(latent_dist=SimpleNamespace(sample=lambda generator: latents))


def one_by_one(encode, pictures):
    """In one batch, as the pipeline encodes two, they differ in the last bit."""
    return torch.cat([encode(one[None]) for one in pictures])


def begun(model, latent_frames, pixels):
    """A canvas of which the first frame is known."""
    canvas = grid(model, SIDE, SIDE, 4 * (latent_frames - 1) + 1)
    return result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, pixels)[0]


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("sections", [1, 3, 6])
def test_image_to_video(theirs, same, name, sections):
    """Six sections: farther from the picture than the model was trained to know."""
    image, pixels = picture(SIDE, SIDE)
    long = theirs(name, sections, image=image)
    model = load(name)
    run, free = free_cells(model, begun(model, 1 + SECTION * sections, pixels))
    mode = f"I2V, {sections} section{'s' if sections > 1 else ''}"
    assert same(name, mode, run, long[:, :, free], KNOWN) == 0.0


@pytest.mark.parametrize("name", ORDERS)
def test_two_at_once(theirs, same, name):
    image, pixels = picture(SIDE, SIDE)
    both = theirs(name, 2, batch=2, image=[image] * 2)
    model = load(name)
    canvas = grid(model, SIDE, SIDE, 4 * SECTION * 2 + 1, batch=2)
    run, free = free_cells(model, result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, pixels)[0])
    assert same(name, "I2V, two at once", run, both[:, :, free], KNOWN) == 0.0


def ended(model, sections, pixels, last_pixels):
    """A canvas whose last latent frame is known too: the picture alone, as the pipeline encodes it."""
    canvas, alone = begun(model, 2 + SECTION * sections, pixels), begun(model, 1, last_pixels)
    canvas = result("PlaceFrames", model.vae, canvas, "end", "cover", 1.0, last_pixels)[0]
    canvas["samples"][:, :, -1:], canvas["noise_mask"][:, :, -1:] = alone["samples"], 0
    return canvas


def test_first_and_last_frame(theirs, same):
    """The mean of what SigLIP sees of both is made there and not used, so here it sees the first."""
    (first, pixels), (last, last_pixels) = (picture(SIDE, SIDE, seed) for seed in (0, 1))
    video = theirs("FramePack", 1, 1, image=first, last_image=last)
    model = load("FramePack")
    run, free = free_cells(model, ended(model, 1, pixels, last_pixels))
    assert same("FramePack", "first-last, 1 section", run, video[:, :, 1:], KNOWN) == 0.0
    assert free.tolist() == [False, *[True] * SECTION, False]


def test_the_last_frame_is_history_for_every_section(pipelines, theirs, same, monkeypatch):
    """The pipeline forgets it after the section before it (diffusers 0.42), as if the video went on with nothing; here
    its history begins with it."""
    (first, pixels), (last, last_pixels) = (picture(SIDE, SIDE, seed) for seed in (0, 1))
    forgotten = theirs("FramePack", 3, 1, image=first, last_image=last)
    model = load("FramePack")
    canvas = ended(model, 3, pixels, last_pixels)
    known = canvas["samples"][:, :, -1:] * pipelines("FramePack").vae.config.scaling_factor

    class Remembers:
        def __getattr__(self, name):
            return getattr(torch, name)

        def zeros(self, *shape, **more):
            history = torch.zeros(*shape, **more)
            history[:, :, :1] = known
            return history

    monkeypatch.setattr(pipeline_hunyuan_video_framepack, "torch", Remembers())
    video = theirs("FramePack", 3, 1, image=first, last_image=last)
    run, _ = free_cells(model, canvas)
    assert same("FramePack", "first-last, 3 sections", run, video[:, :, 1:], KNOWN) == 0.0
    assert torch.equal(video[:, :, -SECTION:], forgotten[:, :, -SECTION:])
    assert (video - forgotten)[:, :, 1:-SECTION].abs().amax((0, 1, 3, 4)).min() > 1e-4


def test_the_plan_counts_every_pass(pipelines):
    pipelines("FramePack")
    model, seen = load("FramePack"), []
    canvas = begun(model, 24, picture(SIDE, SIDE)[1])
    hook = model.dit.adapter.transformer.register_forward_pre_hook(lambda *_: seen.append(1))
    try:
        sample(model, canvas)
    finally:
        hook.remove()
    way = sampled(model.dit, Wish(tuple(canvas["samples"].shape), 8.0, STEPS, GUIDANCE, known=True))
    assert len(seen) == way.steps * way.views * way.predictions == 3 * STEPS
    assert way.in_pass == 40 < way.tokens  # 8 of 24 latent frames of 4 tokens, and their past


@pytest.mark.parametrize(
    ("name", "order"), [("FramePack", "the end to the start"), ("FramePack-F1", "the start to the")]
)
def test_the_order_is_said_and_overlapping_windows_are_refused(pipelines, hosted, name, order):
    pipelines(name)
    model = load(name)
    canvas = grid(model, SIDE, SIDE, 61)
    sample(model, canvas)
    assert any(f"sections of up to 9 latent frames, one after another from {order}" in line for line in hosted.notices)
    node, told = NODES["SpacetimeSample"](), {"shape": [1, 4, 16, CELLS, CELLS], "fps": 8.0, "vae": model.vae}
    line = "section by section; windows auto or autoregressive would be right"
    with pytest.raises(ValueError, match=line):
        sample(model, canvas, windows="overlapping")
    with pytest.raises(ValueError, match=line):
        node.plan(model.dit, {}, {}, told, 0, STEPS, GUIDANCE, windows="overlapping")
