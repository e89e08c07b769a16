"""LTX-2 equals diffusers, picture and sound: LTX2Pipeline and LTX2ImageToVideoPipeline, of 2.0 and of 2.3's shape."""

from shutil import copytree

import pytest
import torch
from bench import GUIDANCE, NEGATIVE, PROMPT, STEPS, free_cells, grid, load, picture, result, sample
from diffusers import LTX2ConditionPipeline, LTX2ImageToVideoPipeline, LTX2Pipeline
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
from ltx2_bench import AS_THEY_COME, BOTH, FPS, FRAMES, HEIGHT, WIDTH, canvas_of, drawn_as_ours, heard, raw, stock
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.model_loaders.outlook import sampled
from spacetime_nodes.nodes.plan import wished

UNSKIPPED = {"stg_scale": 0.0, "audio_stg_scale": 0.0}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("mode", "frames", "count"), [("T2V", FRAMES, 1), ("T2I", 1, 1), ("T2V, two at once", FRAMES, 2)]
)
def test_text_to_video(pipelines, same, name, mode, frames, count):
    pipeline = pipelines(name)
    prompts = {"prompt": [PROMPT] * count, "negative_prompt": [NEGATIVE] * count}
    theirs, sound = stock(pipeline, name, num_frames=frames, **prompts)
    model = load(name)
    canvas = grid(model, WIDTH, HEIGHT, frames, FPS, count)
    ours = lambda guidance: sample(model, canvas, guidance)  # noqa: E731
    assert same(name, mode, lambda guidance: raw(pipeline, ours(guidance)["samples"]), theirs) == 0.0
    assert same(name, f"{mode}, its sound", lambda guidance: heard(pipeline, ours(guidance)["sound"]), sound) == 0.0


def test_a_distilled_one_takes_the_steps_it_was_made_for(distilled, same):
    pipeline, model = distilled(LTX2Pipeline)
    theirs, sound = stock(pipeline, "LTX-2.3", sigmas=DISTILLED_SIGMA_VALUES)
    canvas = canvas_of(model)
    ours = lambda guidance: sample(model, canvas, guidance)  # noqa: E731
    assert same("LTX-2.3", "T2V, distilled", lambda guidance: raw(pipeline, ours(guidance)["samples"]), theirs) == 0.0
    told = "T2V, distilled, its sound"
    assert same("LTX-2.3", told, lambda guidance: heard(pipeline, ours(guidance)["sound"]), sound) == 0.0


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("times", [("0.375",), ("start", "0.375")])  # frame 9
def test_keyframes(distilled, same, hosted, monkeypatch, times, name):
    """A picture after the first frame goes in as tokens of its own; the canvas keeps the cell it was placed on.

    The pipeline counts these tokens when it shifts the steps, which a distilled model doesn't, and draws noise for them
    too, in another order: here it gets the noise of LTX2Pipeline.
    """
    import diffusers.pipelines.ltx2.pipeline_ltx2_condition as theirs_module

    pipeline, model = distilled(LTX2ConditionPipeline, name)
    canvas, conditions = canvas_of(model), []
    for seed, time in enumerate(times):
        image, pixels = picture(WIDTH, HEIGHT, seed)
        conditions.append(theirs_module.LTX2VideoCondition(frames=image, index=0 if time == "start" else 2, crf=0))
        canvas = result("PlaceFrames", model.vae, canvas, time, "cover", 1.0, pixels)[0]
    size = canvas["samples"].shape
    drawn_as_ours(monkeypatch, pipeline, size, size[3] * size[4])
    theirs, _ = stock(pipeline, name, sigmas=DISTILLED_SIGMA_VALUES, conditions=conditions)
    run, free = free_cells(model, canvas)
    assert free.tolist() == [len(times) == 1, True, False]

    def ours(guidance):
        whole = torch.zeros(size)
        whole[:, :, free] = run(guidance)
        return raw(pipeline, whole)[:, :, free]

    mode = "first and later frame" if len(times) > 1 else "later frame"
    assert same(name, mode, ours, theirs[:, :, free], "clean, as tokens of its own") == 0.0
    assert any("a picture after the first frame as tokens of its own" in notice for notice in hosted.notices)


@pytest.mark.parametrize("name", BOTH)
def test_a_clip_that_goes_on(pipelines, same, monkeypatch, name):
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    pipeline = LTX2ConditionPipeline(**pipelines(name).components)
    pipeline.set_progress_bar_config(disable=True)
    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(9)), strict=True)
    model = load(name)
    canvas = canvas_of(model, torch.cat(pixels))
    drawn_as_ours(monkeypatch, pipeline, canvas["samples"].shape)
    theirs, sound = stock(pipeline, name, conditions=[LTX2VideoCondition(frames=list(images), index=0)])
    run = lambda guidance: raw(pipeline, sample(model, canvas, guidance)["samples"])[:, :, 2:]  # noqa: E731
    assert same(name, "extend", run, theirs[:, :, 2:], "clean, at time 0") == 0.0
    assert torch.equal(heard(pipeline, sample(model, canvas)["sound"]), sound)


def test_video_to_video(distilled, same, monkeypatch):
    """A clip given as latents, noised to 0.725, where the last two of the eight steps begin. Its pipeline makes sound
    along, from pure noise though the picture isn't; ours is silent: here the two don't hear each other there either."""
    pipeline, model = distilled(LTX2Pipeline)
    pixels = [picture(WIDTH, HEIGHT, seed)[1] for seed in range(FRAMES)]
    clip, vae = raw(pipeline, torch.cat(list(model.vae.encode_stream(pixels)), dim=2)), pipeline.vae
    canvas = {"samples": pipeline._normalize_latents(clip, vae.latents_mean, vae.latents_std), "fps": FPS}
    drawn_as_ours(monkeypatch, pipeline, canvas["samples"].shape)
    forward = pipeline.transformer.forward
    apart = lambda **more: forward(**{**more, "isolate_modalities": True})  # noqa: E731
    monkeypatch.setattr(pipeline.transformer, "forward", apart)
    # 1 - 0.725 in float32, as the scheduler has its levels: the last bit
    levels = {"sigmas": DISTILLED_SIGMA_VALUES[-2:], "num_inference_steps": 2, "noise_scale": torch.tensor(0.725)}
    theirs, _ = stock(pipeline, "LTX-2.3", latents=clip, **levels)
    run = lambda guidance: raw(pipeline, sample(model, canvas, guidance, denoise=0.25)["samples"])  # noqa: E731
    assert same("LTX-2.3", "V2V, distilled", run, theirs, "all, noised to 0.725") == 0.0


@pytest.mark.parametrize("name", BOTH)
def test_image_to_video(pipelines, same, name):
    pipeline = LTX2ImageToVideoPipeline(**pipelines(name).components)
    pipeline.set_progress_bar_config(disable=True)
    image, pixels = picture(WIDTH, HEIGHT)
    theirs, sound = stock(pipeline, name, image=image, image_crf=0)
    model = load(name)
    canvas = canvas_of(model, pixels)

    def free_cells(guidance):
        done = sample(model, canvas, guidance)["samples"]
        assert torch.equal(done[:, :, :1], canvas["samples"][:, :, :1])
        return raw(pipeline, done)[:, :, 1:]

    assert same(name, "I2V", free_cells, theirs[:, :, 1:], "clean, at time 0") == 0.0
    assert (heard(pipeline, sample(model, canvas)["sound"]) - sound).abs().max() == 0.0


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("mode", ["T2V", "I2V"])
def test_guidance_as_its_pipelines_come(pipelines, same, name, mode):
    """By the prompt, by skipped attention (of 2.3) and by picture and sound apart, and rescaled."""
    pipeline, placed, more = pipelines(name), (), {}
    if mode == "I2V":
        image, *placed = picture(WIDTH, HEIGHT)
        pipeline, more = LTX2ImageToVideoPipeline(**pipeline.components), {"image": image, "image_crf": 0}
        pipeline.set_progress_bar_config(disable=True)
    theirs, sound = stock(pipeline, name, terms=AS_THEY_COME, **more)
    if name == "LTX-2":  # its attention can't be skipped: that pass is one more of the same, and the last bits differ
        as_it_comes, (theirs, sound) = theirs, stock(pipeline, name, terms=UNSKIPPED, **more)
        assert 0 < (theirs - as_it_comes).abs().max() < 1e-5
    model = load(name)
    canvas = canvas_of(model, *placed)
    first = 1 if placed else 0

    def picture_of(guidance):
        return raw(pipeline, sample(model, canvas, guidance, guider="ltx-2")["samples"])[:, :, first:]

    known = "clean, at time 0" if placed else "none"
    assert same(name, f"{mode}, guided as it comes", picture_of, theirs[:, :, first:], known) == 0.0
    done = sample(model, canvas, guider="ltx-2")
    assert (heard(pipeline, done["sound"]) - sound).abs().max() == 0.0
    plain = sample(model, canvas)
    assert all((done[key] - plain[key]).abs().max() > 1e-3 for key in ("samples", "sound"))


def test_its_guider_passes_only_as_often_as_there_is_to_tell(pipelines):
    """In windows there is no sound to be kept apart from; guidance 1 is one pass."""
    pipelines("LTX-2.3")
    model = load("LTX-2.3")
    canvas, transformer, passes = grid(model, WIDTH, HEIGHT, 33, FPS), model.dit.adapter.transformer, []
    forward = transformer.forward
    transformer.forward = lambda **more: (passes.append(len(more["hidden_states"])), forward(**more))[1]
    for guidance, settings, wanted in (
        (GUIDANCE, {}, [2, 1, 1]), (1.0, {}, [1]), (GUIDANCE, {"windows": "autoregressive", "window": 3}, [2, 1]),
    ):  # fmt: skip
        asked = wished(canvas, steps=STEPS, guidance=guidance, guider="ltx-2", **settings)
        assert sampled(model.dit, asked).predictions == sum(wanted)
        passes.clear()
        sample(model, canvas, guidance, guider="ltx-2", **settings)
        assert passes[: len(wanted)] == passes[len(wanted) : 2 * len(wanted)] == wanted


def test_other_models_refuse_its_guider(nodes, host):
    model = load("pocket (built in)")
    with pytest.raises(ValueError, match="guider 'ltx-2' is LTX-2's; Wan takes cfg, cfg-zero"):
        sample(model, grid(model, 48, 48, 9, 8.0), guider="ltx-2")


def test_decoded_video_has_the_pipelines_frames_and_sound(pipelines, host):
    frames, sound = stock(pipelines("LTX-2"), "LTX-2", "pt")
    model = load("LTX-2")
    done = sample(model, canvas_of(model))
    ((video,),) = result("Decode", model.vae, done)
    got = video.get_components()
    assert torch.equal(got.images, frames[0].permute(0, 2, 3, 1))
    assert torch.equal(got.audio["waveform"], sound.float()) and got.audio["sample_rate"] == 24000
    assert abs(got.audio["waveform"].shape[2] / 24000 - FRAMES / FPS) < 0.25

    trimmed = {**done, "samples": done["samples"][:, :, :1]}  # another node has cut the picture
    ((short,),) = result("Decode", model.vae, trimmed)
    assert short.get_audio() is None and any("it is left out" in notice for notice in host.notices)


def test_a_vae_that_comes_alone_says_what_its_sound_lacks(pipelines, host):
    pipelines("LTX-2")
    model = load("LTX-2")
    done = sample(model, canvas_of(model))
    copytree(model.vae.folder, host.base / "models" / "vae" / "alone")
    alone = load("LTX-2", vae_name="alone").vae
    ((video,),) = result("Decode", alone, done)
    assert video.get_audio() is None
    assert "isn't heard: the VAE has no audio_vae/ and vocoder/ beside it" in host.notices[-1]
    host.notices.clear()
    ((video,),) = result("Decode", alone, {key: value for key, value in done.items() if key != "sound"})
    assert video.get_audio() is None and not host.notices


def test_a_clip_is_heard_above_what_the_model_makes(pipelines, host):
    """The user's own sound where the user's frames are, the model's elsewhere."""
    pipelines("LTX-2")
    model = load("LTX-2")
    pixels = picture(WIDTH, HEIGHT)[1].expand(9, -1, -1, -1)
    own = {"waveform": torch.ones(1, 2, 9000), "sample_rate": 24000}
    clip = StreamVideo(lambda: iter([pixels]), width=WIDTH, height=HEIGHT, frame_count=9, fps=FPS, audio=own)
    canvas = result(
        "PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, FRAMES, FPS), "start", "cover", 1.0, None, clip
    )
    ((video,),) = result("Decode", model.vae, sample(model, canvas[0]))
    waveform = video.get_audio()["waveform"]
    assert (waveform[..., :9000] == 1).all() and waveform.shape[2] == 17000
    assert not (waveform[..., 9000:] == 1).any() and waveform[..., 9000:].std() > 0


def test_a_saved_latent_keeps_its_sound(pipelines, host):
    pipelines("LTX-2")
    model = load("LTX-2")
    done = sample(model, canvas_of(model))
    result("SaveLatent", done, "latents/heard")
    (name,) = (path.name for path in (host.base / "output" / "latents").glob("heard*"))
    (again,) = result("LoadLatent", f"latents/{name} [output]")
    assert torch.equal(again["sound"], done["sound"])


@pytest.mark.parametrize("more", [{"windows": "overlapping", "window": 3}, {"denoise": 0.5}])
def test_a_video_that_is_not_made_whole_from_noise_is_silent(pipelines, more):
    pipelines("LTX-2")
    model = load("LTX-2")
    first = sample(model, grid(model, WIDTH, HEIGHT, 33, FPS))
    assert first.pop("sound").isfinite().all()
    again = sample(model, first, **more)
    assert "sound" not in again and again["samples"].isfinite().all()


def test_sound_and_picture_hear_each_other(pipelines):
    pipelines("LTX-2")
    model = load("LTX-2")
    whole = sample(model, canvas_of(model))
    adapter = model.dit.adapter
    forward, adapter.transformer.forward = adapter.transformer.forward, None
    adapter.transformer.forward = lambda **more: forward(**{**more, "isolate_modalities": True})
    alone = sample(model, canvas_of(model))
    assert (whole["samples"] - alone["samples"]).abs().max() > 1e-4
    assert (whole["sound"] - alone["sound"]).abs().max() > 1e-4
