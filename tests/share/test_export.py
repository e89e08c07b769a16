"""`spacetime export`: the API twin of a graph that is given away."""

import json
import os
import resource
import subprocess
import sys

import pytest

from .conftest import CARRIERS, DRAWN, GRAPHS, PICTURES, WORKFLOWS, saved


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
        ("x\0y", "holds a NUL character (no name can)"),
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
