"""Graphs that are given away and graphs that were given: `spacetime export` and `spacetime check`."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import spacetime_nodes
from spacetime_nodes.host.cli import main
from spacetime_nodes.model_loaders.folders import POCKET

WORKFLOWS = Path(spacetime_nodes.__file__).parent / "workflows"
GRAPHS = sorted(path.stem for path in WORKFLOWS.glob("*.json") if POCKET in path.read_text())  # models that are here
LOAD = {"dtype": "auto", "device": "cpu"}
SAVE = {"filename_prefix": "x", "format": "mp4 (H.264)", "quality": 80}
PICTURES = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "图"}},
}
DRAWN = {
    "version": 0.4,
    "nodes": [
        {"id": 1, "type": "LoadImage", "inputs": [], "widgets_values": ["a.png", "image"]},
        {
            "id": 2,
            "type": "SaveImage",
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
            "widgets_values": ["图"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
}


@pytest.fixture
def spacetime(tmp_path, capsys):
    """Run in this process with tmp_path/base: exit code, stdout, lines of stderr."""
    (tmp_path / "base").mkdir()

    def call(*arguments):
        code = main([*map(str, arguments), "--base", str(tmp_path / "base")])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err.splitlines()

    return call


@pytest.fixture
def file(tmp_path):
    """Write a file: JSON, text or bytes."""

    def write(content, name="graph.json"):
        path = tmp_path / name
        if isinstance(content, (dict, list)):
            content = json.dumps(content, ensure_ascii=False)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def picture(tmp_path):
    """Put a picture into the input folder."""

    def put(name="a.png"):
        from PIL import Image

        (tmp_path / "base" / "input").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "base" / "input" / name)

    return put


def saved(folder, format, **graph):
    """A one-colour clip, or a picture, that carries a graph."""
    import torch
    from spacetime_nodes.media.write import save_numbered

    count = 1 if format == "png" else 2
    options = {} if format == "png" else {"format": format}
    frames = [torch.zeros(1, 16, 16, 3) for _ in range(count)]
    return save_numbered(
        folder, "clip", frames, width=16, height=16, fps=8, frame_count=count, metadata=graph, **options
    )


CARRIERS = ("png", "mp4 (H.264)", "webm (VP9)")

# files that are no workflow, for both commands


def broken(kind, folder):
    path = folder / {"picture": "photo.png", "cut video": "clip.mp4", "cut picture": "cut.png"}.get(kind, "graph.json")
    if kind == "folder":
        path.mkdir()
    elif kind == "picture":
        shutil.copy(WORKFLOWS / "text_to_video.jpg", path)
    elif kind == "cut video":
        path.write_bytes(saved(folder, "mp4 (H.264)", prompt=PICTURES).read_bytes()[:400])
    elif kind == "cut picture":
        path.write_bytes(saved(folder, "png", prompt=PICTURES).read_bytes()[:60])
    elif kind != "nothing there":
        whole = (WORKFLOWS / "text_to_video.json").read_bytes()
        contents = {"truncated": whole[: len(whole) // 2], "0 bytes": b"", "not JSON": b"{'a': 1}", "a list": b"[1]"}
        path.write_bytes({**contents, "other JSON": b'{"a": 1}', "noise": bytes(range(256))}[kind])
    return path


@pytest.mark.parametrize("command", [["check"], ["export", "--api", "--out", "OUT"]], ids=["check", "export"])
@pytest.mark.parametrize(
    "kind, code, words",
    [
        ("truncated", 3, "graph.json is cut short"),
        ("0 bytes", 3, "graph.json is empty"),
        ("not JSON", 3, "graph.json is no valid JSON"),
        ("a list", 3, "graph.json holds a list"),
        ("other JSON", 3, "graph.json is JSON but no workflow"),
        ("noise", 3, "is no valid JSON|isn't UTF-8"),
        ("picture", 3, "photo.png carries no workflow"),
        ("cut video", 3, "clip.mp4 carries no workflow"),
        ("cut picture", 3, "cut.png"),
        ("folder", 4, "is a folder; give the workflow file in it"),
        ("nothing there", 4, "there is no file"),
    ],
)
def test_a_file_that_is_no_workflow_is_refused_in_one_line(spacetime, tmp_path, command, kind, code, words):
    path = broken(kind, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    command = [str(tmp_path / "twin.json") if one == "OUT" else one for one in command]
    found, out, (line,) = spacetime(*command, path)
    assert (found, out) == (code, "") and line.startswith("spacetime: "), line
    assert any(word in line for word in words.split("|")), line
    found, out, _ = spacetime(*command, path, "--json")
    assert found == code and json.loads(out)["error"]["code"] == {3: "invalid_workflow", 4: "missing_file"}[code]
    assert sorted(tmp_path.rglob("*")) == before


# export


def plan_of(spacetime, path):
    """What a dry run says of a graph."""
    code, out, _ = spacetime("run", path, "--dry-run", "--json")
    assert code == 0, out
    return {key: value for key, value in json.loads(out).items() if key != "seconds"}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_twin_of_every_graph_plans_the_same_run_and_exports_to_itself(spacetime, tmp_path, name):
    graph, twin, again = WORKFLOWS / f"{name}.json", tmp_path / "twin.json", tmp_path / "again.json"
    assert spacetime("export", graph, "--api", "--out", twin) == (0, f"{twin}\n", [])
    assert plan_of(spacetime, twin) == plan_of(spacetime, graph)
    assert spacetime("export", twin, "--api", "--out", again)[0] == 0
    assert again.read_bytes() == twin.read_bytes()
    assert spacetime("export", graph, "--api")[1] == twin.read_text(encoding="utf-8")


def test_the_twin_holds_the_values_by_name_and_the_links(spacetime, file):
    code, out, _ = spacetime("export", file(DRAWN), "--api")
    twin = json.loads(out)
    assert code == 0 and twin["2"]["inputs"] == {"images": ["1", 0], "filename_prefix": "图"}
    assert twin["1"]["class_type"] == "LoadImage" and twin["1"]["_meta"] == {"title": "Load Image"}
    assert "图" in out, "as it was written, where the stream can say it"


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_api_graph_stays_what_it_is_even_with_nodes_that_arent_known_here(spacetime, file, wrapped):
    prompt = PICTURES | {"17:2": {"class_type": "Elsewhere", "inputs": {"b": {"__value__": [1, "x"]}, "a": 1.50}}}
    prompt["2"] = {**prompt["2"], "_meta": {"title": "Keep 🎬", "more": 1}}
    code, out, _ = spacetime("export", file({"prompt": prompt, "client_id": "x"} if wrapped else prompt), "--api")
    assert code == 0 and out == json.dumps(prompt, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("format", CARRIERS)
@pytest.mark.parametrize("carried", [{"prompt": PICTURES}, {"workflow": DRAWN}], ids=["prompt", "workflow"])
def test_a_saved_result_gives_its_graph_back(spacetime, tmp_path, format, carried):
    code, out, _ = spacetime("export", saved(tmp_path, format, **carried), "--api")
    assert code == 0
    assert {key: (node["class_type"], node["inputs"]) for key, node in json.loads(out).items()} == {
        key: (node["class_type"], node["inputs"]) for key, node in PICTURES.items()
    }


def test_a_drawing_with_an_unknown_node_is_refused_because_its_values_would_be_lost(spacetime, file, tmp_path):
    node = {"id": 3, "type": "VHS_Load", "widgets_values": [24], "properties": {"cnr_id": "helper-suite"}}
    path = file(DRAWN | {"nodes": [*DRAWN["nodes"], node]})
    code, out, (line,) = spacetime("export", path, "--api", "--out", tmp_path / "twin.json")
    assert (code, out) == (3, "") and not (tmp_path / "twin.json").exists()
    assert "node 3 is a 'VHS_Load', which isn't known here; it comes from the node pack helper-suite" in line
    assert "export the graph in an editor that has the node" in line


def test_a_drawing_of_which_nothing_runs_has_no_twin(spacetime, file):
    code, out, (line,) = spacetime("export", file(DRAWN | {"nodes": [{"id": 1, "type": "Note"}], "links": []}), "--api")
    assert (code, out) == (3, "") and "no node of graph.json runs" in line


def test_what_json_cannot_say_is_refused(spacetime, file):
    code, out, (line,) = spacetime("export", file('{"1": {"class_type": "X", "inputs": {"a": NaN}}}'), "--api")
    assert (code, out) == (3, "") and "NaN or Infinity" in line


def test_json_answers_with_one_object(spacetime, file, tmp_path):
    code, out, _ = spacetime("export", file(PICTURES), "--api", "--json")
    assert code == 0 and out.count("\n") == 1 and json.loads(out) == {"ok": True, "prompt": PICTURES}
    code, out, _ = spacetime("export", file(PICTURES), "--api", "--json", "--out", tmp_path / "twin.json")
    assert json.loads(out) == {"ok": True, "outputs": [{"type": "workflow", "path": str(tmp_path / "twin.json")}]}


@pytest.mark.parametrize(
    "out, words",
    [
        ("graph.json", "is the workflow itself, whose drawing would be lost (name another file)"),
        ("link.json", "is the workflow itself"),
        ("base", "is a folder (name a file in it)"),
        ("none/twin.json", "there is no folder"),
        ("pipe", "is no ordinary file"),
        ("x\0y", "can't be: embedded null byte"),
        (None, "the following arguments are required: --api"),
    ],
)
def test_a_file_that_cant_be_written_is_a_usage_error(spacetime, file, tmp_path, monkeypatch, out, words):
    monkeypatch.chdir(tmp_path)
    path = file(DRAWN)
    (tmp_path / "link.json").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    before = path.read_bytes(), sorted(tmp_path.rglob("*"))
    code, printed, (line,) = spacetime("export", path, *(["--api", "--out", out] if out else []))
    assert (code, printed) == (2, "") and words in line
    assert (path.read_bytes(), sorted(tmp_path.rglob("*"))) == before and (tmp_path / "pipe").is_fifo()


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, file):
    path, twin = file(json.dumps(PICTURES)), file("old", "twin.json")

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))

    command = [sys.executable, "-m", "spacetime_nodes.host.cli", "export", str(path), "--api", "--out", str(twin)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=little_room)
    assert done.returncode == 5 and done.stdout == "", done.stderr
    assert done.stderr.startswith("spacetime: can't save") and done.stderr.count("\n") == 1
    assert twin.read_text() == "old" and sorted(tmp_path.iterdir()) == sorted([path, twin])


def test_a_stream_without_unicode_gets_json_all_the_same(file):
    prompt = {"1": {"class_type": "X", "inputs": {"text": "红色 🎬 é"}}}
    command = [sys.executable, "-m", "spacetime_nodes.host.cli", "export", str(file(prompt)), "--api"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and json.loads(done.stdout.decode("ascii")) == prompt


# check


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
        "model_name is Wan,",
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
