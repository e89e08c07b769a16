"""Latents made larger equal diffusers' LTXLatentUpsamplePipeline and LTX2LatentUpsamplePipeline, and so does their
refinement."""

import bench
import pytest
import torch
from bench import grid, lively, load, picture, result, sample, stock
from diffusers import LTX2LatentUpsamplePipeline, LTX2Pipeline, LTXLatentUpsamplePipeline
from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES, STAGE_2_DISTILLED_SIGMA_VALUES
from ltx2_bench import BOTH, FPS, FRAMES, HEIGHT, WIDTH, canvas_of, drawn_as_ours, heard, raw
from ltx2_bench import stock as stock_ltx2
from safetensors.torch import save_file

TINY = {"in_channels": 8, "mid_channels": 32, "num_blocks_per_stage": 1}
TEMPORAL = {"spatial_upsample": False, "temporal_upsample": True}
PLAIN = {"use_rational_resampler": False}
# name → (its class, how it is built)
UPSAMPLERS = {
    "LTX-0.9.7 spatial": (LTXLatentUpsamplerModel, {}),
    "LTX-0.9.7 temporal": (LTXLatentUpsamplerModel, TEMPORAL),
    "LTX-2 spatial": (LTX2LatentUpsamplerModel, {}),
    "LTX-2.3 spatial": (LTX2LatentUpsamplerModel, PLAIN),
    "LTX-2.3 x1.5": (LTX2LatentUpsamplerModel, {"rational_spatial_scale": 1.5}),
    "LTX-2.3 temporal": (LTX2LatentUpsamplerModel, TEMPORAL),
    "of both": (LTX2LatentUpsamplerModel, {"temporal_upsample": True}),
    "flat": (LTX2LatentUpsamplerModel, {"dims": 2}),
}


@pytest.fixture(scope="module")
def upsampler(models_base):
    """`upsampler(name)`: the module, which lies in the user's models as a folder and as a single file."""
    made = {}

    def get(name):
        if name not in made:
            kind, built = UPSAMPLERS[name]
            torch.manual_seed(0)
            made[name] = module = lively(kind(**TINY, **built))
            folder = models_base / "models" / "latent_upscale_models"
            module.save_pretrained(folder / name)
            save_file(module.state_dict(), folder / f"{name}.safetensors")
        return made[name]

    return get


def upsampled(model, latent, name, strength=0.4, **more):
    return result("UpsampleLatent", model.vae, latent, name, strength, **more)[0]


def small(model, frames=FRAMES):
    canvas = grid(model, WIDTH, HEIGHT, frames, FPS)
    drawn = torch.randn(canvas["samples"].shape, generator=torch.Generator().manual_seed(3))
    return {**canvas, "samples": 1.5 * drawn}


def theirs_of(kind, pipeline, module, latents, **more):
    made = kind(vae=pipeline.vae, latent_upsampler=module)(latents=latents, output_type="latent", **more).frames
    if kind is LTXLatentUpsamplePipeline:
        return made
    vae = pipeline.vae  # that of LTX-2 leaves it to the next pipeline to normalise
    return LTX2Pipeline._normalize_latents(made, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)


@pytest.mark.parametrize("more", [{}, {"adain": 0.7}, {"tone_map": 0.6}, {"adain": 1.0, "tone_map": 0.6}], ids=str)
@pytest.mark.parametrize("name", UPSAMPLERS)
def test_latents_are_upsampled_as_the_pipelines_do(pipelines, upsampler, name, more):
    early = UPSAMPLERS[name][0] is LTXLatentUpsamplerModel
    kind, family = (LTXLatentUpsamplePipeline, "LTX-0.9.5") if early else (LTX2LatentUpsamplePipeline, "LTX-2.3")
    pipeline, module, model = pipelines(family), upsampler(name), load(family)
    latent = small(model)
    settings = {"adain_factor": more.get("adain", 0.0), "tone_map_compression_ratio": more.get("tone_map", 0.0)}
    settings |= {} if early else {"latents_normalized": True}
    theirs = theirs_of(kind, pipeline, module, latent["samples"], **settings)
    ours = upsampled(model, latent, name, **more)["samples"]
    assert torch.equal(ours, theirs)
    assert torch.equal(upsampled(model, latent, f"{name}.safetensors", **more)["samples"], theirs)


@pytest.mark.parametrize(("mode", "adain", "tone_map"), [("two stages", 0.0, 0.0), ("two stages, toned", 1.0, 0.6)])
def test_a_small_video_is_enlarged_and_refined(pipelines, upsampler, same, mode, adain, tone_map):
    pipeline, module, model = pipelines("LTX-0.9.5"), upsampler("LTX-0.9.7 spatial"), load("LTX-0.9.5")
    size = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES, "frame_rate": FPS}
    made = theirs_of(
        LTXLatentUpsamplePipeline, pipeline, module, stock(pipeline, **size), adain_factor=adain,
        tone_map_compression_ratio=tone_map,
    )  # fmt: skip
    size |= {"width": 2 * WIDTH, "height": 2 * HEIGHT}
    theirs = stock(pipeline, latents=made, denoise_strength=0.5, **size)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES, FPS)

    def ours(guidance):
        first = sample(model, canvas, guidance)
        larger = upsampled(model, first, "LTX-0.9.7 spatial", 0.5, adain=adain, tone_map=tone_map)
        return sample(model, larger, guidance)["samples"]

    assert same("LTX-Video 0.9.5", mode, ours, theirs, "all, noised to 0.5") == 0.0


def test_an_image_placed_again_is_kept_while_the_rest_is_refined(pipelines, upsampler, same, hosted):
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    pipeline, model = pipelines("LTX-0.9.5"), load("LTX-0.9.5")
    upsampler("LTX-0.9.7 spatial")
    image, pixels = picture(2 * WIDTH, 2 * HEIGHT)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES, FPS)
    placed = result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, pixels)[0]
    larger = upsampled(model, sample(model, placed), "LTX-0.9.7 spatial", 0.5)
    assert "noise_mask" not in larger and "timeline" not in larger
    assert any("to keep an image, place it again" in notice for notice in hosted.notices)
    theirs = stock(
        pipeline, latents=larger["samples"], denoise_strength=0.5, image_cond_noise_scale=0.0, width=2 * WIDTH,
        height=2 * HEIGHT, num_frames=FRAMES, frame_rate=FPS,
        conditions=[LTXVideoCondition(image=image, frame_index=0)],
    )  # fmt: skip
    again = result("PlaceFrames", model.vae, larger, "start", "cover", 1.0, pixels)[0]
    run, free = bench.free_cells(model, again)
    known = "clean, at time 0, all else noised to 0.5"
    assert same("LTX-Video 0.9.5", "I2V, two stages", run, theirs[:, :, free], known) == 0.0


def test_a_canvas_of_twice_the_frames_runs_at_twice_the_rate(pipelines, upsampler):
    pipelines("LTX-2.3"), upsampler("LTX-2.3 temporal")
    model = load("LTX-2.3")
    latent = small(model)
    larger = upsampled(model, latent, "LTX-2.3 temporal")
    assert larger["samples"].shape[2] == 2 * latent["samples"].shape[2] - 1
    assert larger["fps"] == 2 * FPS and larger["denoise"] == 0.4


@pytest.mark.parametrize("name", ["LTX-2.3 x1.5", "LTX-2.3 temporal"])
def test_a_dry_run_knows_the_larger_canvas(pipelines, upsampler, name):
    from spacetime_nodes.model_loaders.outlook import sampled
    from spacetime_nodes.nodes.plan import wished

    pipelines("LTX-2.3"), upsampler(name)
    model = load("LTX-2.3")
    planned = bench.NODES["SpacetimeGrid"]().plan(
        model.dit, model.vae, "custom", 0, WIDTH, HEIGHT, 0.0, FPS, FRAMES
    )["result"][0]  # fmt: skip
    planned = bench.NODES["SpacetimeUpsampleLatent"]().plan(model.vae, planned, name, 0.5)["result"][0]
    made = upsampled(model, small(model), name, 0.5)
    assert planned["shape"] == list(made["samples"].shape) and planned["fps"] == made["fps"]
    assert planned["tokens"] == made["samples"][0, 0].numel()
    ways = [sampled(model.dit, wished(latent, steps=4, guidance=4.0)) for latent in (planned, made)]
    assert ways[0] == ways[1] and ways[0].steps == 2


@pytest.mark.parametrize("name", BOTH)
def test_picture_and_sound_are_refined_together(distilled, upsampler, same, monkeypatch, name):
    """In the last three of the eight steps of a distilled model, as its makers refine. Between its stages the pipeline
    denormalises the sound and normalises it again, the last bits: here it gets it back as it was."""
    (pipeline, model), module = distilled(LTX2Pipeline, name), upsampler(f"{name} spatial")
    made, sound = stock_ltx2(pipeline, name, sigmas=DISTILLED_SIGMA_VALUES)
    first = sample(model, canvas_of(model))
    assert torch.equal(heard(pipeline, first["sound"]), sound)
    upsample = LTX2LatentUpsamplePipeline(vae=pipeline.vae, latent_upsampler=module)
    larger = upsample(latents=made, output_type="latent").frames
    drawn_as_ours(monkeypatch, pipeline, larger.shape)
    monkeypatch.setattr(pipeline, "_normalize_audio_latents", lambda *latents: first["sound"])
    levels = {"sigmas": STAGE_2_DISTILLED_SIGMA_VALUES, "num_inference_steps": 3}
    theirs, sound = stock_ltx2(
        pipeline, name, latents=larger, audio_latents=sound, width=2 * WIDTH, height=2 * HEIGHT, **levels,
        noise_scale=torch.tensor(STAGE_2_DISTILLED_SIGMA_VALUES[0]),
    )  # fmt: skip
    ours = lambda guidance: sample(model, upsampled(model, first, f"{name} spatial"), guidance)  # noqa: E731
    known = "all, noised to 0.909"
    assert same(name, "two stages", lambda guidance: raw(pipeline, ours(guidance)["samples"]), theirs, known) == 0.0
    told = "two stages, its sound"
    assert same(name, told, lambda guidance: heard(pipeline, ours(guidance)["sound"]), sound, known) == 0.0


def test_sound_that_cannot_be_refined_stays_as_it_was(pipelines, upsampler):
    """In windows picture and sound don't hear each other; a sound of another length isn't this video's."""
    pipelines("LTX-2.3"), upsampler("LTX-2.3 temporal")
    model = load("LTX-2.3")
    first = sample(model, grid(model, WIDTH, HEIGHT, 33, FPS))
    larger = upsampled(model, first, "LTX-2.3 temporal", 0.5)
    refined = sample(model, larger)["sound"]
    assert refined.shape == first["sound"].shape and (refined - first["sound"]).abs().max() > 1e-3
    windowed = sample(model, larger, windows="overlapping", window=4)
    assert torch.equal(windowed["sound"], first["sound"])
    assert "sound" not in sample(model, {**larger, "sound": first["sound"][:, :9]})


def test_its_weights_are_let_go(pipelines, upsampler, hosted):
    from spacetime_nodes.model_loaders.upsampler import Upsampler

    pipelines("LTX-2.3"), upsampler("LTX-2.3 spatial")
    one = Upsampler(hosted.base / "models" / "latent_upscale_models" / "LTX-2.3 spatial")
    model = load("LTX-2.3")
    assert one.upsampled(model.vae, small(model)["samples"]).isfinite().all()
    assert not Upsampler.module.made(one)
    for parameter in one.module.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="the upsampler answered NaN: damaged weights"):
        one.upsampled(model.vae, small(model)["samples"])
    assert not Upsampler.module.made(one), "not after an error either"


@pytest.mark.parametrize("sound", [True, False])
def test_a_dry_run_counts_the_passes_of_a_refinement_with_sound_and_without(pipelines, upsampler, sound):
    """LTX-2's own guider has a pass more where picture and sound can be kept apart."""
    from spacetime_nodes.model_loaders.outlook import sampled
    from spacetime_nodes.nodes.plan import wished

    pipelines("LTX-2.3"), upsampler("LTX-2.3 spatial")
    model = load("LTX-2.3")
    nodes = {name: bench.NODES[f"Spacetime{name}"]() for name in ("Grid", "Sample", "UpsampleLatent")}
    canvas = nodes["Grid"].plan(model.dit, model.vae, "custom", 0, WIDTH, HEIGHT, 0.0, FPS, FRAMES)["result"][0]
    canvas = {**canvas, "denoise": 1.0 if sound else 0.5}  # a restyled clip is silent
    first = nodes["Sample"].plan(model.dit, None, None, canvas, 0, 4, 4.0)["result"][0]
    assert "denoise" not in first, "it was for the first Sample"
    planned = nodes["UpsampleLatent"].plan(model.vae, first, "LTX-2.3 spatial", 0.5)["result"][0]
    way = sampled(model.dit, wished(planned, steps=4, guidance=4.0, guider="ltx-2"))
    made = sample(model, canvas_of(model) if sound else {**small(model), "denoise": 0.5})
    larger, transformer, passes = upsampled(model, made, "LTX-2.3 spatial", 0.5), model.dit.adapter.transformer, []
    forward = transformer.forward
    transformer.forward = lambda **more: (passes.append(len(more["hidden_states"])), forward(**more))[1]
    sample(model, larger, guider="ltx-2")
    assert way.steps * way.predictions == sum(passes) and way.predictions == (4 if sound else 3)


def test_a_loop_is_enlarged_as_a_loop_but_not_in_time_and_nothing_it_follows_is_lost(pipelines, upsampler):
    from spacetime_nodes.spacetime.names import CONTROL

    pipelines("LTX-2.3"), upsampler("LTX-2.3 spatial"), upsampler("LTX-2.3 temporal")
    model = load("LTX-2.3")
    (loop,) = result("Loop", model.vae, small(model, 33), 1.0, 0.0, "cover")
    assert upsampled(model, loop, "LTX-2.3 spatial")["ring"]
    with pytest.raises(ValueError, match="a loop has no first frame, which a temporal upsampler needs"):
        upsampled(model, loop, "LTX-2.3 temporal")
    with pytest.raises(ValueError, match="Control Video belongs to the canvas that is sampled"):
        upsampled(model, {**small(model), CONTROL: 1.0}, "LTX-2.3 spatial")
