"""Cosmos-Transfer2.5 equals diffusers: it follows a control video, in one chunk and in several."""

import json
import os
import shutil
from copy import deepcopy
from types import SimpleNamespace

import loras
import pytest
import torch
from bench import GUIDANCE, NEGATIVE, PROMPT, SEED, STEPS, free_cells, grid, load, picture, result, sample, stock
from diffusers.models.controlnets import controlnet_cosmos
from diffusers.models.transformers import transformer_cosmos
from spacetime_nodes.model_loaders import offload
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, read_json
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.nodes.plan import SpacetimePlan
from test_cosmos import TORCHVISION
from test_flops import CPU_ATTENTION
from torch.utils.flop_counter import FlopCounterMode

NAME, FAMILY = "Cosmos2.5-Transfer", "Cosmos-Transfer2.5"
WIDTH, HEIGHT, FRAMES = 32, 32, 9
LATENT_FRAMES = (FRAMES - 1) // 4 + 1


def clip(count=FRAMES, first=0):
    """As PIL images and as IMAGE."""
    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(first, first + count)), strict=True)
    return list(images), torch.cat(pixels)


def controlled(model, canvas, images, strength=1.0, time="start"):
    return result("ControlVideo", model.vae, canvas, time, "cover", strength, images=images)[0]


def raw(pipeline, latents):
    return latents * pipeline.latents_std + pipeline.latents_mean


@pytest.fixture
def theirs(pipelines):
    """`theirs(controls, **more)`: what the pipeline makes, raw, resizing its mask of zeros as in test_cosmos.py."""

    def run(controls, **more):
        pipeline = pipelines(NAME)
        with pytest.MonkeyPatch.context() as patch:
            for module in (transformer_cosmos, controlnet_cosmos):
                patch.setattr(module, "transforms", TORCHVISION, raising=False)
            sizes = {"width": WIDTH, "height": HEIGHT, "num_frames_per_chunk": FRAMES}
            return raw(pipeline, stock(pipeline, controls=controls, **{**sizes, **more}))

    return run


@pytest.mark.parametrize(("mode", "frames", "count", "strength"), [
    ("control video", FRAMES, 1, 1.0), ("control video, strength 0.5", FRAMES, 1, 0.5),
    ("control video, two at once", FRAMES, 2, 1.0), ("T2V", FRAMES, 1, 0.0),
])  # fmt: skip
def test_control_video(theirs, same, mode, frames, count, strength):
    """Without one it is what the pipeline makes of any at strength 0."""
    images, pixels = clip(frames)
    prompts = {"prompt": [PROMPT] * count, "negative_prompt": [NEGATIVE] * count}
    expected = theirs(images, controls_conditioning_scale=strength, **prompts)
    model = load(NAME)
    canvas = grid(model, WIDTH, HEIGHT, frames, batch=count)
    if strength:
        canvas = controlled(model, canvas, pixels, strength)
    assert same(FAMILY, mode, lambda guidance: sample(model, canvas, guidance)["samples"], expected) == 0.0


def as_pictures(decode):
    """A chunk's frames as an image holds them: the pipeline encodes its floats again as they came, beyond black and
    white too."""

    def pictured(*args, **more):
        frames = decode(*args, **more)[0]
        return ((frames * 0.5 + 0.5).clamp(0, 1) * 2 - 1,)

    return pictured


@pytest.mark.parametrize("known", [1, 5])
def test_a_chunk_goes_on_from_the_frames_of_the_last(theirs, pipelines, same, monkeypatch, known):
    """As the pipeline makes a long video: sampled, decoded, and the last frames placed on the next canvas. Noise that
    it is given it takes for every chunk."""
    vae = pipelines(NAME).vae
    monkeypatch.setattr(vae, "decode", as_pictures(vae.decode))
    images, pixels = clip(2 * FRAMES - known)
    noise = torch.randn(1, 4, LATENT_FRAMES, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(SEED))
    expected = theirs(images, latents=noise, num_ar_conditional_frames=known)
    model = load(NAME)
    begun = sample(model, controlled(model, grid(model, WIDTH, HEIGHT, FRAMES), pixels[:FRAMES]))
    assert torch.equal(begun["samples"], expected[:, :, :LATENT_FRAMES])
    last = result("DecodeImages", model.vae, begun)[0][-known:]
    canvas = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES), "start", "cover", 1.0, last)[0]
    run, _ = free_cells(model, controlled(model, canvas, pixels[-FRAMES:]))
    mode = f"control video, from {known} known frame{'s' * (known > 1)}"
    assert same(FAMILY, mode, run, expected[:, :, LATENT_FRAMES:], "clean, at time 0.1") == 0.0


@pytest.mark.parametrize("shared", [1, 2])
def test_windows(theirs, pipelines, same, shared):
    """One window's last latent frames are the next one's first as they are, and the control video's are those that a
    whole video has there. The pipeline decodes and encodes both anew, and draws noise chunk by chunk: here it doesn't.
    """
    pipeline, length, chunks = pipelines(NAME), 4, []
    total = 2 * length - shared
    images, pixels = clip(4 * (total - 1) + 1)
    noise = torch.randn(1, 4, total, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(SEED))
    course = pipeline.vae.encode(pipeline.video_processor.preprocess_video(images, HEIGHT, WIDTH)).latents
    prepare, encode = pipeline.prepare_latents, pipeline.vae.encode

    def part():
        first = (length - shared) * len(chunks)
        return slice(first, first + length)

    with pytest.MonkeyPatch.context() as patch:

        def prepared(**asked):
            patch.setattr(pipeline.vae, "encode", encode)
            latents, known, *more = prepare(**{**asked, "latents": noise[:, :, part()]})
            patch.setattr(pipeline.vae, "encode", lambda x: SimpleNamespace(latents=course[:, :, part()]))
            if chunks:
                known[:, :, :shared] = chunks[-1][:, :, -shared:]
            return latents, known, *more

        def ended(pipe, i, t, made):
            if i == STEPS - 1:
                chunks.append(made["latents"])
            return made

        patch.setattr(pipeline, "prepare_latents", prepared)
        chunked = {"num_frames_per_chunk": 4 * (length - 1) + 1, "num_ar_latent_conditional_frames": shared}
        expected = theirs(images, **chunked, num_ar_conditional_frames=None, callback_on_step_end=ended)
    assert len(chunks) == 2
    model = load(NAME)
    canvas = controlled(model, grid(model, WIDTH, HEIGHT, len(pixels)), pixels)
    seen = {"windows": "autoregressive", "window": length, "overlap": shared}
    run = lambda guidance: sample(model, canvas, guidance, **seen)["samples"]  # noqa: E731
    mode = f"control video, windows that share {shared}"
    assert same(FAMILY, mode, run, expected, "clean, at time 0.1") == 0.0


def test_nothing_is_added_where_no_control_video_lies(pipelines):
    pipelines(NAME)
    model, given = load(NAME), []
    canvas = controlled(model, grid(model, WIDTH, HEIGHT, 17), clip(4)[1], time="1.125")  # frames 9 to 12 of 17
    hook = lambda module, args, kwargs: given.append(kwargs["block_controlnet_hidden_states"])  # noqa: E731
    handle = model.dit.adapter.transformer.register_forward_pre_hook(hook, with_kwargs=True)
    sample(model, canvas, 1.0)
    (first, second), *_ = given
    for one in (first, second):
        by_frame = one.unflatten(1, (5, -1)).abs().amax((0, 2, 3)) > 0
        assert by_frame.tolist() == [False, False, False, True, False]
    given.clear()
    sample(model, canvas, 1.0, windows="autoregressive", window=3, overlap=1)
    assert [one is None for one in given] == [True] * 4 + [False] * 4
    given.clear()
    sample(model, grid(model, WIDTH, HEIGHT, 17), 1.0)
    handle.remove()
    assert given == [None] * 4


def test_what_lies_elsewhere_is_told(pipelines, models_base, tmp_path):
    """The ControlNets are published apart from the transformer, one for each kind of control video."""
    pipelines(NAME)
    own = models_base / "models" / "diffusion_models" / NAME
    for part in ("transformer", "controlnet", "vae"):
        shutil.copytree(own / part, tmp_path / part)
    with pytest.raises(CheckpointError, match="is a ControlNet of Cosmos-Transfer2.5: put it into its pipeline as"):
        DiT(tmp_path / "controlnet")
    settings = tmp_path / "controlnet" / "config.json"
    settings.write_text(json.dumps({**read_json(settings), "n_controlnet_blocks": 4}))
    with pytest.raises(CheckpointError, match="that has 4 blocks, 32 wide; 2 blocks, 32 wide would be right"):
        DiT(tmp_path / "transformer")
    shutil.rmtree(tmp_path / "controlnet")
    with pytest.raises(CheckpointError, match="follows a control video .* ControlNet: keep it beside its controlnet/"):
        DiT(tmp_path / "transformer")


@pytest.mark.skipif(bool(os.environ.get("SPACETIME_STANDIN")), reason="counts the CPU's attention")
def test_a_passes_arithmetic(pipelines):
    """As planned; but both take a time for every frame, and the plan counts one for every token."""
    pipelines(NAME)
    model, counts = load(NAME), []
    canvas = controlled(model, grid(model, 48, HEIGHT, FRAMES), clip()[1])
    adapter = model.dit.adapter
    inner = adapter.predict

    def counted(*args):
        with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            made = inner(*args)
        counts.append(counter.get_total_flops())
        return made

    adapter.predict = counted
    prompts = result("EncodePrompt", model.text_encoder, PROMPT, NEGATIVE)
    result("Sample", model.dit, *prompts, canvas, 0, 2, GUIDANCE, preview=False)
    tokens, length = 3 * 2 * 3, prompts[0][0][0].shape[1]
    both = adapter.transformer, adapter.controlnet
    times = sum(layer.numel() for one in both for layer in one.time_embed.t_embedder.parameters())
    planned = (model.dit.work + model.dit.control_work).flops(tokens, length, per_token_time=True)
    assert planned - 2 * times * (tokens - 3) == pytest.approx(counts[0], rel=0.02)


def test_the_plan_counts_both(pipelines):
    """Weights always, arithmetic and memory of the ControlNet while there is something to follow."""
    pipelines(NAME)
    model = load(NAME)
    dit, parts = model.dit, {name: offload.footprint(source) for name, source in model.dit.denoising().items()}
    assert dit.weight_bytes == sum(part.weights for part in parts.values()) and parts["controlnet"].weights > 10_000
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    plain, followed = (
        SpacetimePlan()._made(dit, model.vae, one, STEPS, GUIDANCE, 0, None)
        for one in (canvas, controlled(model, canvas, clip()[1]))
    )
    assert followed.course.flops > 1.3 * plain.course.flops and followed.course.in_pass == plain.course.in_pass
    assert followed.stage("sampling").working - plain.stage("sampling").working == 3 * 32 * 4 * plain.course.in_pass


def test_a_lora_goes_onto_the_transformer(theirs, pipelines, base):
    pipeline = pipelines(NAME)
    made = loras.factors(pipeline.transformer, only="attn1|ff")
    loras.save(base, "style.safetensors", loras.diffusers(made))
    images, pixels = clip()
    with pytest.MonkeyPatch.context() as patch:
        fused = deepcopy(pipeline.transformer)
        fused.load_lora_adapter(loras.diffusers(made), prefix="transformer")
        fused.fuse_lora(lora_scale=0.5)
        patch.setattr(pipeline, "transformer", fused)
        expected = theirs(images)
    model = load(NAME)
    plain = sample(model, controlled(model, grid(model, WIDTH, HEIGHT, FRAMES), pixels))["samples"]
    (model.dit,) = result("LoadLoRA", model.dit, "style.safetensors", 0.5, "auto")
    mine = sample(model, controlled(model, grid(model, WIDTH, HEIGHT, FRAMES), pixels))["samples"]
    assert (mine - plain).abs().max() > 1e-2 and torch.equal(mine, expected)


@pytest.mark.parametrize("way", offload.MEMORY[2:])
def test_every_way_of_offloading_follows_the_same(pipelines, monkeypatch, way):
    """The ControlNet is kept as the transformer is."""
    pipelines(NAME)
    monkeypatch.setattr(offload, "ONE_MEMORY", ())
    model = load(NAME)
    canvas = controlled(model, grid(model, WIDTH, HEIGHT, FRAMES), clip()[1])
    plain = sample(model, canvas)["samples"]
    (model.dit,) = result("LoadDiT", NAME, memory=way)
    assert (sample(model, canvas)["samples"] - plain).abs().max() <= 1e-6
    assert sum(hasattr(module, "_diffusers_hook") for module in model.dit.adapter.controlnet.modules()) > 2


def test_fp8_keeps_both_in_a_byte(pipelines):
    pipelines(NAME)
    model = load(NAME)
    canvas = controlled(model, grid(model, WIDTH, HEIGHT, FRAMES), clip()[1])
    (model.dit,) = result("LoadDiT", NAME, weights="fp8")
    assert sample(model, canvas)["samples"].isfinite().all()
    for part in (model.dit.adapter.transformer, model.dit.adapter.controlnet):
        assert any(weight.dtype == torch.float8_e4m3fn for weight in part.parameters())
    held = sum(t.nbytes for part in (model.dit.adapter.transformer, model.dit.adapter.controlnet)
               for t in part.state_dict().values())  # fmt: skip
    assert model.dit.weight_bytes == pytest.approx(held, rel=0.1)  # a ControlNet keeps its time embedding exact
