"""Ctrl-C takes the job from the server, and no other."""

import json
import signal
import threading
import time

import pytest
from aiohttp import web
from command import child, says_one_line
from spacetime_nodes.host import remote

from .conftest import MAKE, WAITING


def asking(server, here, graph=WAITING, **settings):
    (here / "graph.json").write_text(json.dumps(graph))
    more = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    url = f"http://127.0.0.1:{server.port}"
    return child("run", here / "graph.json", "--base", here, "--server", url, "--json", *more)


def test_ctrl_c_interrupts_this_job_and_no_other(editor, here):
    process = asking(editor, here, **{"1.steps": 5000})
    assert process.stderr.readline().startswith("Hold on: ")
    following = editor.queue(2)["prompt_id"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and json.loads(out)["error"]["code"] == "interrupted"
    says_one_line(err, "interrupted")
    assert editor.over(following)["status"] == "completed"
    jobs = {job["id"]: job["status"] for job in editor.get("/api/jobs")["jobs"]}
    assert sorted(jobs.values()) == ["cancelled", "completed"]


def test_ctrl_c_takes_a_waiting_job_from_the_queue(editor, here):
    running = editor.queue(1, steps=5000)["prompt_id"]
    process = asking(editor, here)
    editor.until(lambda: len(editor.get("/api/jobs?status=pending")["jobs"]) == 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130 and editor.get("/api/jobs?status=pending")["jobs"] == []
    assert editor.job(running)["status"] == "in_progress"
    editor.post("/api/interrupt", {"prompt_id": running})


def test_ctrl_c_twice_leaves_at_once(fake, here):
    fake.outcome = None

    async def deaf(request):
        fake.interrupted.append((await request.json())["prompt_id"])
        return web.Response()

    fake.before["/interrupt"] = deaf
    process = asking(fake, here, MAKE)
    ends = time.monotonic() + 30
    while not fake.posted and time.monotonic() < ends:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C again stops at once" in process.stderr.readline()
    while not fake.interrupted and time.monotonic() < ends:
        time.sleep(0.02)
    assert set(fake.interrupted) == {fake.posted[0]["prompt_id"]} and process.poll() is None
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - started < 5
    assert json.loads(out)["error"]["code"] == "interrupted"


def test_ctrl_c_is_heard_though_the_server_is_gone(fake, here, capsys):
    from spacetime_nodes.host.console import Console
    from spacetime_nodes.nodes.runtime import Interrupted

    fake.outcome, stop = None, threading.Event()

    async def gone(request):
        stop.set()
        return web.Response(status=502)

    fake.before |= {"/history": gone, "/queue": gone}
    (here / "graph.json").write_text(json.dumps(MAKE))
    errand = remote.Errand(here / "graph.json", [])
    with pytest.raises(Interrupted):
        remote.run(remote.Address.parse(f"127.0.0.1:{fake.port}"), errand, Console(), stop)
    assert f"its job {fake.posted[0]['prompt_id']} may still run" in capsys.readouterr().err
