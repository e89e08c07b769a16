"""A chat endpoint: what it is asked, what becomes of its answer, and where the key never goes."""

import json
import time

import pytest
from spacetime_nodes.model_loaders import chat_endpoint
from spacetime_nodes.nodes import runtime

from .conftest import KEY, completion


def test_an_endpoint_is_asked_in_the_usual_form(expand, server):
    server.data = completion('<think>Hm,\nred.</think>\n\n"A red ball\n\nrolls\u202ewest\ud800now."\n')
    assert expand("red ball", "chat endpoint", seed=2**64 - 1) == "A red ball rolls west now."
    ((path, headers),) = server.asked
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    system, user = server.bodies[0].pop("messages")
    assert (system, user) == (
        {"role": "system", "content": "Describe it."},
        {"role": "user", "content": "red ball"},
    )
    assert server.bodies[0] == {"model": "some-model", "seed": 2**31 - 1, "stream": False}


@pytest.mark.parametrize(
    ("status", "data", "says"),
    [
        (200, b"not JSON", "answered with no JSON instead of a chat completion"),
        (200, b"", "answered with nothing instead of a chat completion"),
        (200, b"<!DOCTYPE html><p>Hello", "answered with a web page instead of .*usually ends in /v1"),
        (200, b"\xff\xfe\x00", "answered with no JSON"),
        (200, b"[" * 100_000, "answered with no JSON"),
        (200, b"[1, 2]", "JSON that has no choices"),
        (200, b'{"choices": []}', "JSON that has no choices"),
        (200, b'{"error": "out of cheese"}', "JSON that has no choices.*: out of cheese"),
        (200, completion(None), "JSON that has no choices"),
        (200, completion({"a": 1}), "JSON that has no choices"),
        (200, completion(" \n"), "answered with an empty text"),
        (200, completion("<think>on and on"), "answered with an empty text"),
        (200, completion("word " * 1000), "answered with 4999 characters; a caption has at most 4000"),
        (200, completion("x" * 2_000_000), "answered with more than 1,000,000 bytes"),
        (401, b'{"error": {"message": "bad key\\n"}}', r"refuses the key; SPACETIME_LLM_KEY .*\(HTTP 401: bad key\)"),
        (403, b"no", r"refuses the key.*\(HTTP 403\)"),
        (404, b'{"error": "no model"}', r"has no such address, or no model 'some-model' \(HTTP 404: no model\)"),
        (429, b"", r"too many requests or its quota is used up; try again later \(HTTP 429\)"),
        (500, b"<html>oops", r"failed \(HTTP 500\)"),
        (400, json.dumps({"error": {"message": "y" * 9999}}).encode(), r"refuses the request \(HTTP 400: y{199}…\)"),
    ],
)
def test_nonsense_from_an_endpoint_is_one_clear_line(expand, server, status, data, says):
    server.status, server.data = status, data
    with pytest.raises(ValueError, match=says) as error:
        expand("red ball", "chat endpoint")
    told = str(error.value)
    assert told.startswith(f"the chat endpoint {server.url}/chat/completions ") and "\n" not in told and len(told) < 400


def test_an_endpoint_that_is_down_is_one_clear_line(expand, server, monkeypatch):
    monkeypatch.setenv("SPACETIME_LLM_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="http://127.0.0.1:9/v1/chat/completions can't be reached: Connection refused"):
        expand("red ball", "chat endpoint")


def silent(handler, over):
    over.wait(30)


def dripping(handler, over):
    handler.send_response(200)
    handler.end_headers()
    while not over.wait(0.05):
        handler.wfile.write(b" ")


def hanging_up(handler, over):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")


def babbling(handler, over):
    handler.wfile.write(b"220 mail.example.org ESMTP\r\n")


@pytest.mark.parametrize("answer", [silent, dripping])
def test_a_slow_endpoint_is_waited_for_only_so_long(expand, server, monkeypatch, answer):
    monkeypatch.setattr(chat_endpoint, "TIMEOUT", 1.0)
    server.answer = answer
    start = time.monotonic()
    with pytest.raises(ValueError, match="(hasn't answered within 1 s|can't be reached: timed out)"):
        expand("red ball", "chat endpoint")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(("answer", "says"), [(hanging_up, "no JSON"), (babbling, "can't be reached: 220 mail")])
def test_a_server_that_breaks_off_or_speaks_another_language_is_one_clear_line(expand, server, answer, says):
    server.answer = answer
    with pytest.raises(ValueError, match=says):
        expand("red ball", "chat endpoint")


def test_cancelling_ends_the_wait(expand, server, host):
    server.answer = silent
    host.is_interrupted = lambda: bool(server.bodies)
    start = time.monotonic()
    with pytest.raises(runtime.Interrupted):
        expand("red ball", "chat endpoint", on_failure="pass the prompt on")
    assert time.monotonic() - start < 10 and host.notices == []


def test_the_key_stays_out_of_every_message_and_caption(expand, server, host):
    server.data = completion(f"You sent {KEY}.")
    assert expand("red ball", "chat endpoint") == "You sent •••."
    server.status, server.data = 401, json.dumps({"error": {"message": f"Bearer {KEY} is wrong"}}).encode()
    with pytest.raises(ValueError, match="Bearer ••• is wrong") as error:
        expand("red ball", "chat endpoint")
    expand("red ball", "chat endpoint", on_failure="pass the prompt on")
    assert KEY not in str(error.value) + str(host.notices) + repr(chat_endpoint.Endpoint.from_environment())


def test_the_key_is_not_taken_to_where_an_endpoint_points(expand, server):
    server.status, server.headers = 302, {"Location": f"{server.url}/elsewhere"}
    with pytest.raises(ValueError, match=r"sends us elsewhere; set the address it has moved to \(HTTP 302\)"):
        expand("red ball", "chat endpoint")
    assert len(server.asked) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:11434/v1", "http://", "http://me:word@127.0.0.1/v1",
                                 "http://127.0.0.1:port/v1", "http://127.0.0.1/v1 x", "http://a\r\nb/v1"])  # fmt: skip
def test_an_address_that_is_none_is_refused_without_repeating_it(expand, server, monkeypatch, url):
    monkeypatch.setenv("SPACETIME_LLM_URL", url)
    with pytest.raises(
        ValueError, match="^SPACETIME_LLM_URL is no address of a chat endpoint; http://localhost"
    ) as error:
        expand("red ball", "chat endpoint")
    assert "word" not in str(error.value)


def test_what_the_environment_lacks_is_said(expand, server, monkeypatch):
    monkeypatch.delenv("SPACETIME_LLM_MODEL")
    with pytest.raises(ValueError, match="SPACETIME_LLM_MODEL isn't set"):
        expand("red ball", "chat endpoint")
    monkeypatch.setenv("SPACETIME_LLM_MODEL", "m")
    monkeypatch.setenv("SPACETIME_LLM_KEY", f"{KEY}\nX-Header: 1")
    with pytest.raises(ValueError, match="^SPACETIME_LLM_KEY holds characters that no key has") as error:
        expand("red ball", "chat endpoint")
    assert KEY not in str(error.value)
    monkeypatch.delenv("SPACETIME_LLM_URL")
    with pytest.raises(ValueError, match="no chat endpoint is set: SPACETIME_LLM_URL in the environment should hold"):
        expand("red ball", "chat endpoint")


def test_openais_variables_serve_too_but_never_send_their_key_elsewhere(expand, server, monkeypatch):
    monkeypatch.delenv("SPACETIME_LLM_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/openai/")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_MODEL", "theirs")
    expand("red ball", "chat endpoint")
    assert server.bodies[0]["model"] == "some-model" and "Authorization" not in server.asked[0][1]
    monkeypatch.delenv("SPACETIME_LLM_URL")
    expand("red ball", "chat endpoint")
    path, headers = server.asked[1]
    assert path == "/v1/openai/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert server.bodies[1]["model"] == "theirs"
