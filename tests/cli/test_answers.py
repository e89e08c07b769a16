"""`spacetime run` and `spacetime nodes` as a person or a script meets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import child, says_one_line, t2v
from spacetime_nodes.host.cli import main

# what it prints


def test_a_run_prints_the_path_of_what_it_saved_and_nothing_else(spacetime, graph):
    code, out, err = spacetime("run", graph)
    path = Path(out.strip())
    assert code == 0 and path.is_absolute() and path.suffix == ".mp4" and path.is_file()
    assert path.parent == graph.parent / "output"
    assert "Make: 2/2" in err, "progress goes to stderr under the node's title, as plain lines where no terminal is"
    assert "Spacetime Grid: 48×48, 5 frames" in err and " tokens" in err, "and what the nodes show in the editor"


def test_json_is_one_object_on_stdout(spacetime, graph):
    code, out, _ = spacetime("run", graph, "--json")
    answer = json.loads(out)
    assert code == 0 and out.count("\n") == 1 and answer["ok"] is True and answer["seconds"] > 0
    (video,) = answer["outputs"]  # files only: scripts read outputs[0]["path"]
    assert video["type"] == "video" and any("tokens" in one["text"] for one in answer["texts"])
    assert video["node"] == "8" and video["title"] == "Save Video (Spacetime)" and Path(video["path"]).is_file()


def test_a_saved_video_runs_again_and_gives_the_same_frames(spacetime, graph):
    from spacetime_nodes.media.read import open_video

    _, first, _ = spacetime("run", graph)
    code, second, _ = spacetime("run", first.strip())
    assert code == 0 and first != second
    frames = [[frame.tobytes() for frame in open_video(out.strip()).frames()] for out in (first, second)]
    assert frames[0] == frames[1] and len(frames[0]) == 5


def test_what_set_changed_is_what_the_saved_file_says(spacetime, graph, tmp_path):
    from spacetime_nodes.media.metadata import read_graph

    (tmp_path / "prompt.txt").write_text("\ufeffblue square\n", encoding="utf-8")
    settings = ["--set", "make.steps=1", "--set-file", f"EncodePrompt.positive={tmp_path / 'prompt.txt'}"]
    code, out, _ = spacetime("run", graph, *settings, "--out", tmp_path / "elsewhere")
    prompt = read_graph(out.strip())["prompt"]
    assert code == 0 and Path(out.strip()).parent == tmp_path / "elsewhere"
    assert prompt["6"]["inputs"]["steps"] == 1 and prompt["4"]["inputs"]["positive"] == "blue square"


def test_a_drawn_workflow_is_saved_as_it_was_run(spacetime, tmp_path):
    from spacetime_nodes.media.metadata import read_graph

    pictures = tmp_path / "input"
    pictures.mkdir()
    from PIL import Image

    Image.new("RGB", (16, 16), "red").save(pictures / "red.png")
    load = {"id": 1, "type": "LoadImage", "inputs": [], "widgets_values": ["red.png", "image"]}
    save = {"id": 2, "type": "SaveImage", "widgets_values": ["x"], "title": "Keep"}
    save["inputs"] = [{"name": "images", "type": "IMAGE", "link": 1}]
    drawing = {"version": 0.4, "nodes": [load, save], "links": [[1, 1, 0, 2, 0, "IMAGE"]]}
    (tmp_path / "drawn.json").write_text(json.dumps(drawing))
    code, out, _ = spacetime("run", tmp_path / "drawn.json", "--set", "keep.filename_prefix=a/b")
    assert code == 0 and Path(out.strip()) == tmp_path / "output" / "a" / "b_00001_.png"
    found = read_graph(out.strip())
    assert found["workflow"]["nodes"][1]["widgets_values"] == ["a/b"]
    assert found["prompt"]["2"]["inputs"]["filename_prefix"] == "a/b"
    assert Image.open(out.strip()).getpixel((3, 3)) == (255, 0, 0)


def test_a_dry_run_says_size_tokens_and_memory_and_makes_nothing(spacetime, graph, tmp_path):
    code, out, _ = spacetime("run", graph, "--dry-run")
    assert code == 0 and "width 48, height 48, frames 5" in out and "tokens 18" in out and "memory" in out
    code, out, _ = spacetime("run", graph, "--dry-run", "--json")
    answer = json.loads(out)
    (grid,) = (report for report in answer["reports"] if "tokens" in report)
    assert answer["ok"] and grid["tokens"] == 18 and answer["outputs"] == []
    assert not (tmp_path / "output").exists()


def test_nodes_lists_every_node_with_its_inputs(spacetime):
    code, out, _ = spacetime("nodes")
    assert code == 0 and "SpacetimeSample: Sample (Spacetime/sample)" in out and "steps: INT 1 to 1000 = 20" in out
    code, out, _ = spacetime("nodes", "grid", "--json")
    (node,) = json.loads(out)["nodes"]
    assert node["class"] == "SpacetimeGrid" and node["inputs"][2]["choices"][0] == "16:9"
    code, _, err = spacetime("nodes", "nosuch")
    assert code == 2
    says_one_line(err, "no node is called 'nosuch'")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"]])
def test_help_helps(capsys, arguments):
    code = main(arguments)
    out, err = capsys.readouterr()
    if arguments:
        assert code == 0 and "usage: spacetime" in out
    else:
        assert code == 2
        says_one_line(err, "COMMAND", "--help shows what there is")


def test_debug_shows_the_traceback(spacetime, tmp_path):
    code, _, err = spacetime("run", tmp_path / "none.json", "--debug")
    assert code == 4 and "Traceback" in err


@pytest.mark.parametrize("arguments", [["nodes"], ["--help"], ["run", "GRAPH", "--dry-run"]])
def test_torch_and_diffusers_stay_out_until_something_is_computed(graph, arguments):
    code = (
        "import sys; from spacetime_nodes.host.cli import main; code = main(sys.argv[1:]);"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'av', 'numpy') if name in sys.modules],"
        " file=sys.stderr); sys.exit(code)"
    )
    arguments = [str(graph) if one == "GRAPH" else one for one in arguments]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=graph.parent)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]")


# bad arguments


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--set", "7.nope=1"], ["Decode (node 7) has no input 'nope'", "vae, latent, fps, save_latent"]),
        (["--set", "nope.steps=1"], ["no node is called 'nope'", "Make (node 6)"]),
        (["--set", "6.latent=1"], ["'latent' is linked to Spacetime Grid (node 5); set that node instead"]),
        (["--set", "6.steps=1", "--set", "make.steps=2"], ["'steps' is set twice"]),
        (["--set", "6.steps"], ["isn't NODE.INPUT=VALUE"]),
        (["--set", "6.steps=few"], ["'few' isn't a whole number"]),
        (["--set", "5.aspect=2:1"], ["isn't one of its choices: 16:9"]),
        (["--nonsense"], ["unrecognized arguments: --nonsense"]),
        (["--base", "/nowhere/at/all"], ["--base /nowhere/at/all is no folder"]),
        (["--out", "GRAPH"], ["is a file", "name a folder with --out"]),
        (["--out", "GRAPH/deeper"], ["is a file", "name a folder with --out"]),
        (["--out", "/proc/read-only"], ["results can't go into /proc/read-only", "name another folder with --out"]),
        (["--out", "x\0y"], ["results can't go into"]),
    ],
)
def test_a_wrong_argument_is_a_usage_error_before_anything_runs(spacetime, graph, arguments, words):
    arguments = [one.replace("GRAPH", str(graph)) for one in arguments]
    code, out, err = spacetime("run", graph, "--json", *arguments)
    assert code == 2 and json.loads(out)["error"]["code"] == "usage"
    says_one_line(err, *words)
    assert "Make" not in err.replace("Make (node 6)", ""), "nothing was sampled"


def test_an_ambiguous_node_is_refused_with_the_candidates(spacetime, tmp_path):
    prompt = t2v() | {"9": t2v()["8"]}
    (tmp_path / "two.json").write_text(json.dumps(prompt))
    code, _, err = spacetime("run", tmp_path / "two.json", "--set", "SaveVideo.quality=1")
    assert code == 2
    says_one_line(err, "could be any of Save Video (Spacetime) (node 8), Save Video (Spacetime) (node 9)", "by its id")


def test_a_missing_file_is_told_apart_from_a_wrong_argument(spacetime, graph):
    for arguments, word in (
        (["--set-file", "4.positive=/no/such.txt"], "--set-file can't read /no/such.txt: No such file"),
        (
            ["--set", "1.model_name=wan"],
            "model_name is wan; 'pocket (built in)' fits the graph's other models and is there, but this one isn't",
        ),
    ):
        code, out, err = spacetime("run", graph, "--json", *arguments)
        assert code == 4 and json.loads(out)["error"]["code"] == "missing_file"
        says_one_line(err, word)


# the world around


def test_two_runs_into_one_folder_make_two_files(graph, tmp_path):
    runs = [child("run", graph, "--base", tmp_path) for _ in range(2)]
    found = [run.communicate(timeout=120)[0].strip() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sorted(Path(path).name for path in found) == ["clip_00001_.mp4", "clip_00002_.mp4"]
    assert len(list((tmp_path / "output").iterdir())) == 2, "and nothing half written beside them"


def test_stdout_may_be_closed_and_home_unwritable(graph, tmp_path):
    run = child(
        "run", graph, "--base", tmp_path, env={"HOME": "/proc/nowhere"}, preexec_fn=lambda: os.close(1), stdout=None
    )
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0 and "Traceback" not in err and len(list((tmp_path / "output").iterdir())) == 1


def test_a_reader_that_goes_away_is_no_failure_but_a_full_disk_is_said(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    run = child("nodes", stdout=writing)
    assert run.communicate(timeout=20)[1] == "" and run.returncode == 0
    os.close(writing)
    with open("/dev/full", "w") as full:
        run = child("nodes", stdout=full)
        _, err = run.communicate(timeout=20)
    assert run.returncode == 5
    says_one_line(err, "can't write to stdout: No space left on device")


def test_a_terminal_without_unicode_gets_escapes_not_a_traceback():
    run = child("nodes", "grid", env={"PYTHONIOENCODING": "ascii:strict"})
    out, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (0, "") and "\\u2192 latent LATENT" in out


def test_what_was_saved_stands_before_what_was_only_looked_at(spacetime, tmp_path):
    prompt = t2v()
    inspect = {"video": ["7", 0], "joins": "", "loop": False, "refuse_dissolve": False, "frames": 0}
    inspect |= dict.fromkeys(("max_seam", "max_wrap", "max_colour_drift", "max_contrast_drift"), 0.0)
    inspect |= dict.fromkeys(("max_texture_drift", "max_flicker", "min_motion", "min_coherence"), 0.0)
    prompt = {"0": {"class_type": "SpacetimeInspect", "inputs": inspect}, **prompt}
    (tmp_path / "graph.json").write_text(json.dumps(prompt))
    code, out, err = spacetime("run", tmp_path / "graph.json", "--json")
    outputs = json.loads(out).get("outputs", out)
    assert code == 0 and [one["folder"] for one in outputs] == ["output", "temp"], err
