"""Sockets that are silent or gone, answers that get lost: polling decides."""

import asyncio
import json
import time

import pytest
from aiohttp import WSCloseCode, web
from command import says_one_line
from spacetime_nodes.host import remote

from .conftest import MAKE


def test_a_socket_that_says_nothing_is_not_waited_for(run, fake, hasty):
    fake.outcome, over = None, fake.outcome

    async def post(request):
        asyncio.get_running_loop().call_later(0.3, fake.history.__setitem__, (await request.json())["prompt_id"], over)

    fake.before["/prompt"] = post
    started = time.monotonic()
    code, _, err = run(MAKE, fake)
    assert (code, err, fake.sockets) == (0, "", 1) and time.monotonic() - started < 10


@pytest.mark.parametrize("way", ["drops", "no socket", "nonsense"])
def test_polling_decides_whatever_the_socket_does(run, fake, hasty, monkeypatch, way):
    from spacetime_nodes.host import listen

    monkeypatch.setattr(listen, "RETRY", 0.05)
    fake.outcome, over = None, fake.outcome

    async def socket(request):
        fake.sockets += 1
        if fake.sockets == 4:
            fake.history[fake.posted[0]["prompt_id"]] = over
        if way == "no socket":
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if way == "nonsense":
            for text in ("{", "[]", '{"type": 1}', '{"type": "progress", "data": []}', "[" * 5000):
                await socket.send_str(text)
            job = fake.posted[0]["prompt_id"] if fake.posted else ""
            for facts in (
                {"value": "1", "max": None},
                {"value": -1, "max": 10**30},
                {"value": 1, "max": 2, "node": [1]},
            ):
                await socket.send_json({"type": "progress", "data": {"prompt_id": job, "node": "5", **facts}})
            await socket.send_bytes(b"\0\0\0\3\xff\xff\xff\xff")
            await socket.send_bytes(b"\0")
        request.transport.abort()
        return socket

    fake.before["/ws"] = socket
    code, _, err = run(MAKE, fake)
    assert code == 0 and fake.sockets >= 4, err


def test_what_a_node_says_is_told_but_not_how_far_it_is():
    from spacetime_nodes.host.console import Console
    from spacetime_nodes.host.listen import Listener

    listener = Listener(None, Console(), {"7": {"class_type": "SpacetimeSample"}}, {})
    listener.job_id = "job"
    for text in (b"sampled in 3 windows", b"step 2 of 20, 40 s left"):
        for head in (b"\0\0\0\3job", b""):
            listener._hear_text(b"\0\0\0\3" + head + b"\0\0\0\x017" + text)
    assert list(listener.texts) == ["sampled in 3 windows"]


def test_a_progress_bar_goes_on_after_the_socket_came_back(run, fake, hasty):
    fake.outcome, over = None, fake.outcome

    async def socket(request):
        fake.sockets += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while not fake.posted:
            await asyncio.sleep(0.01)
        job = fake.posted[0]["prompt_id"]
        data = {"prompt_id": job, "node": "5", "value": fake.sockets, "max": 2}
        await socket.send_json({"type": "progress", "data": data})
        if fake.sockets == 2:
            fake.history[job] = over
            await socket.send_json({"type": "executing", "data": {"prompt_id": job, "node": None}})
            await socket.receive()
        await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket

    fake.before["/ws"] = socket
    code, _, err = run(MAKE, fake)
    assert code == 0 and err.splitlines() == ["My node: 1/2", "My node: 2/2"]


def test_a_job_that_the_server_forgot_is_an_error_and_not_a_wait(run, fake, hasty):
    fake.outcome = None

    async def post(request):
        return web.json_response({"prompt_id": (await request.json())["prompt_id"], "number": 1, "node_errors": {}})

    fake.before["/prompt"] = post
    code, out, err = run(MAKE, fake, "--json")
    assert code == 5 and json.loads(out)["error"]["code"] == "server_failed"
    says_one_line(err, "the server doesn't know the job any more: it was started anew, or somebody deleted the job")


def test_a_server_that_is_away_for_a_while_is_waited_for(run, fake, hasty, monkeypatch):
    asked = []

    async def away(request):
        asked.append(request)
        if len(asked) in (1, 3):
            return web.Response(status=502)
        if len(asked) in (2, 4):
            request.transport.abort()
            return web.Response()

    monkeypatch.setattr(remote, "PATIENCE", 20)
    fake.before["/history"] = away
    code, _, err = run(MAKE, fake)
    assert code == 0 and len(asked) == 5 and err.count("trying again") == 1, err
    monkeypatch.setattr(remote, "PATIENCE", 0.2)

    async def gone(request):
        return web.Response(status=502)

    fake.before["/history"] = gone
    code, _, err = run(MAKE, fake)
    assert code == 5
    says_one_line(err, "hasn't answered for 0.2 s: status 502", "may still run")


def test_an_answer_that_got_lost_costs_no_job(run, fake, hasty):
    async def post(request):
        await fake.post(request)
        request.transport.abort()
        return web.Response()

    fake.before["/prompt"] = post
    code, _, err = run(MAKE, fake)
    assert code == 0 and len(fake.posted) == 1, err
