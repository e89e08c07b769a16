"""Where a server is, what secret it wants, and what is told when nobody answers there."""

import asyncio
import json

import pytest
from aiohttp import web
from command import says_one_line
from spacetime_nodes.host import remote
from spacetime_nodes.host.cli import main

from .conftest import MAKE, WAITING


@pytest.mark.parametrize("address", ["", "http://", "ftp://here:1", "127.0.0.1:99999", "a b:80", "http://[::1", "x:0"])
def test_a_bad_address_is_a_usage_error(run, address):
    code, out, err = run(MAKE, address, "--json")
    assert code == 2 and json.loads(out)["error"]["code"] == "usage"
    says_one_line(err, "is no address; http://127.0.0.1:8188 or 127.0.0.1:8188 would be right")


def test_addresses_are_taken_as_people_have_them(monkeypatch):
    monkeypatch.delenv("SPACETIME_TOKEN", raising=False)
    parse = remote.Address.parse
    assert parse("localhost:8188").url == parse("http://localhost:8188/").url == "http://localhost:8188"
    assert parse("https://gpu.example/comfy/").url == "https://gpu.example/comfy"
    assert parse("[::1]:8188").url == "http://[::1]:8188"
    printed = parse("http://127.0.0.1:8188/?token=geheim12&file=a.json")
    assert printed.url == "http://127.0.0.1:8188" and printed.headers == {"Authorization": "Bearer geheim12"}
    login = parse("https://me:p%40ss@gpu.example")
    assert login.url == "https://gpu.example" and login.headers == {"Authorization": "Basic bWU6cEBzcw=="}


def test_the_environments_token_goes_to_this_machine_and_over_https_only(monkeypatch):
    monkeypatch.setenv("SPACETIME_TOKEN", "from-outside")
    parse = remote.Address.parse
    for here in ("localhost:1", "127.0.0.1:1", "[::1]:1", "https://gpu.example", "https://192.0.2.1/comfy"):
        assert parse(here).headers == {"Authorization": "Bearer from-outside"}, here
    for there in (
        "gpu:1",
        "http://192.0.2.1:8188",
        "http://localhost.gpu.example",
        "http://127.0.0.1.gpu.example",
        "0:1",
    ):
        assert parse(there).headers == {}, there
        assert parse(there, "mine").headers == {"Authorization": "Bearer mine"}, "named for this address"
    assert parse("http://gpu:1/?token=of-it").headers == {"Authorization": "Bearer of-it"}
    assert "Basic" in parse("http://me:word@localhost").headers["Authorization"]


def test_a_token_that_was_kept_back_is_said_where_one_is_wanted(run, fake, monkeypatch):
    async def closed(request):
        asked.append(request.headers.get("Authorization"))
        return web.Response(status=401)

    asked = []
    fake.before["/object_info"] = closed
    monkeypatch.setenv("SPACETIME_TOKEN", "geheim-1234")
    code, _, err = run(MAKE, f"0.0.0.0:{fake.port}")  # that is this machine, but its name doesn't say so
    assert code == 2 and asked == [None]
    says_one_line(
        err, "wants a token", "SPACETIME_TOKEN is told only to this machine and over https; --token TEXT sends"
    )
    assert "geheim" not in err


def test_what_cant_be_talked_to_is_told_in_one_line(run, fake):
    async def page(request):
        return web.Response(text="<html>It works!</html>", content_type="text/html")

    async def elsewhere(request):
        raise web.HTTPFound("https://gpu.example/object_info")

    async def busy(request):
        return web.Response(status=503)

    async def forbidden(request):
        return web.json_response({"error": {"message": "only my own pages"}}, status=403)

    async def dropped(request):
        request.transport.abort()

    for handler, words in (
        (page, ["is neither ComfyUI nor spacetime edit (it sent text/html)"]),
        (elsewhere, ["sends on to https://gpu.example/object_info; the address there would be right"]),
        (forbidden, ["refuses the request: only my own pages"]),
        (busy, ["no answer from http://127.0.0.1:", "status 503"]),
        (dropped, ["no answer from http://127.0.0.1:", "it ended the connection"]),
    ):
        fake.before["/object_info"] = handler
        code, out, err = run(MAKE, fake, "--json")
        assert code == 2 and json.loads(out)["ok"] is False
        says_one_line(err, *words)
    fake.before.clear()
    fake.definitions = {"a": 1}
    says_one_line(run(MAKE, fake)[2], "is neither ComfyUI nor spacetime edit")
    says_one_line(run(MAKE, f"https://127.0.0.1:{fake.port}")[2], "no secure connection to https://127.0.0.1:")
    code, _, err = run(MAKE, "127.0.0.1:1")
    assert code == 2
    says_one_line(err, "no answer from http://127.0.0.1:1: Connection refused")


def test_a_server_that_never_answers_is_given_up(run, fake, monkeypatch):
    import aiohttp
    from spacetime_nodes.host import client

    async def silent(request):
        await asyncio.sleep(2)

    monkeypatch.setattr(client, "SHORT", aiohttp.ClientTimeout(total=0.2))
    fake.before["/object_info"] = silent
    code, _, err = run(MAKE, fake)
    assert code == 2
    says_one_line(err, "no answer in time")


def test_a_server_with_a_token_gets_it(run, make_editor, monkeypatch):
    editor = make_editor(token="geheim-1234")
    code, _, err = run(WAITING, editor)
    assert code == 2
    says_one_line(err, "wants a token", "--token TEXT, or SPACETIME_TOKEN in the environment")
    assert run(WAITING, editor, "--token", "falsch-5678")[0] == 2
    assert run(WAITING, editor, "--token", "geheim-1234")[0] == 0
    code, out, err = run(WAITING, f"http://127.0.0.1:{editor.port}/?token=geheim-1234", "--set", "1.value=9")
    assert code == 0 and "geheim" not in out + err and "Hold on: 2/2" in err, "the socket carries it too"
    monkeypatch.setenv("SPACETIME_TOKEN", "geheim-1234")
    assert run(WAITING, editor)[0] == 0


def test_a_token_without_a_server_is_refused(here, capsys):
    assert main(["run", str(here / "x.json"), "--token", "geheim-1234"]) == 2
    says_one_line(capsys.readouterr().err, "--server URL")
