"""`spacetime edit` as a person starts and ends it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from spacetime_nodes.host.cli import main
from spacetime_nodes.host.edit import url
from spacetime_nodes.host.packs import load_pack, own_packs, together

COMMAND = [sys.executable, "-m", "spacetime_nodes.host.cli", "edit", "--no-browser"]


@pytest.fixture
def start(tmp_path):
    """Start the command; gives its process and the address that it printed."""
    started = []

    def begin(*arguments, **environment):
        process = subprocess.Popen(
            [*COMMAND, "--base", str(tmp_path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        line = process.stdout.readline()
        address = next((word for word in line.split() if word.startswith("http://")), None)
        assert address, process.communicate()
        return SimpleNamespace(process=process, url=address)

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def refusal(capsys, *arguments):
    code = main(["edit", "--no-browser", *arguments])
    out, err = capsys.readouterr()
    assert code != 0 and out == "" and len(err.strip().splitlines()) == 1, (code, out, err)
    return code, err


@pytest.mark.parametrize("command", ["edit", "run"])
def test_what_was_shown_long_ago_goes_and_whatever_else_lies_there_stays(command, start, graph, tmp_path, capsys):
    temp, now = tmp_path / "temp", time.time()
    temp.mkdir()
    old = ["ComfyUI_temp_00001_.png", "spacetime_inspect_00002_.png"]
    others = ["ComfyUI_temp_mine.png", "holiday_00001_.png", "spacetime_inspect_00001_.mp4"]
    for name in (*old, *others):
        (temp / name).touch()
        os.utime(temp / name, (now - 90_000, now - 90_000))
    (temp / "ComfyUI_temp_00003_.png").touch()  # of today
    if command == "edit":
        start("--port", "0")
    else:
        assert main(["run", str(graph), "--base", str(tmp_path), "--set", "make.steps=1"]) == 0
        capsys.readouterr()
    assert sorted(path.name for path in temp.iterdir()) == sorted([*others, "ComfyUI_temp_00003_.png"])


def test_it_starts_answers_and_ends_with_ctrl_c(start):
    editor = start("--port", "0")
    with urllib.request.urlopen(editor.url + "api/jobs") as answer:
        assert json.load(answer)["jobs"] == []
    editor.process.send_signal(signal.SIGINT)
    out, err = editor.process.communicate(timeout=30)
    assert editor.process.returncode == 0 and err == "", err


def test_it_takes_little_memory_before_the_first_prompt(start):
    editor = start("--port", "0")
    for path in ("", "api/object_info", "api/workflow_templates", "api/system_stats"):
        urllib.request.urlopen(editor.url + path).read()
    status = Path(f"/proc/{editor.process.pid}/status")
    if not status.exists():
        pytest.skip("the memory of a process is read from /proc, which isn't here")
    kilobytes = int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    assert kilobytes < 150 * 1024


def test_a_port_in_use_is_told_in_one_line(capsys, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, err = refusal(capsys, "--base", str(tmp_path), "--port", str(port))
    assert code == 2 and f"127.0.0.1:{port} is in use" in err and "--port" in err


def test_other_machines_are_let_in_only_with_a_token(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("SPACETIME_TOKEN", raising=False)
    code, err = refusal(capsys, "--base", str(tmp_path), "--listen", "0.0.0.0")
    assert code == 2 and "--token" in err
    assert "token" in refusal(capsys, "--base", str(tmp_path), "--listen", "0.0.0.0", "--token", "short")[1]
    assert url("0.0.0.0", 1, "a-long-secret", None) == "http://127.0.0.1:1/?token=a-long-secret"
    assert url("::1", 1, None, "a b.json") == "http://[::1]:1/?file=a%20b.json"


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["--port", "http"], 2),
        (["--port", "70000"], 2),
        (["--listen", "203.0.113.7", "--token", "a-long-secret", "--port", "0"], 2),
        (["no-such-file.json"], 4),
        (["--node-pack", "no-such-pack"], 4),
        (["--base", "no-such-folder"], 2),
    ],
)
def test_what_cant_be_started_is_told_in_one_line(capsys, arguments, code):
    assert refusal(capsys, *arguments)[0] == code


def test_a_file_that_is_no_workflow_is_refused_before_the_editor_opens(capsys, tmp_path):
    (tmp_path / "broken.json").write_text('{"nodes": [')
    assert refusal(capsys, str(tmp_path / "broken.json"))[0] == 3


def test_the_named_workflow_is_handed_to_the_page(start, tmp_path):
    graph = {"1": {"class_type": "PrimitiveInt", "inputs": {"value": 3}}}
    (tmp_path / "my graph.json").write_text(json.dumps(graph))
    editor = start(str(tmp_path / "my graph.json"), "--port", "0")
    assert editor.url.endswith("/?file=my%20graph.json")
    root = editor.url.partition("?")[0]
    with urllib.request.urlopen(root + "api/spacetime/opened") as answer:
        assert json.load(answer) == graph and "attachment" in answer.headers["Content-Disposition"]
    with urllib.request.urlopen(root + "api/extensions") as answer:
        script = next(one for one in json.load(answer) if one.endswith("open.js"))
    with urllib.request.urlopen(root + script[1:]) as answer:
        assert answer.headers["Content-Type"] == "text/javascript" and b"registerExtension" in answer.read()


PACK = """
from .parts import Twice
NODE_CLASS_MAPPINGS = {"Twice": Twice, "LoadImage": Twice}
NODE_DISPLAY_NAME_MAPPINGS = {"Twice": "Twice as much"}
WEB_DIRECTORY = "./js"
"""
PARTS = """
class Twice:
    RETURN_TYPES, FUNCTION, CATEGORY = ("INT",), "run", "mine"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 1, "max": float("inf")})}}
    def run(self, value):
        return (2 * value,)
"""


def test_another_pack_brings_its_nodes_and_scripts(start, tmp_path):
    pack = tmp_path / "my-pack"
    (pack / "js").mkdir(parents=True)
    (pack / "__init__.py").write_text(PACK)
    (pack / "parts.py").write_text(PARTS)
    (pack / "js" / "a.js").write_text("1")
    editor = start("--port", "0", "--node-pack", str(pack))
    with urllib.request.urlopen(editor.url + "api/object_info") as answer:
        text = answer.read().decode()
    assert "Infinity" not in text, "browsers read no infinities"
    known = json.loads(text)
    assert known["Twice"]["display_name"] == "Twice as much" and known["Twice"]["python_module"].endswith("my_pack")
    assert known["LoadImage"]["output"][0] == "IMAGE", "a pack can't take a name that another has"
    assert urllib.request.urlopen(editor.url + "extensions/my_pack/a.js").read() == b"1"
    mine = load_pack(pack)
    assert together([*own_packs(), mine])["LoadImage"] is not mine.classes["LoadImage"]


@pytest.mark.parametrize(
    "source, why",
    [
        ("import folder_paths", "ComfyUI's own modules"),
        ("1 / 0", "division by zero"),
        ("(", "'(' was never closed"),
        ("def comfy_entrypoint(): pass", "NODE_CLASS_MAPPINGS"),
        ("NODE_CLASS_MAPPINGS = []", "NODE_CLASS_MAPPINGS"),
    ],
)
def test_a_pack_that_cant_be_loaded_says_why_in_one_line(tmp_path, source, why):
    from spacetime_nodes.host.errors import UsageError

    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text(source)
    with pytest.raises(UsageError) as error:
        load_pack(tmp_path / "pack")
    assert why in str(error.value) and "\n" not in str(error.value)


SLEEPER = """
import pathlib, time
class Sleep:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "run", "mine", True
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}
    def run(self):
        pathlib.Path(__file__).with_name("at work").touch()
        time.sleep(60)
        return ()
NODE_CLASS_MAPPINGS = {"Sleep": Sleep}
"""


def test_ctrl_c_ends_the_command_though_a_node_is_at_work(start, tmp_path):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    editor = start("--port", "0", "--node-pack", str(tmp_path / "sleeper.py"))
    body = json.dumps({"prompt": {"1": {"class_type": "Sleep", "inputs": {}}}}).encode()
    urllib.request.urlopen(
        urllib.request.Request(editor.url + "api/prompt", body, {"Content-Type": "application/json"})
    ).read()
    until = time.monotonic() + 60
    while not (tmp_path / "at work").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    started = time.monotonic()
    editor.process.send_signal(signal.SIGINT)
    out, err = editor.process.communicate(timeout=50)
    assert time.monotonic() - started < 20 and "Traceback" not in err, err
