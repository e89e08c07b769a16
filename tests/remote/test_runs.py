"""`spacetime run --server`: the same run as here, on nodes of the server; what it lacks is refused beforehand."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import says_one_line, t2v
from spacetime_nodes.host.cli import main

from .conftest import PICTURES, WAITING, Fake, picture


def test_a_run_there_gives_the_frames_of_a_run_here(run, editor, here, capsys):
    from spacetime_nodes.media.metadata import read_graph
    from spacetime_nodes.media.read import open_video

    code, out, err = run(t2v(), editor, "--json", "--set", "make.seed=8")
    there = json.loads(out)
    assert code == 0, err
    assert "Make: 2/2" in err
    assert there["server"] == f"http://127.0.0.1:{editor.port}"
    assert main(["run", str(here / "graph.json"), "--base", str(here), "--json", "--set", "make.seed=8"]) == 0
    local = json.loads(capsys.readouterr().out)
    assert set(there) - {"server"} == set(local) and there["texts"] == local["texts"]
    (one,), (other,) = there["outputs"], local["outputs"]
    assert {**one, "path": ""} == {**other, "path": ""}
    assert Path(one["path"]) == here / "output" / "clip_00001_.mp4" and other["path"].endswith("clip_00002_.mp4")
    frames = [[frame.tobytes() for frame in open_video(path["path"]).frames()] for path in (one, other)]
    assert frames[0] == frames[1] and len(frames[0]) == 5
    assert read_graph(one["path"])["prompt"]["6"]["inputs"]["seed"] == 8


def test_a_picture_sequence_is_fetched_whole_and_into_a_folder_of_its_own(run, editor, here):
    for name in ("clip_00001_", "clip_00001_-2"):
        code, out, err = run(t2v(format="png sequence"), editor, "--json", "--set", f"make.seed={len(name)}")
        assert code == 0, err
        (output,) = json.loads(out)["outputs"]
        assert Path(output["path"]).parent.name == name, "the server begins anew: its folder is emptied"
        assert [one.name for one in sorted(Path(output["path"]).parent.iterdir())] == [
            f"{i:05}.png" for i in range(1, 6)
        ]
        for one in (editor.base / "output").iterdir():
            shutil.rmtree(one)


def test_nodes_that_only_the_server_knows_are_converted_and_run(run, editor):
    hold = {"id": 1, "type": "Wait", "inputs": [], "widgets_values": [5, 2], "title": "Hold on"}
    show = {"id": 2, "type": "Show", "widgets_values": [0], "inputs": [{"name": "value", "type": "INT", "link": 1}]}
    drawing = {"version": 0.4, "nodes": [hold, show], "links": [[1, 1, 0, 2, 0, "INT"]]}
    code, out, err = run(drawing, editor, "--json", "--set", "hold on.value=6")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["texts"] == [{"node": "2", "title": "Show", "type": "text", "text": "6"}] and not answer["outputs"]
    assert "Hold on: 2/2" in err
    (job,) = editor.get("/api/jobs")["jobs"]
    sent = editor.job(job["id"])["workflow"]["extra_data"]["extra_pnginfo"]["workflow"]
    assert sent["nodes"][0]["widgets_values"] == [6, 2], "the drawing goes along, as it was run"


def test_a_job_that_waits_says_so_and_comes_last(run, editor, hasty):
    editor.queue(1, steps=50)
    code, _, err = run(WAITING, editor, "--json")
    assert code == 0 and "note: 1 job is before this one in the server's queue" in err


def test_torch_stays_out_of_the_one_who_asks(editor, here):
    (here / "graph.json").write_text(json.dumps(WAITING))
    code = (
        "import sys; from spacetime_nodes.host.cli import main; code = main(sys.argv[1:]);"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'av', 'numpy') if name in sys.modules],"
        " file=sys.stderr); sys.exit(code)"
    )
    arguments = ["run", here / "graph.json", "--base", here, "--server", f"http://localhost:{editor.port}/"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]")


@pytest.mark.parametrize(
    "change, code, words",
    [
        (("1", "model_name", "wan.safetensors"), 4, ["model_name is wan.safetensors", "on the server"]),
        (("6", "steps", 0), 3, ["Make (node 6): steps is 0; at least 1 would be right"]),
        (("6", "latent", ["99", 0]), 3, ["is linked to node 99, which isn't in the workflow"]),
        ((None, "class_type", "Nonsense"), 3, ["node 9 is a 'Nonsense', which isn't known here"]),
    ],
)
def test_what_the_server_lacks_is_refused_as_here(run, editor, change, code, words):
    graph = t2v()
    node_id, name, value = change
    if node_id is None:
        graph["9"] = {"class_type": value, "inputs": {}}
    else:
        graph[node_id]["inputs"][name] = value
    for option in ([], ["--dry-run"]):
        found, out, err = run(graph, editor, "--json", *option)
        assert found == code and json.loads(out)["error"]["node"] == (node_id or "9")
        says_one_line(err, *words)
    assert editor.get("/api/jobs")["jobs"] == []


def test_a_dry_run_queues_nothing_and_sends_nothing(run, editor, here):
    picture(here / "input" / "猫 1.png")
    code, out, err = run(PICTURES, editor, "--dry-run")
    assert (code, err) == (0, "")
    assert out == f"{here / 'graph.json'} is valid on http://127.0.0.1:{editor.port}: 2 nodes\n"
    answer = json.loads(run(PICTURES, editor, "--dry-run", "--json")[1])
    assert answer["dry_run"] is True and answer["outputs"] == answer["reports"] == [] and answer["server"]
    assert editor.get("/api/jobs")["jobs"] == [] and not (editor.base / "input").exists()
    assert not (here / "output").exists()


def test_definitions_of_every_kind_become_inputs():
    from spacetime_nodes.host.definitions import classes_of
    from spacetime_nodes.host.graph import declared

    required = {
        "old": [["a", "b"], {"default": "b"}],
        "new": ["COMBO", {"options": ["c", "d"]}],
        "asked": ["COMBO", {"remote": {"route": "/x"}}],
        "empty": ["COMBO", {}],
        "listed": [["e"], {"remote": {"route": "/x"}}],
        "grows": ["COMFY_AUTOGROW_V3", {}],
        "plain": ["INT"],
        "broken": 7,
    }
    made = classes_of({"N": Fake.node(required, output=["IMAGE"]), "junk": 1, "bare": {}})
    inputs = declared(made["N"])
    assert inputs["old"].choices == ["a", "b"] and inputs["new"].choices == ["c", "d"]
    assert all(inputs[name].type == "STRING" and inputs[name].is_widget for name in ("asked", "empty", "listed"))
    assert inputs["grows"].category == inputs["broken"].category == "optional"
    assert made["N"].RETURN_TYPES == ("IMAGE",) and made["N"].OUTPUT_NODE and declared(made["bare"]) == {}
    assert made["N"].TITLE == "Make a thing"
