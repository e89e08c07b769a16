"""FramePack and FramePack-F1 equal diffusers section by section; every canvas is made so."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from bench import GUIDANCE, NEGATIVE, NODES, PROMPT, SEED, STEPS, free_cells, grid, load, picture, result, sample
from clips import video_of
from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video_framepack
from spacetime_nodes.model_loaders.outlook import Wish, sampled

SIDE, CELLS, SECTION = 32, 4, 9  # pixels and latent cells a side, latent frames
ORDERS = {"FramePack": "inverted_anti_drifting", "FramePack-CFG": "inverted_anti_drifting", "FramePack-F1": "vanilla"}
KNOWN = "beside x"


@pytest.fixture
def theirs(pipelines, monkeypatch):
    """`theirs(name, sections, …)`: raw latents of the pipeline, each section's noise cut from that of the whole
    canvas of 1 + size·sections latent frames (and `later` known ones), as ours is; it draws it section by section."""

    def run(name, sections, later=0, guidance=GUIDANCE, batch=1, size=SECTION, **more):
        pipeline = pipelines(name)
        encode, see = pipeline.vae.encode, pipeline.encode_image
        noise = torch.randn(
            (batch, 4, 1 + size * sections + later, CELLS, CELLS), generator=torch.Generator().manual_seed(SEED)
        )
        parts = list(noise[:, :, 1 : 1 + size * sections].split(size, dim=2))
        parts = iter(parts if ORDERS[name] == "vanilla" else parts[::-1])
        frames = (4 * size - 3) * sections
        sizes = {"width": SIDE, "height": SIDE, "num_frames": frames, "latent_window_size": size}
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


@pytest.mark.parametrize("name", ["FramePack", "FramePack-F1"])
def test_smaller_sections(theirs, same, name):
    """`latent_window_size` is Sample's window."""
    image, pixels = picture(SIDE, SIDE)
    long = theirs(name, 6, size=4, image=image)
    model = load(name)
    run, free = free_cells(model, begun(model, 25, pixels), window=4)
    assert same(name, "I2V, 6 sections of 4", run, long[:, :, free], KNOWN) == 0.0


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
    assert way.in_pass == 41 < way.tokens  # 8 of 24 latent frames of 4 tokens, and their past


@pytest.mark.parametrize(("name", "order"), [("FramePack", "end to the start"), ("FramePack-F1", "start to the end")])
def test_the_order_is_said_and_overlapping_windows_are_refused(pipelines, hosted, name, order):
    pipelines(name)
    model = load(name)
    canvas = grid(model, SIDE, SIDE, 61)
    sample(model, canvas)
    assert any(
        f"sections of up to 9 latent frames, one after another from the {order}" in line for line in hosted.notices
    )
    sample(model, canvas, overlap=2)
    assert "overlap is for windows; sections of this model share no latent frames" in hosted.notices
    node, told = NODES["SpacetimeSample"](), {"shape": [1, 4, 16, CELLS, CELLS], "fps": 8.0, "vae": model.vae}
    line = "section by section; windows auto or autoregressive would be right"
    with pytest.raises(ValueError, match=line):
        sample(model, canvas, windows="overlapping")
    with pytest.raises(ValueError, match=line):
        node.plan(model.dit, None, None, told, 0, STEPS, GUIDANCE, windows="overlapping")


def test_a_tile_sees_its_part_of_the_past(pipelines, monkeypatch):
    pipelines("FramePack")
    model, seen = load("FramePack"), []
    monkeypatch.setattr(model.dit, "config", replace(model.dit.config, trained_cells=(SECTION, CELLS, CELLS)))
    canvas = grid(model, 2 * SIDE, SIDE, 61)
    canvas = result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, picture(2 * SIDE, SIDE)[1])[0]
    first = model.dit.adapter.normalise(canvas["samples"][0, :, 0])
    tiles = [first[..., at : at + CELLS] for at in (0, 2, 4)]

    def keep(_, args, more):
        clean, fours = more["latents_clean"][0, :, 0].cpu(), more["latents_history_4x"]
        (at,) = (at for at, tile in enumerate(tiles) if torch.equal(clean, tile))
        seen.append((at, fours.shape[-1], bool(fours.any())))

    hook = model.dit.adapter.transformer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        sample(model, canvas)
    finally:
        hook.remove()
    assert seen == [(at, CELLS, later) for later in (False, True) for _ in range(STEPS) for at in range(3)]


def test_what_lies_between_is_made_from_its_end_knowing_both_sides(pipelines):
    """Connecting two clips: the section next to the second one sees it, and the last frame of the first one."""
    pipelines("FramePack")
    model, seen = load("FramePack"), []
    shots = [video_of(frames, SIDE, seed=seed)[0] for seed, frames in enumerate((17, 17))]
    canvas = result("Connect", model.vae, grid(model, SIDE, SIDE, 17), 6.0, 0.0, "cover", *shots)[0]
    known = canvas["noise_mask"][0, 0, :, 0, 0] == 0
    first, last = (~known).nonzero()[:, 0][[0, -1]].tolist()
    latent = model.dit.adapter.normalise(canvas["samples"])
    hook = model.dit.adapter.transformer.register_forward_pre_hook(
        lambda _, args, more: seen.append((more["latents_clean"].cpu(), more["indices_latents"][0].item())),
        with_kwargs=True,
    )
    try:
        done = model.dit.adapter.normalise(sample(model, canvas)["samples"])
    finally:
        hook.remove()
    sections = -(-(last + 1 - first) // SECTION)
    assert len(seen) == sections * STEPS and sections > 1
    for i, (clean, at) in enumerate(seen[::STEPS]):
        begin = first + (last + 1 - first) * (sections - 1 - i) // sections
        after = first + (last + 1 - first) * (sections - i) // sections
        there = latent if i == 0 else done
        assert torch.equal(clean[:, :, 0], latent[:, :, first - 1]) and at == 1 + begin - first
        assert torch.allclose(clean[:, :, 1], there[:, :, after], atol=1e-6)


def test_a_loop_longer_than_a_section_runs(pipelines):
    pipelines("FramePack")
    model = load("FramePack")
    ring = result("Loop", model.vae, grid(model, SIDE, SIDE, 97), 1.0, 0.0, "cover")[0]
    done = sample(model, ring)
    assert done["samples"].shape[2] == 24 and done["samples"].isfinite().all()
