"""Cosmos-Predict2.5 equals diffusers: text, image and video to world."""

from types import SimpleNamespace

import pytest
import torch
from bench import NEGATIVE, PROMPT, free_cells, grid, load, picture, result, sample, stock
from diffusers.models.transformers import transformer_cosmos
from test_wan import raw

WIDTH, HEIGHT, FRAMES = 32, 32, 9
SIZES = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES}


def resized(mask, size, interpolation):
    """As torchvision resizes a tensor to its nearest pixels."""
    return torch.nn.functional.interpolate(mask, size=size, mode="nearest")


NEAREST = SimpleNamespace(NEAREST="nearest")
TORCHVISION = SimpleNamespace(functional=SimpleNamespace(resize=resized), InterpolationMode=NEAREST)


@pytest.fixture
def theirs(pipelines):
    """`theirs(**more)`: what the pipeline makes. It resizes its mask of zeros with torchvision, which isn't for every
    torch; ours does without, so its own place for it is filled only here."""

    def run(**more):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transformer_cosmos, "transforms", TORCHVISION, raising=False)
            return raw(pipelines("Cosmos2.5"), stock(pipelines("Cosmos2.5"), **{**SIZES, **more}))

    return run


MODES = [("T2V", FRAMES, 1), ("T2I", 1, 1), ("T2V, two at once", FRAMES, 2)]


@pytest.mark.parametrize(("mode", "frames", "count"), MODES)
def test_text_to_world(theirs, same, mode, frames, count):
    prompts = {"prompt": [PROMPT] * count, "negative_prompt": [NEGATIVE] * count}
    expected = theirs(num_frames=frames, **prompts)
    model = load("Cosmos2.5")
    canvas = grid(model, WIDTH, HEIGHT, frames, batch=count)
    assert same("Cosmos-Predict2.5", mode, lambda guidance: sample(model, canvas, guidance)["samples"], expected) == 0


@pytest.mark.parametrize(("mode", "count"), [("I2V", 1), ("extend", 5)])
def test_image_and_video_to_world(theirs, same, mode, count):
    images, pixels = zip(*(picture(WIDTH, HEIGHT, seed) for seed in range(count)), strict=True)
    cells = (count - 1) // 4 + 1
    expected = theirs(video=list(images), num_latent_conditional_frames=cells)
    model = load("Cosmos2.5")
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    canvas = result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, torch.cat(pixels))[0]
    assert (
        same("Cosmos-Predict2.5", mode, free_cells(model, canvas)[0], expected[:, :, cells:], "clean, at time 0") == 0
    )


def test_guidance_counts_from_the_positive_prediction():
    """Its guidance 3 is what others call 4."""
    from spacetime_nodes.spacetime.guidance import combined, make_guider

    predictions = {"pred_cond": torch.ones(1), "pred_uncond": torch.zeros(1)}
    for from_positive, wanted in ((0.0, 4.0), (-1.0, 3.0), (None, 3.0)):
        assert combined(make_guider("cfg", 3.0, from_positive), predictions, torch.ones(1)) == wanted


@pytest.mark.parametrize("name", ["euler", "unipc", "dpm++ 2m", "heun"])
def test_other_solvers_run(pipelines, name):
    pipelines("Cosmos2.5")
    model = load("Cosmos2.5")
    assert sample(model, grid(model, WIDTH, HEIGHT, FRAMES), scheduler=name)["samples"].isfinite().all()
