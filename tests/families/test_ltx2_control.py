"""LTX-2 follows a control video as LTX2InContextPipeline does: as tokens of its own."""

from types import SimpleNamespace

import diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora as theirs_module
import pytest
import torch
from bench import SEED, free_cells, picture, result, sample
from diffusers import LTX2InContextPipeline
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
from ltx2_bench import (
    AS_THEY_COME,
    BOTH,
    FRAMES,
    HEIGHT,
    WIDTH,
    canvas_of,
    clip,
    controlled,
    heard,
    raw,
    stock,
    with_lora,
)


def reference(images, strength=1.0):
    return theirs_module.LTX2ReferenceCondition(frames=images.permute(0, 3, 1, 2), strength=strength)


def their_noise(monkeypatch, size, keyframes=0, course=0, shown=None):
    """Noise as it is drawn here: LTX2Pipeline's for picture and sound, then a control video's, of so many tokens, of
    which it has those of so many latent frames; the pipeline draws all tokens of the picture at once, which is another
    order."""
    own = torch.Generator().manual_seed(SEED)
    video = torch.randn(size, generator=own).flatten(2).mT  # tokens in the order (t h w)
    sound = torch.randn(1, 4, 18, 2, generator=own).transpose(1, 2).flatten(2)
    still = torch.zeros(1, keyframes * size[3] * size[4], size[1])
    along = torch.randn(size[1], course, generator=own).T[None, : shown and shown * size[3] * size[4]]
    drawn = [torch.cat([video, still, along], dim=1), sound]
    monkeypatch.setattr(theirs_module, "randn_tensor", lambda shape, **more: drawn.pop(0).view(shape))


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("times", [(), ("start",), ("0.375",)])  # frame 9
@pytest.mark.parametrize("name", BOTH)
def test_control_video(distilled, same, monkeypatch, name, times, strength):
    """Alone, with a first frame, with a later one, which is tokens of its own as well.

    The pipeline counts all these tokens when it shifts the steps, which a distilled model doesn't.
    """
    pipeline, model = distilled(LTX2InContextPipeline, name)
    canvas, conditions = canvas_of(model), []
    for time in times:
        image, pixels = picture(WIDTH, HEIGHT)
        at = 0 if time == "start" else 2
        conditions.append(theirs_module.LTX2VideoCondition(frames=image, index=at, crf=0))
        canvas = result("PlaceFrames", model.vae, canvas, time, "cover", 1.0, pixels)[0]
    size = canvas["samples"].shape
    their_noise(monkeypatch, size, keyframes=times == ("0.375",), course=size[2] * size[3] * size[4])
    told = {"sigmas": DISTILLED_SIGMA_VALUES, "reference_conditions": [reference(clip(), strength)]}
    theirs, sound = stock(pipeline, name, conditions=conditions or None, **told)
    canvas = controlled(model, canvas, clip(), strength)
    if times:
        run, free = free_cells(model, canvas)
    else:
        run, free = lambda guidance: sample(model, canvas, guidance)["samples"], torch.ones(size[2], dtype=torch.bool)

    def ours(guidance):
        whole = torch.zeros(size)
        whole[:, :, free] = run(guidance)
        return raw(pipeline, whole)[:, :, free]

    mode = "control video" + {(): "", ("start",): " and first frame", ("0.375",): " and later frame"}[times]
    known = {(): "none", ("start",): "clean, at time 0", ("0.375",): "clean, as tokens of its own"}[times]
    mode += "" if strength == 1 else f", strength {strength:g}"
    assert same(name, mode, ours, theirs[:, :, free], known) == 0.0
    assert (heard(pipeline, sample(model, canvas)["sound"]) - sound).abs().max() == 0.0


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_shorter_than_the_canvas_it_is_fewer_tokens(distilled, same, monkeypatch, strength):
    """None stand for the time of which it says nothing. It is encoded with the gray after it, which doesn't change its
    cells but for last bits, as another shape adds in another order: so it is for the pipeline here."""
    pipeline, model = distilled(LTX2InContextPipeline)
    encode, own = pipeline.vae.encode, clip(9).permute(3, 0, 1, 2)[None]  # 1, 3, F, height, width
    whole = lambda x: encode(torch.nn.functional.pad(x, [0] * 5 + [FRAMES - 9])).latents[:, :, :2]  # noqa: E731
    assert (whole(own) - encode(own).latents).abs().max() < 1e-5
    monkeypatch.setattr(pipeline.vae, "encode", lambda x: SimpleNamespace(latents=whole(x)))
    size = canvas_of(model)["samples"].shape
    their_noise(monkeypatch, size, course=size[2] * size[3] * size[4], shown=2)  # 2 of 3 latent frames
    told = {"sigmas": DISTILLED_SIGMA_VALUES, "reference_conditions": [reference(clip(9), strength)]}
    theirs, _ = stock(pipeline, "LTX-2.3", **told)
    canvas = controlled(model, canvas_of(model), clip(9), strength)
    mode = "control video of half the length" + ("" if strength == 1 else f", strength {strength:g}")
    ours = lambda guidance: raw(pipeline, sample(model, canvas, guidance)["samples"])  # noqa: E731
    assert same("LTX-2.3", mode, ours, theirs) == 0.0


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_guidance_as_the_pipeline_comes(distilled, same, monkeypatch, strength):
    """Its last term brings the contrast of all tokens back to what it was, a control video's along with the picture's;
    here the picture's counts for the picture, as without one, and so it does for the pipeline in this test."""
    pipeline, model = distilled(LTX2InContextPipeline)
    size = canvas_of(model)["samples"].shape
    tokens = size[2] * size[3] * size[4]
    their_noise(monkeypatch, size, course=tokens)
    together = theirs_module.rescale_noise_cfg

    def apart(guess, plain, guidance_rescale):
        parts = zip(guess.split(tokens, dim=1), plain.split(tokens, dim=1), strict=True)
        return torch.cat([together(*part, guidance_rescale) for part in parts], dim=1)

    told = {"sigmas": DISTILLED_SIGMA_VALUES, "reference_conditions": [reference(clip(), strength)]}
    as_it_comes, _ = stock(pipeline, "LTX-2.3", terms=AS_THEY_COME, **told)
    their_noise(monkeypatch, size, course=tokens)
    monkeypatch.setattr(theirs_module, "rescale_noise_cfg", apart)
    theirs, sound = stock(pipeline, "LTX-2.3", terms=AS_THEY_COME, **told)
    assert 1e-4 < (theirs - as_it_comes).abs().max()
    canvas = controlled(model, canvas_of(model), clip(), strength)
    ours = lambda guidance: raw(pipeline, sample(model, canvas, guidance, guider="ltx-2")["samples"])  # noqa: E731
    mode = "control video, guided as it comes" + ("" if strength == 1 else f", strength {strength:g}")
    assert same("LTX-2.3", mode, ours, theirs) == 0.0
    assert (heard(pipeline, sample(model, canvas, guider="ltx-2")["sound"]) - sound).abs().max() == 0.0


WIDE = 128


def halved(images):
    return torch.nn.functional.avg_pool2d(images.movedim(-1, 1), 2).movedim(1, -1)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_an_IC_LoRA_says_how_small_its_control_video_is(distilled, base, same, monkeypatch, strength):
    """As its trainer writes it into the file. The pipeline is told, and given it in that size."""
    pipeline, model, told = with_lora(distilled, base, {"reference_downscale_factor": "2"})
    assert told.endswith("strength 1, follows a control video of 1/2 the size")
    size = canvas_of(model, width=WIDE)["samples"].shape
    their_noise(monkeypatch, size, course=size[2] * size[3] * size[4] // 4)
    course = clip(width=WIDE)
    asked = {"sigmas": DISTILLED_SIGMA_VALUES, "reference_conditions": [reference(halved(course), strength)]}
    theirs, _ = stock(pipeline, "LTX-2.3", width=WIDE, reference_downscale_factor=2, **asked)
    canvas = controlled(model, canvas_of(model, width=WIDE), course, strength)
    mode = "control video of half the size" + ("" if strength == 1 else f", strength {strength:g}")
    ours = lambda guidance: raw(pipeline, sample(model, canvas, guidance)["samples"])  # noqa: E731
    assert same("LTX-2.3", mode, ours, theirs) == 0.0
