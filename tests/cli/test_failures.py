"""What goes wrong while running: exit codes, one line, nothing half done."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import child, says_one_line, t2v


def stubborn(*arguments):
    """`spacetime …` as a process that knows nodes which don't stop."""
    command = [sys.executable, str(Path(__file__).with_name("stubborn.py")), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def raising(error):
    def run(self):
        raise error

    body = {"CATEGORY": "test", "FUNCTION": "run", "RETURN_TYPES": (), "OUTPUT_NODE": True, "run": run}
    return {"Bad": type("Bad", (), {**body, "INPUT_TYPES": classmethod(lambda cls: {})})}


BAD = {"5": {"class_type": "Bad", "inputs": {}, "_meta": {"title": "My node"}}}


@pytest.mark.parametrize(
    "error, code, name",
    [
        (ValueError("length 80 doesn't fit: 77 or 81"), 5, "node_failed"),
        (FileNotFoundError("there is no vae.safetensors"), 4, "missing_file"),
        (MemoryError("needs 90 GB"), 6, "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 6, "out_of_memory"),
        (OSError(28, "No space left on device"), 5, "node_failed"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ModuleNotFoundError("No module named 'sentencepiece'"), 5, "node_failed"),
        (RuntimeError("first line\nsecond line"), 5, "node_failed"),
    ],
)
def test_each_failure_has_its_exit_code_and_names_the_node(spacetime, tmp_path, error, code, name):
    (tmp_path / "bad.json").write_text(json.dumps(BAD))
    found, out, err = spacetime("run", tmp_path / "bad.json", "--json", classes=raising(error))
    answer = json.loads(out)["error"]
    assert (found, answer["code"]) == (code, name)
    says_one_line(err, *([] if code == 130 else ["My node (node 5): "]))
    assert answer["node"] == "5" or code == 130


def test_a_checkpoint_that_isnt_one_is_a_missing_model(spacetime, tmp_path):
    from spacetime_nodes.model_loaders.checkpoint import CheckpointError

    (tmp_path / "bad.json").write_text(json.dumps(BAD))
    code, _, err = spacetime("run", tmp_path / "bad.json", classes=raising(CheckpointError("it is a web page")))
    assert code == 4
    says_one_line(err, "it is a web page")


def test_a_message_that_blocks_an_output_is_a_failure(spacetime, tmp_path):
    from spacetime_nodes.host.calls import ExecutionBlocker

    body = {"CATEGORY": "test", "FUNCTION": "run", "OUTPUT_NODE": False}
    gate = type("Gate", (), {**body, "INPUT_TYPES": classmethod(lambda cls: {}), "RETURN_TYPES": ("INT",),
                             "run": lambda self: (ExecutionBlocker("too dark"),)})  # fmt: skip
    show = type("Show", (), {**body, "INPUT_TYPES": classmethod(lambda cls: {"required": {"a": ("INT", {})}}),
                             "RETURN_TYPES": (), "OUTPUT_NODE": True, "run": lambda self, a: ()})  # fmt: skip
    prompt = {"1": {"class_type": "Gate", "inputs": {}}, "2": {"class_type": "Show", "inputs": {"a": ["1", 0]}}}
    (tmp_path / "gate.json").write_text(json.dumps(prompt))
    code, _, err = spacetime("run", tmp_path / "gate.json", classes={"Gate": gate, "Show": show})
    assert code == 5
    says_one_line(err, "Show (node 2): too dark")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_once_stops_within_a_step_and_leaves_no_file(graph, tmp_path, number):
    graph.write_text(json.dumps(t2v(steps=1000)))
    run = child("run", graph, "--base", tmp_path, "--json")
    assert run.stderr.readline().startswith("Make: 1/1000")
    run.send_signal(number)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 130 and json.loads(out)["error"]["code"] == "interrupted"
    assert "stopping after this step" in err
    says_one_line(err, "interrupted")
    assert [path for path in (tmp_path / "output").rglob("*") if path.is_file()] == []


def test_ctrl_c_twice_stops_at_once(tmp_path):
    (tmp_path / "sleepy.json").write_text('{"1": {"class_type": "Sleepy", "inputs": {}}}')
    run = stubborn("run", tmp_path / "sleepy.json", "--json", "--base", tmp_path)
    assert run.stderr.readline() == "asleep\n"
    run.send_signal(signal.SIGINT)
    assert "Ctrl-C again stops at once" in run.stderr.readline()
    started = time.monotonic()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 130 and time.monotonic() - started < 5
    assert json.loads(out)["error"]["code"] == "interrupted"
    says_one_line(err, "interrupted")


@pytest.mark.parametrize("format", ["mp4 (H.264)", "png sequence"])
def test_ctrl_c_twice_leaves_no_half_file(format, tmp_path):
    saving = {"video": ["1", 0], "filename_prefix": "clip", "format": format, "quality": 80}
    nodes = {"1": ("Stuck", {}), "2": ("SpacetimeSaveVideo", saving)}
    prompt = {node_id: {"class_type": kind, "inputs": inputs} for node_id, (kind, inputs) in nodes.items()}
    (tmp_path / "stuck.json").write_text(json.dumps(prompt))
    run = stubborn("run", tmp_path / "stuck.json", "--base", tmp_path)
    assert "asleep\n" in iter(run.stderr.readline, "")
    assert any((tmp_path / "output").iterdir()), "it is being written"
    run.send_signal(signal.SIGINT)
    assert "Ctrl-C again stops at once" in run.stderr.readline()
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=20)
    assert run.returncode == 130 and list((tmp_path / "output").iterdir()) == []


def test_out_of_memory_has_its_own_exit_code(graph, tmp_path):
    def little_memory():
        resource.setrlimit(resource.RLIMIT_AS, (300 * 2**20, 300 * 2**20))

    run = child("run", graph, "--base", tmp_path, "--json", preexec_fn=little_memory)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 6 and json.loads(out)["error"]["code"] == "out_of_memory"
    says_one_line(err)
    assert [path for path in (tmp_path / "output").rglob("*") if path.is_file()] == []
