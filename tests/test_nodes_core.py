"""The shelves as people and saved graphs meet them."""

import inspect
import sys
import types
from pathlib import Path

import pytest
import torch
from spacetime_nodes.nodes import NODES, runtime, sample

DOCS = Path(runtime.__file__).parents[1] / "web" / "docs"


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_node_explains_itself(node):
    inputs = node.INPUT_TYPES()
    assert node.TITLE and node.CATEGORY.startswith("Spacetime/") and node.DESCRIPTION.endswith(".")
    assert len(node.RETURN_TYPES) == len(getattr(node, "RETURN_NAMES", ())) == len(node.OUTPUT_TOOLTIPS)
    for name, (kind, *options) in {**inputs["required"], **inputs.get("optional", {})}.items():
        assert options and options[0].get("tooltip"), f"{node.__name__}.{name} has no tooltip"
        assert "dynamicPrompts" not in options[0], "only the editor would resolve them: another video on a server"
        if isinstance(kind, list) and "default" in options[0]:
            assert options[0]["default"] in kind
    for method in {node.FUNCTION, getattr(node, "DRY_RUN", node.FUNCTION)}:
        parameters = list(inspect.signature(getattr(node, method)).parameters)[1:]
        named = [*inputs["required"], *inputs.get("optional", {}), *inputs.get("hidden", {})]
        assert parameters == named, f"{node.__name__}.{method}"


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_node_has_a_help_page_that_names_its_inputs(node):
    page = (DOCS / f"{node.__name__}.md").read_text("utf-8")
    inputs = node.INPUT_TYPES()
    for name in (*inputs["required"], *inputs.get("optional", {})):
        assert f"**{name}**" in page, f"{node.__name__}.md doesn't mention {name}"


INPUTS = {  # saved graphs hold widget values by position: these only ever grow at the end
    "SpacetimeLoadDiT": "model_name dtype device memory weights",
    "SpacetimeLoadLoRA": "dit lora_name strength expert",
    "SpacetimeLoadVAE": "vae_name dtype device tiling",
    "SpacetimeLoadTextEncoder": "text_encoder_name dtype device after_encoding",
    "SpacetimeEncodePrompt": "text_encoder positive negative",
    "SpacetimeExpandPrompt": "prompt back_end language_model_name instruction seed on_failure",
    "SpacetimeGrid": "dit vae aspect size width height seconds fps frames batch_size",
    "SpacetimePlaceFrames": "vae latent time fit strength",
    "SpacetimeExtend": "vae latent direction seconds context fit",
    "SpacetimeRestyle": "vae latent strength fit video images clip mask feather",
    "SpacetimeTrim": "video start end",
    "SpacetimeTrimLatent": "vae latent start end",
    "SpacetimeRecut": "vae latent start end length before after context fit",
    "SpacetimeBlend": "vae latent curve keypoints strength keep_ends fit first second",
    "SpacetimeMaskRegion": "vae latent x y width height start end feather left top right bottom fit",
    "SpacetimeConnect": "vae latent seconds context fit first second",
    "SpacetimeLoop": "vae latent seconds context fit",
    "SpacetimeStoryboard": "text_encoder vae latent cards negative blend fit",
    "SpacetimeSample": "dit positive negative latent seed steps guidance scheduler shift denoise guider evaluation "
    "preview windows window overlap guidance_low lag block causal known_noise",
    "SpacetimeDecode": "vae latent fps save_latent",
    "SpacetimeDecodeImages": "vae latent",
    "SpacetimeSaveLatent": "latent filename_prefix",
    "SpacetimeLoadLatent": "latent",
    "SpacetimeSaveVideo": "video filename_prefix format quality",
    "SpacetimeInspect": "video joins loop max_seam max_wrap refuse_dissolve max_colour_drift max_contrast_drift "
    "max_texture_drift max_flicker min_motion min_coherence frames",
    "SpacetimePlan": "dit vae latent steps guidance memory text_encoder",
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_keep_their_places(nodes, name):
    promised, inputs = INPUTS[name].split(), nodes[name].INPUT_TYPES()
    assert [*inputs["required"], *inputs.get("optional", {})][: len(promised)] == promised


def test_what_was_appended_is_optional(nodes):
    """A graph in API format, saved by an earlier version, names no input that came later."""
    assert list(nodes["SpacetimeSample"].INPUT_TYPES()["required"])[-1] == "preview"


def test_choices_that_graphs_have_saved_stay():
    inputs = sample.SpacetimeSample.INPUT_TYPES()
    choices = {name: kind[0] for name, kind in (inputs["required"] | inputs["optional"]).items()}
    assert choices["scheduler"][:6] == ["auto", "euler", "unipc", "dpm++ 2m", "dpm++ 2m sde", "heun"]
    assert choices["guider"][:4] == ["cfg", "cfg-zero*", "apg", "tangential cfg"]
    assert choices["evaluation"][:3] == ["auto", "batched", "two passes"]
    assert choices["windows"][:4] == ["auto", "whole", "autoregressive", "overlapping"]


def test_a_sentence_becomes_a_video(nodes, pocket, host):
    """The whole graph, as the editor would run it."""
    positive, negative = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle moving right", "")
    grid = nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "16:9", 48, 0, 0, 1.0, 8.0, 0, 1)["result"]
    (latent,) = nodes["SpacetimeSample"]().run(pocket.dit, positive, negative, grid[0], 1, 2, 4.0)
    (videos,) = nodes["SpacetimeDecode"]().run(pocket.vae, latent)
    images = videos[0].get_components().images
    assert images.shape == (grid[3], grid[2], grid[1], 3) == (9, 48, 80, 3)
    assert 0 <= images.min() and images.max() <= 1 and images.isfinite().all()


def test_words_it_has_never_read_are_named_with_those_it_has(nodes, pocket, host):
    nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle", "")
    assert host.notices == []
    nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red zebra and a zebra, Dancing", "")
    (notice,) = host.notices
    assert notice.startswith("the model doesn't know 'zebra', 'Dancing'; it knows: ") and " circle " in notice
    assert "\n" not in notice


def test_long_and_strange_prompts_are_read_as_far_as_they_go(nodes, pocket, host):
    strange = ["", " ", "\0", "🎬" * 50, "<b>&amp;lt;", "red " * 2500, "x" * 10_000, "\u202e circle"]
    for text in strange:
        (positive, negative) = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, text, text)
        assert positive[0][0].shape == (1, 64, 64) and positive[0][0].isfinite().all()
    assert any("tokens too long; the model reads only its beginning" in notice for notice in host.notices)
    assert all(len(notice) < 2000 and "\n" not in notice for notice in host.notices)


def test_without_a_host_everything_lies_under_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert runtime.output_dir() == tmp_path / "output" and runtime.input_dir() == tmp_path / "input"
    assert runtime.model_folders("vae") == [tmp_path / "models" / "vae"]
    runtime.progress(3).update(1)
    runtime.check_interrupted()


def test_inside_ComfyUI_its_own_folders_bar_and_cancel_button_are_used(monkeypatch, tmp_path):
    updates, texts = [], []

    def said(text, node_id):
        texts.append((text, node_id))

    class ProgressBar:
        def __init__(self, total):
            self.total = total

        def update_absolute(self, value, total, preview):
            updates.append((value, total, preview))

    class InterruptProcessingException(Exception):
        pass

    def throw():
        raise InterruptProcessingException

    modules = {
        "folder_paths": {
            "get_output_directory": lambda: str(tmp_path),
            "get_folder_paths": lambda kind: [f"/m/{kind}"],
        },
        "comfy": {},
        "comfy_execution": {},
        "comfy_execution.utils": {"get_executing_context": lambda: types.SimpleNamespace(node_id="7")},
        "server": {"PromptServer": types.SimpleNamespace(instance=types.SimpleNamespace(send_progress_text=said))},
        "comfy.utils": {"ProgressBar": ProgressBar},
        "comfy.model_management": {"throw_exception_if_processing_interrupted": lambda: None},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    assert runtime.output_dir() == tmp_path and runtime.model_folders("vae") == [Path("/m/vae")]
    runtime.progress(4).update(2, "picture")
    assert updates == [(2, 4, "picture")]
    runtime.notice("17 frames → 13")
    runtime.status("step 2 of 4, 3 s left")
    assert texts == [("17 frames → 13", "7"), ("step 2 of 4, 3 s left", "7")]  # drawn on the node
    sys.modules["comfy.model_management"].throw_exception_if_processing_interrupted = throw
    with pytest.raises(InterruptProcessingException):
        runtime.progress(4).update(3)


def test_progress_says_how_long_the_rest_takes(host, monkeypatch):
    from spacetime_nodes.nodes import runtime

    clock, said = [100.0], []
    monkeypatch.setattr(runtime.time, "monotonic", lambda: clock[0])
    host.on_status = said.append
    bar = runtime.progress(20)
    for step, seconds in enumerate([30, *[10] * 19], 1):  # the first one warms up
        clock[0] += seconds
        bar.update(step)
    assert said[:2] == ["step 1 of 20, 10 min left", "step 2 of 20, 3 min left"] and said[-2:] == [
        "step 19 of 20, 10 s left",
        "step 20 of 20, 4 min in all",
    ]
    said.clear()
    bar = runtime.progress(1000)
    for step in range(1000):
        clock[0] += 0.001
        bar.update(step + 1)
    assert said == [], "what is done in a moment isn't talked about"
    assert [runtime.duration(s) for s in (0, 89, 91, 5399, 5401, 9000)] == [
        "1 s", "89 s", "2 min", "1 h 30 min", "1 h 30 min", "2 h 30 min"
    ]  # fmt: skip


def test_no_node_changes_what_it_is_given(nodes, pocket):
    positive, negative = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "circle", "")
    samples = torch.randn(1, 16, 2, 6, 6)
    latent, before = {"samples": samples}, samples.clone()
    nodes["SpacetimeSample"]().run(pocket.dit, positive, negative, latent, 0, 2, 4.0, denoise=0.6)
    nodes["SpacetimeDecodeImages"]().run(pocket.vae, latent)
    assert torch.equal(samples, before) and set(latent) == {"samples"}
