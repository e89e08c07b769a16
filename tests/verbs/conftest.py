"""A canvas of pocket's, clips to put on it, and what is seen when it has been sampled."""

import clips
import pytest
import torch


def video_of(frames, size=48, fps=8.0, seed=0):
    return clips.video_of(frames, size, fps, seed, sound=True)


def build(nodes, name, *args, **kwargs):
    result = nodes[name]().run(*args, **kwargs)
    return result["result"][0], result["ui"]["text"][0]


BOX = {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5, "start": 0.0, "end": 0.0, "feather": 0}
NO_SIDES = {"left": 0, "top": 0, "right": 0, "bottom": 0, "fit": "cover"}


def mask_region(nodes, pocket, grid, **inputs):
    return build(nodes, "SpacetimeMaskRegion", pocket.vae, grid, **{**BOX, **NO_SIDES, **inputs})


def decoded(nodes, pocket, latent):
    return nodes["SpacetimeDecodeImages"]().run(pocket.vae, latent)[0]


@pytest.fixture
def grid(nodes, pocket, host):
    return nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9)["result"][0]


@pytest.fixture
def watch(nodes, pocket, host):
    """Samples a canvas in two steps and returns the video's frames, having checked what the video promised."""

    def run(latent):
        text = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle moving right", "")
        (latent,) = nodes["SpacetimeSample"]().run(pocket.dit, *text, latent, 0, 2, 4.0)
        ((video,),) = nodes["SpacetimeDecode"]().run(pocket.vae, latent)
        frames = torch.cat(list(video.frames()))
        assert len(frames) == video.get_frame_count()
        assert torch.equal(nodes["SpacetimeDecodeImages"]().run(pocket.vae, latent)[0], frames)
        return frames

    return run
