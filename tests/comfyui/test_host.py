"""What ComfyUI gives a node, used: its folders, progress, previews, interruption, model memory, editor."""

import io

import pytest
from command import t2v
from PIL import Image
from tiny import MODELS as TINY

pytestmark = pytest.mark.comfyui
MODELS = ("WanTransformer3DModel", "AutoencoderKLWan", "UMT5EncoderModel")


def sampling(comfyui, steps, flags=None):
    """A window that watches a job which samples, and the job's id."""
    window = comfyui.window(f"watcher{steps}", flags)
    return window, comfyui.queue(t2v(steps), f"watcher{steps}")


def test_every_node_is_there_and_none_of_comfyuis_is_replaced(comfyui, nodes):
    there = comfyui.get("/object_info")
    ours = {name for name, facts in there.items() if facts["python_module"] == "custom_nodes.spacetime"}
    assert ours == set(nodes)
    assert there["SpacetimeGrid"]["display_name"] == "Spacetime Grid"


def test_the_editor_gets_its_scripts_help_words_and_templates(comfyui):
    assert "/extensions/spacetime/spacetime.js" in comfyui.get("/extensions")
    status, _, help_page = comfyui.ask("GET", "/extensions/spacetime/docs/SpacetimeSample.md")
    assert status == 200 and len(help_page) > 100
    assert "SpacetimeSample" in comfyui.get("/i18n")["zh"]["nodeDefs"]
    assert "text_to_video" in comfyui.get("/api/workflow_templates")["spacetime"]
    status, headers, _ = comfyui.ask("GET", "/api/workflow_templates/spacetime/text_to_video.jpg")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")


@pytest.mark.parametrize("flags, kind", [(None, 1), ({"supports_preview_metadata": True}, 4)])
def test_every_step_shows_progress_and_a_picture(comfyui, flags, kind):
    steps = 4 + kind
    window, job = sampling(comfyui, steps, flags)
    with window:
        assert comfyui.over(job)["status"]["status_str"] == "success"
        window.wait_for("executed", prompt_id=job)
        told = [one for one in window.data("progress") if one["prompt_id"] == job and one["node"] == "6"]
    assert [(one["value"], one["max"]) for one in told] == [(step, steps) for step in range(1, steps + 1)]
    pictures = [data for heard, data in window.heard if heard == kind]
    assert len(pictures) == steps
    for picture in pictures:
        with Image.open(io.BytesIO(picture[picture.index(b"\xff\xd8\xff") :])) as shown:
            assert shown.format == "JPEG" and min(shown.size) >= 8 and len(set(shown.getdata())) > 3


def test_sampling_is_interrupted_in_the_middle_and_the_next_job_runs(comfyui):
    window, job = sampling(comfyui, 900)
    with window:
        comfyui.until(lambda: any(one["max"] == 900 and one["value"] > 2 for one in window.data("progress")))
        comfyui.post("/interrupt", {"prompt_id": job})
        entry = comfyui.over(job)
        assert window.wait_for("execution_interrupted", prompt_id=job)["node_id"] == "6"
    assert max(one["value"] for one in window.data("progress") if one["max"] == 900) < 800
    assert "8" not in entry["outputs"] and entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert comfyui.run(t2v(2))["8"]["images"]


def test_an_error_names_its_node_and_speaks_to_the_person(comfyui):
    prompt = t2v()
    prompt["9"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    prompt["6"]["inputs"]["latent"] = ["9", 0]
    entry = comfyui.over(comfyui.queue(prompt))
    event, told = entry["status"]["messages"][-1]
    assert (event, told["node_id"]) == ("execution_error", "6")
    assert "this latent has 4 channels, the DiT denoises 16: use its VAE" in told["exception_message"]


def test_notices_are_shown_on_their_node(comfyui):
    prompt = t2v(2, filename_prefix="noticed")
    prompt["5"]["inputs"] |= {"frames": 8}  # 4k+1: it snaps
    with comfyui.window("reader") as window:
        comfyui.over(comfyui.queue(prompt, "reader"))
        texts = [data for heard, data in window.heard if heard == 3]
    assert any(data[4:5] == b"5" and b"frames" in data for data in texts), texts


def test_a_model_in_a_folder_of_comfyuis_is_offered_and_runs_the_same(comfyui, pixels):
    assert (
        "copied"
        in comfyui.get("/object_info/SpacetimeLoadDiT")["SpacetimeLoadDiT"]["input"]["required"]["model_name"][0]
    ), "models/diffusion_models of --base-directory"
    clips = []
    for name in ("pocket (built in)", "copied"):
        prompt = t2v(2, filename_prefix="folders")
        for node, field in (("1", "model_name"), ("2", "vae_name"), ("3", "text_encoder_name")):
            prompt[node]["inputs"][field] = name
        clips.append(pixels(comfyui.path(comfyui.run(prompt)["8"]["images"][0])))
    assert clips[0] == clips[1] and len(clips[0]) == 5


# model memory


def test_our_weights_stand_in_comfyuis_books(comfyui):
    comfyui.run(t2v(2, filename_prefix="before"))
    before = len(comfyui.said())
    comfyui.post("/free", {"unload_models": True, "free_memory": True})  # all caches: the loaders run anew
    comfyui.until(lambda: f"Unloading {MODELS[0]}" in comfyui.said()[before:])
    comfyui.run(t2v(2, filename_prefix="books"))
    log = comfyui.said()[before:]
    for name in MODELS:
        assert f"Requested to load {name}" in log, name


def test_weights_are_unloaded_when_comfyui_asks_and_come_back(comfyui, pixels):
    def clip(seed):
        prompt = t2v(2, filename_prefix="unloaded")
        prompt["6"]["inputs"]["seed"] = seed
        return pixels(comfyui.path(comfyui.run(prompt)["8"]["images"][0]))

    first, _ = clip(1), clip(2)
    before = len(comfyui.said())
    comfyui.post("/free", {"unload_models": True})
    comfyui.until(lambda: all(f"Unloading {name}" in comfyui.said()[before:] for name in MODELS))
    assert clip(1) == first, "by the same loaders, whose weights came back"
    log = comfyui.said()[before:]
    assert all(f"Requested to load {name}" in log for name in MODELS[:2])


def test_a_controlnet_is_in_the_books_with_its_transformer(comfyui, pixels):
    pipeline = TINY["Cosmos2.5-Transfer"]()
    pipeline.register_modules(safety_checker=None)
    pipeline.save_pretrained(comfyui.base / "models" / "diffusion_models" / "Transfer")
    parts = "CosmosTransformer3DModel", "CosmosControlNetModel"

    def clip(seed):
        prompt = t2v(2, filename_prefix="followed")
        for node, field in (("1", "model_name"), ("2", "vae_name"), ("3", "text_encoder_name")):
            prompt[node]["inputs"][field] = "Transfer"
        image = {"width": 48, "height": 48, "batch_size": 5, "color": 0x808080}
        control = {"vae": ["2", 0], "latent": ["5", 0], "time": "start", "fit": "cover", "strength": 1.0}
        prompt["9"] = {"class_type": "EmptyImage", "inputs": image}
        prompt["10"] = {"class_type": "SpacetimeControlVideo", "inputs": {**control, "images": ["9", 0]}}
        prompt["6"]["inputs"] |= {"seed": seed, "latent": ["10", 0]}
        return pixels(comfyui.path(comfyui.run(prompt)["8"]["images"][0]))

    first, _ = clip(1), clip(2)
    before = len(comfyui.said())
    comfyui.post("/free", {"unload_models": True})
    comfyui.until(lambda: all(f"Unloading {name}" in comfyui.said()[before:] for name in parts))
    assert clip(1) == first
    assert all(f"Requested to load {name}" in comfyui.said()[before:] for name in parts)


def test_offloaded_weights_are_not_in_the_books_and_make_the_same_clip(comfyui, pixels):
    """They are moved block by block; ComfyUI would move them whole."""
    clips = []
    for way in ("fits", "disk offload"):
        prompt, before = t2v(2, filename_prefix="offloaded"), len(comfyui.said())
        prompt["1"]["inputs"]["memory"] = way
        clips.append(pixels(comfyui.path(comfyui.run(prompt)["8"]["images"][0])))
        assert (f"Requested to load {MODELS[0]}" in comfyui.said()[before:]) == (way == "fits")
    assert clips[0] == clips[1]
