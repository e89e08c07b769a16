"""LATENT, CONDITIONING, IMAGE, MASK and VIDEO pass between our nodes and ComfyUI's own, both ways."""

import shutil
from pathlib import Path

import pytest
from command import t2v
from PIL import Image
from spacetime_nodes.media.metadata import read_graph

pytestmark = pytest.mark.comfyui


def graph(**more):
    """Text to video, with further nodes by their ids: (class, inputs). Saves losslessly."""
    prompt = t2v(2, filename_prefix="mixed/clip", format="png sequence")
    prompt["6"]["inputs"]["preview"] = False
    return prompt | {node: {"class_type": kind, "inputs": inputs} for node, (kind, inputs) in more.items()}


def saved(video, prefix="mixed/clip"):
    inputs = {"video": video, "filename_prefix": prefix, "format": "png sequence", "quality": 80}
    return "SpacetimeSaveVideo", inputs


@pytest.fixture
def frames(comfyui, pixels):
    """Runs the prompt; every frame that the node `saver` saved."""

    def run(prompt, saver="8"):
        first = comfyui.path(comfyui.run(prompt)[saver]["images"][0])
        return [pixels(path)[0] for path in sorted(first.parent.glob("*.png"))]

    return run


@pytest.fixture
def footage(comfyui):
    """clip.mp4 and a larger red.png in ComfyUI's input folder."""
    (comfyui.base / "input").mkdir(exist_ok=True)
    Image.new("RGB", (96, 72), (200, 60, 20)).save(comfyui.base / "input" / "red.png")
    prompt = t2v(2, filename_prefix="mixed/footage")
    prompt["5"]["inputs"]["frames"] = 13
    shutil.copy(comfyui.path(comfyui.run(prompt)["8"]["images"][0]), comfyui.base / "input" / "clip.mp4")


def test_core_save_video_saves_our_video_with_its_graph(comfyui, pixels):
    both = t2v(2, filename_prefix="mixed/ours")
    core = {"video": ["7", 0], "filename_prefix": "mixed/core", "format": "auto", "codec": "auto"}
    both["9"] = {"class_type": "SaveVideo", "inputs": core}
    shown = comfyui.run(both)
    ours, theirs = (comfyui.path(shown[node]["images"][0]) for node in ("8", "9"))
    assert theirs.suffix == ".mp4" and pixels(theirs) == pixels(ours) and len(pixels(ours)) == 5
    assert read_graph(theirs)["prompt"] == read_graph(ours)["prompt"]


def test_a_video_taken_apart_and_put_together_by_core_nodes_is_the_same(frames):
    parts, whole = ("GetVideoComponents", {"video": ["7", 0]}), {"images": ["9", 0], "fps": ["9", 2]}
    prompt = graph(**{"9": parts, "10": ("CreateVideo", whole), "11": saved(["10", 0], "mixed/again")})
    assert frames(prompt, "11") == frames(prompt) and len(frames(prompt)) == 5


def test_core_load_video_feeds_extend_every_frame_as_it_was(comfyui, footage, frames, run, pixels, tmp_path):
    way = {"vae": ["2", 0], "latent": ["5", 0], "direction": "forward", "seconds": 0.5, "context": 0.0, "fit": "cover"}
    prompt = graph(**{"9": ("LoadVideo", {"file": "clip.mp4"}), "10": ("SpacetimeExtend", {**way, "video": ["9", 0]})})
    prompt["6"]["inputs"]["latent"] = ["10", 0]
    there = frames(prompt)
    assert len(there) == 17
    assert there[:13] == pixels(comfyui.base / "input" / "clip.mp4")
    (tmp_path / "input").mkdir()
    shutil.copy(comfyui.base / "input" / "clip.mp4", tmp_path / "input")
    (shown,) = run(prompt, "--base", tmp_path)
    assert there == [pixels(path)[0] for path in sorted(Path(shown["path"]).parent.glob("*.png"))]


def test_core_load_image_is_placed(footage, frames, run, pixels, comfyui, tmp_path):
    where = {"vae": ["2", 0], "latent": ["5", 0], "time": "start", "fit": "cover", "strength": 1.0}
    placed = ("SpacetimePlaceFrames", {**where, "images": ["9", 0]})
    prompt = graph(**{"9": ("LoadImage", {"image": "red.png"}), "10": placed})
    prompt["6"]["inputs"]["latent"] = ["10", 0]
    there = frames(prompt)
    assert there[0] == bytes((200, 60, 20)) * 48 * 48 != there[1]
    (tmp_path / "input").mkdir()
    shutil.copy(comfyui.base / "input" / "red.png", tmp_path / "input")
    (shown,) = run(prompt, "--base", tmp_path)
    assert there == [pixels(path)[0] for path in sorted(Path(shown["path"]).parent.glob("*.png"))]


def test_core_nodes_save_and_preview_our_images(comfyui, frames, pixels):
    decoded = ("SpacetimeDecodeImages", {"vae": ["2", 0], "latent": ["6", 0]})
    kept = ("SaveImage", {"images": ["9", 0], "filename_prefix": "mixed/image"})
    prompt = graph(**{"9": decoded, "10": kept, "11": ("PreviewImage", {"images": ["9", 0]})})
    shown = comfyui.run(prompt)
    whole = [[pixels(comfyui.path(one))[0] for one in shown[node]["images"]] for node in ("10", "11")]
    assert shown["11"]["images"][0]["type"] == "temp" and len(whole[0]) == 5 and whole[0] == whole[1]
    for mine, core in zip(frames(prompt), whole[0], strict=True):  # ours rounds to the nearest of 255, theirs down
        assert max(abs(a - b) for a, b in zip(mine, core, strict=True)) <= 1


def test_a_core_node_edits_our_latent(comfyui):
    import torch
    from safetensors.torch import load_file

    halved = ("LatentMultiply", {"samples": ["6", 0], "multiplier": 0.5})
    prompt = graph(**{"9": halved})
    for node, latent in (("10", ["6", 0]), ("11", ["9", 0])):
        inputs = {"latent": latent, "filename_prefix": f"mixed/latent_{node}"}
        prompt[node] = {"class_type": "SpacetimeSaveLatent", "inputs": inputs}
    prompt["7"]["inputs"]["latent"] = ["9", 0]
    shown = comfyui.run(prompt)
    before, after = (load_file(comfyui.path(shown[node]["latents"][0]))["latent_tensor"] for node in ("10", "11"))
    assert torch.equal(after, before * 0.5) and before.shape == (1, 16, 2, 6, 6)
    assert shown["8"]["images"], "and it is decoded at the grid's rate"


def test_our_latent_goes_through_core_files_and_back(comfyui, frames):
    prompt = graph(**{"9": ("SaveLatent", {"samples": ["6", 0], "filename_prefix": "mixed/core"})})
    straight = frames(prompt)
    shown = comfyui.run(prompt)["9"]["latents"][0]
    shutil.copy(comfyui.path(shown), comfyui.base / "input" / "core.latent")
    prompt = graph(**{"9": ("LoadLatent", {"latent": "core.latent"})})
    prompt["7"]["inputs"]["latent"] = ["9", 0]
    assert frames(prompt) == straight


def test_a_core_mask_on_our_latent_keeps_what_it_covers(frames):
    again = {**t2v()["6"]["inputs"], "seed": 8, "latent": ["10", 0], "steps": 2, "preview": False}
    left = ("SolidMask", {"value": 0.0, "width": 6, "height": 6})
    masked = ("SetLatentNoiseMask", {"samples": ["6", 0], "mask": ["9", 0]})
    prompt = graph(**{"9": left, "10": masked, "11": ("SpacetimeSample", again)})
    untouched = frames(prompt)
    prompt["7"]["inputs"]["latent"] = ["11", 0]
    assert frames(prompt) == untouched, "all known: nothing is made anew"
    prompt["9"]["inputs"]["value"] = 1.0
    assert frames(prompt) != untouched


def test_a_core_mask_says_what_is_restyled(frames):
    import numpy as np

    inputs = {"vae": ["2", 0], "latent": ["5", 0], "strength": 1.0, "fit": "cover", "clip": ["6", 0]}
    again = {**t2v()["6"]["inputs"], "seed": 8, "latent": ["12", 0], "steps": 2, "preview": False}
    nodes = {
        "9": ("SolidMask", {"value": 0.0, "width": 48, "height": 48}),
        "10": ("SolidMask", {"value": 1.0, "width": 24, "height": 48}),
        "11": ("MaskComposite", {"destination": ["9", 0], "source": ["10", 0], "x": 0, "y": 0, "operation": "add"}),
        "12": ("SpacetimeRestyle", {**inputs, "mask": ["11", 0], "feather": 0}),
        "13": ("SpacetimeSample", again),
        "14": ("SpacetimeDecode", {"vae": ["2", 0], "latent": ["13", 0], "fps": 0.0, "save_latent": False}),
        "15": saved(["14", 0], "mixed/restyled"),
    }
    prompt = graph(**nodes)
    before, after = (
        np.stack([np.frombuffer(one, np.uint8).reshape(48, 48, 3) for one in frames(prompt, saver)])
        for saver in ("8", "15")
    )
    assert (before[:, :, 24:] == after[:, :, 24:]).all(), "the half outside of the mask as it was"
    assert (before[:, :, :24] != after[:, :, :24]).any((1, 2, 3)).all(), "the other half anew in every frame"


def test_core_nodes_edit_our_conditioning(frames):
    plain = frames(graph())
    prompt = graph(**{"9": ("ConditioningZeroOut", {"conditioning": ["4", 1]})})
    prompt["6"]["inputs"]["negative"] = ["9", 0]
    zeroed = frames(prompt)
    both = {"conditioning_to": ["4", 0], "conditioning_from": ["4", 0], "conditioning_to_strength": 1.0}
    prompt = graph(**{"9": ("ConditioningAverage", both)})
    prompt["6"]["inputs"]["positive"] = ["9", 0]
    assert zeroed != plain and frames(prompt) == plain, "the average of a prompt with itself is the prompt"
