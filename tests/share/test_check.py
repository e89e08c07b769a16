"""`spacetime check`: whether a graph that was given will run here, and what is missing."""

import json
import subprocess
import sys

import pytest

from .conftest import CARRIERS, DRAWN, GRAPHS, LOAD, PICTURES, SAVE, WORKFLOWS, saved


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_of_the_package_will_run(spacetime, name):
    code, out, err = spacetime("check", WORKFLOWS / f"{name}.json")
    assert (code, err) == (0, []) and out.startswith(str(WORKFLOWS / f"{name}.json") + " will run here: ")


def loaders(**changes):
    """The three loaders, a grid and what needs them. changes: node__input=value."""
    pocket = "pocket (built in)"
    grid = {"aspect": "1:1", "size": 48, "width": 64, "height": 64, "seconds": 1, "fps": 8, "frames": 1}
    nodes = {
        "dit": ("SpacetimeLoadDiT", {"model_name": pocket, **LOAD}),
        "vae": ("SpacetimeLoadVAE", {"vae_name": pocket, **LOAD}),
        "text": ("SpacetimeLoadTextEncoder", {"text_encoder_name": pocket, **LOAD}),
        "grid": ("SpacetimeGrid", {"dit": ["dit", 0], "vae": ["vae", 0], **grid, "batch_size": 1}),
        "story": (
            "SpacetimeStoryboard",
            {"text_encoder": ["text", 0], "vae": ["vae", 0], "latent": ["grid", 0], "cards": "0: red circle"}
            | {"negative": "", "blend": 0.0, "fit": "cover"},
        ),
        "decode": ("SpacetimeDecode", {"vae": ["vae", 0], "latent": ["story", 2], "fps": 0, "save_latent": False}),
        "save": ("SpacetimeSaveVideo", {"video": ["decode", 0], **SAVE}),
    }
    prompt = {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
    for target, value in changes.items():
        node, _, name = target.partition("__")
        prompt[node]["inputs"][name] = value
    return prompt


def checked(spacetime, path, code):
    """The problems, the same as lines and as JSON."""
    found, out, err = spacetime("check", path)
    assert (found, err) == (code, []), (out, err)
    lines = out.splitlines()
    found, out, _ = spacetime("check", path, "--json")
    answer = json.loads(out)
    assert found == code and out.count("\n") == 1 and answer["ok"] is False
    codes = {3: "invalid_workflow", 4: "missing_file", 6: "out_of_memory"}
    assert answer["error"] in answer["problems"] and answer["error"]["code"] == codes[code]
    said = [one["message"] + (f" ({one['hint']})" if one["hint"] else "") for one in answer["problems"]]
    assert said == lines
    return answer["problems"]


@pytest.mark.parametrize(
    "target, folder",
    [
        ("dit__model_name", "diffusion_models"),
        ("vae__vae_name", "vae"),
        ("text__text_encoder_name", "text_encoders"),
    ],
)
def test_a_missing_model_is_named_with_the_folder_where_it_belongs(spacetime, file, tmp_path, target, folder):
    node = target.partition("__")[0]
    (problem,) = checked(spacetime, file(loaders(**{target: "Wan/Wan2.2"})), 4)
    assert problem["code"] == "missing_file" and problem["node"] == node and "is Wan/Wan2.2" in problem["message"]
    assert problem["hint"] == f"it belongs in {tmp_path / 'base' / 'models' / folder}"
    code, _, (line,) = spacetime("run", file(loaders(**{target: "Wan/Wan2.2"})), "--dry-run")
    assert code == 4 and line.endswith(f"({problem['hint']})"), "a run says so too"


def test_a_missing_language_model_belongs_in_its_own_folder(spacetime, file, tmp_path):
    graph = json.loads((WORKFLOWS / "expand_prompt.json").read_text())
    (node,) = (one for one in graph["nodes"] if one["type"] == "SpacetimeExpandPrompt")
    node["widgets_values"][2] = "Qwen/Qwen3-0.6B"
    (problem,) = checked(spacetime, file(graph), 4)
    assert problem["hint"] == f"it belongs in {tmp_path / 'base' / 'models' / 'LLM'}"


def test_a_model_that_is_there_but_broken_is_a_problem_too(spacetime, file, tmp_path):
    folder = tmp_path / "base" / "models" / "vae" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"_class_name": "AutoencoderKLTest"}')
    (problem,) = checked(spacetime, file(loaders(vae__vae_name="mine")), 4)
    assert problem["node"] == "vae" and "AutoencoderKLTest" in problem["message"]


def test_missing_files_are_named_with_their_folder(spacetime, file, picture, tmp_path):
    base, cards = tmp_path / "base", "0: red circle [image sky.png]"
    nodes = {
        "latent": {"class_type": "SpacetimeLoadLatent", "inputs": {"latent": "x.latent"}},
        "keep": {"class_type": "SpacetimeSaveLatent", "inputs": {"latent": ["latent", 0], "filename_prefix": "x"}},
    }
    found = checked(spacetime, file({**PICTURES, **loaders(story__cards=cards), **nodes}), 4)
    assert [one["node"] for one in found] == ["1", "latent", "story"]
    assert {one["code"] for one in found} == {"missing_file"}
    assert f"there is no file 'a.png' in {base / 'input'}" in found[0]["message"]
    assert "latent is x.latent" in found[1]["message"] and found[1]["hint"] == f"it belongs in {base / 'input'}"
    assert f"there is no file 'sky.png' in {base / 'input'}" in found[2]["message"]
    picture("a.png")
    picture("sky.png")
    assert spacetime("check", file({**PICTURES, **loaders(story__cards=cards)}))[0] == 0


def test_every_problem_is_listed_once_and_the_exit_code_is_the_gravest(spacetime, file):
    prompt = loaders(dit__model_name="Wan", vae__vae_name="wan", grid__size=5, grid__fps="a", grid__aspect="2:1")
    prompt["mystery"] = {"class_type": "Mystery", "inputs": {"images": ["2", 0]}}
    prompt["lost"] = {"class_type": "SaveImage", "inputs": {"images": ["nowhere", 0]}}
    prompt["other"] = {"class_type": "SaveImage", "inputs": {"images": ["mystery", 0], "filename_prefix": "../x"}}
    prompt |= {"1": PICTURES["1"], "2": {**PICTURES["2"], "class_type": "Also"}, "3": {"inputs": {}}}
    prompt["2"]["inputs"] = {"images": ["1", 0]}
    prompt["last"] = {"class_type": "Last", "inputs": {"images": ["load", 0]}}  # that it saves something can't be known
    prompt["load"] = {"class_type": "LoadImage", "inputs": {"image": "b.png"}}
    prompt = {"0": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}, **prompt}
    found = checked(spacetime, file(prompt), 3)
    messages = "\n".join(one["message"] for one in found)
    for words in (
        "node mystery is a 'Mystery', which isn't known here",
        "node 2 is a 'Also', which isn't known here",
        "node 3 has no class_type",
        "model_name is Wan;",
        "vae_name is wan,",
        "size is 5; at least 16",
        "fps is a; it takes a number",
        "aspect is 2:1, which isn't among its choices",
        "'images' is linked to node nowhere, which isn't in the workflow",
        "'filename_prefix' is missing",
        "there is no file 'a.png'",
        "node last is a 'Last', which isn't known here",
        "there is no file 'b.png'",
    ):
        assert messages.count(words) == 1, words
    assert len(found) == 13 and {one["code"] for one in found} == {"invalid_workflow", "missing_file"}


@pytest.mark.parametrize(
    "changes, code, words",
    [
        ({"save__filename_prefix": "../x"}, 3, "leads out of the output folder"),
        ({"story__cards": "red circle"}, 3, "Storyboard (node story): "),
        ({"save__quality": 101}, 3, "at most 100 would be right"),
    ],
)
def test_what_only_the_node_itself_can_refuse_is_found(spacetime, file, changes, code, words):
    (problem,) = checked(spacetime, file(loaders(**changes)), code)
    assert words in problem["message"] and problem["code"] == "invalid_workflow"


def test_several_nodes_may_refuse_at_once(spacetime, file, picture):
    picture()
    second = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "/tmp/x"}}
    prompt = {**PICTURES, "2": second, "3": {**second, "inputs": {**second["inputs"], "filename_prefix": ""}}}
    assert [one["node"] for one in checked(spacetime, file(prompt), 3)] == ["2", "3"]


def test_a_size_that_no_machine_can_hold_says_so(spacetime, file):
    (problem,) = checked(spacetime, file(loaders(grid__size=4096, grid__frames=1001, grid__batch_size=64)), 6)
    assert problem["code"] == "out_of_memory" and problem["node"] == "grid"


@pytest.mark.parametrize("place", ["_meta", "drawing"])
def test_an_unknown_node_is_told_with_the_pack_it_comes_from(spacetime, file, tmp_path, picture, place):
    picture()
    prompt = {**PICTURES, "9": {"class_type": "VHS_Combine", "inputs": {"images": ["1", 0]}}}
    if place == "_meta":
        prompt["9"]["_meta"] = {"aux_id": "someone/helper-suite"}
        path = file(prompt)
    else:
        node = {"id": 9, "type": "VHS_Combine", "properties": {"cnr_id": "helper-suite"}}
        inner = {"id": "a-b-c", "nodes": [None, {"type": 5}, node], "links": []}
        path = saved(tmp_path, "png", prompt=prompt, workflow={**DRAWN, "definitions": {"subgraphs": [inner]}})
    (problem,) = checked(spacetime, path, 3)
    assert problem["node"] == "9" and "which isn't known here; it comes from the node pack" in problem["message"]
    assert problem["message"].partition("pack ")[2].startswith("someone/helper" if place == "_meta" else "helper-suite")


@pytest.mark.parametrize("drawing", [{"nodes": 5}, {"nodes": [], "definitions": {"subgraphs": [5]}}])
def test_a_drawing_that_is_rubbish_doesnt_matter_beside_a_prompt(spacetime, tmp_path, picture, drawing):
    picture()
    assert spacetime("check", saved(tmp_path, "png", prompt=PICTURES, workflow=drawing))[0] == 0


def test_a_graph_that_saves_nothing_and_one_that_goes_in_a_circle(spacetime, file):
    (problem,) = checked(spacetime, file({"1": PICTURES["1"]}), 3)
    assert "no node of this workflow saves or shows anything" in problem["message"]
    ring = {"vae__a": ["save", 0]}
    (problem,) = checked(spacetime, file(loaders(**ring)), 3)
    assert "wait for each other in a circle" in problem["message"]


def test_a_link_of_an_input_that_the_node_no_longer_has_may_lead_nowhere_but_is_said(spacetime, file, picture):
    picture()
    prompt = json.loads(json.dumps(PICTURES))
    prompt["2"]["inputs"]["former"] = ["gone", 0]
    (problem,) = checked(spacetime, file(prompt), 3)
    assert "'former' is linked to node gone, which isn't in the workflow" in problem["message"]
    prompt["2"]["inputs"]["former"] = ["1", 7]
    assert spacetime("check", file(prompt))[0] == 0


@pytest.mark.parametrize("format", CARRIERS)
def test_a_saved_result_can_be_checked(spacetime, tmp_path, picture, format):
    path = saved(tmp_path, format, prompt=PICTURES)
    assert [one["node"] for one in checked(spacetime, path, 4)] == ["1"]
    picture()
    assert spacetime("check", path)[0] == 0


def test_checking_takes_no_torch_no_time_and_leaves_nothing_behind(tmp_path):
    code = (
        "import resource, sys; from spacetime_nodes.host.cli import main; code = main(sys.argv[1:]);"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'av', 'numpy') if name in sys.modules],"
        " resource.getrusage(resource.RUSAGE_SELF).ru_utime, file=sys.stderr); sys.exit(code)"
    )
    path = WORKFLOWS / "storyboard.json"
    for command in (["check", str(path)], ["export", str(path), "--api"]):
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, cwd=tmp_path)
        heavy, seconds = done.stderr.rsplit(maxsplit=1)
        assert (done.returncode, heavy) == (0, "[]"), done.stderr
        assert float(seconds) < 1, "of the processor, whatever else it has to do"
    assert list(tmp_path.iterdir()) == []
