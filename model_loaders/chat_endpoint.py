"""Asks any OpenAI-compatible server (POST …/chat/completions). Its address and key come from the environment alone.

Format: the Chat Completions API of OpenAI, as llama.cpp, Ollama, LM Studio and vLLM serve it too.
"""

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

TIMEOUT = 120.0  # seconds for the whole answer; a model that has to be loaded first takes its time
POLL = 0.05  # seconds between looks at the cancel button
MAX_ANSWER = 1_000_000  # bytes
SECRET = 8  # characters; shorter keys are placeholders such as "none"
# Each address goes with its own key: OpenAI's mustn't be sent to somebody else's server.
VARIABLES = (
    ("SPACETIME_LLM_URL", "SPACETIME_LLM_KEY", "SPACETIME_LLM_MODEL"),
    ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"),
)


class EndpointError(ValueError):
    """The endpoint isn't set, can't be reached or answers nonsense, in one line without the key."""


@dataclass(frozen=True)
class Endpoint:
    url: str  # of chat/completions
    model: str
    key: str = field(repr=False)
    key_name: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Endpoint":
        for names in VARIABLES:
            url, key, model = (environment.get(name, "").strip() for name in names)
            if url:
                break
        else:
            raise EndpointError(
                "no chat endpoint is set: SPACETIME_LLM_URL in the environment should hold its address, such as "
                "http://localhost:11434/v1, SPACETIME_LLM_MODEL the model's name and SPACETIME_LLM_KEY its key if any"
            )
        if not model:
            raise EndpointError(f"{names[2]} isn't set: it should hold the name of a model that the chat endpoint has")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise EndpointError(f"{names[1]} holds characters that no key has (a line break, a space?)")
        return cls(_completions(url, names[0]), model, key, names[1])

    def __str__(self):
        parts = urllib.parse.urlsplit(self.url)
        return f"the chat endpoint {parts.scheme}://{parts.netloc}{parts.path}"  # a query may hold a key


def _completions(url: str, name: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable()
    except ValueError:  # a port that is no number
        good = False
    if not good or "@" in parts.netloc or not url.isascii() or " " in url:
        raise EndpointError(f"{name} is no address of a chat endpoint; http://localhost:11434/v1 would be one")
    path = parts.path.rstrip("/")
    path += "" if path.endswith("/chat/completions") else "/chat/completions"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def ask(endpoint: Endpoint, instruction: str, prompt: str, seed: int, check: Callable[[], None]) -> str:
    """The endpoint's answer to `prompt`. `check` raises when the user has cancelled; the wait ends at once."""
    system = [{"role": "system", "content": instruction}] if instruction.strip() else []
    body = {
        "model": endpoint.model,
        "messages": [*system, {"role": "user", "content": prompt}],
        "seed": seed % 2**31,  # servers hold it in 32 or 64 bits, with a sign
        "stream": False,
    }
    try:
        status, data = _wait(lambda stop: _post(endpoint, body, stop), endpoint, check)
        answer = _content(status, data, endpoint)
    except EndpointError as error:
        raise EndpointError(_without_key(str(error), endpoint)) from None
    return _without_key(answer, endpoint)


def _wait(work: Callable, endpoint: Endpoint, check: Callable[[], None]):
    """`work(stop)` on a thread of its own: a silent server holds up neither the cancel button nor the end."""
    done: dict = {}
    stop = threading.Event()

    def body():
        try:
            done["value"] = work(stop)
        except BaseException as error:
            done["error"] = error

    thread = threading.Thread(target=body, name="chat endpoint", daemon=True)
    end = time.monotonic() + TIMEOUT
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL)
            check()
            if time.monotonic() > end:
                raise EndpointError(f"{endpoint} hasn't answered within {TIMEOUT:g} s")
    finally:
        stop.set()
    if "error" in done:
        raise done["error"]
    return done["value"]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would take the key along to wherever it is sent."""

    def redirect_request(self, *args):
        return None


def _post(endpoint: Endpoint, body: dict, stop: threading.Event) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "spacetime"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    request = urllib.request.Request(endpoint.url, json.dumps(body).encode(), headers)
    try:
        try:
            response = urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            response = error  # its body says why
        with response:
            return response.status, _bounded(response, endpoint, stop)
    except TimeoutError:
        raise EndpointError(f"{endpoint} hasn't answered within {TIMEOUT:g} s") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, EndpointError):
            raise
        raise EndpointError(f"{endpoint} can't be reached: {_why(error)}") from None


def _bounded(response, endpoint: Endpoint, stop: threading.Event) -> bytes:
    data = b""
    while (chunk := response.read1(65536)) and not stop.is_set():
        data += chunk
        if len(data) > MAX_ANSWER:
            raise EndpointError(f"{endpoint} answered with more than {MAX_ANSWER:,} bytes, which is no caption")
    return data


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return _line(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__)


def _content(status: int, data: bytes, endpoint: Endpoint) -> str:
    """`choices[0].message.content` of an answer, or what is wrong with it."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if status != 200:
        raise EndpointError(f"{endpoint} {_refusal(status, endpoint)} (HTTP {status}{_said(answer)})")
    if answer is None:
        html = data[:200].lstrip().lower().startswith((b"<!doctype", b"<html", b"<head"))
        found = "a web page" if html else "nothing" if not data.strip() else "no JSON"
        hint = "; its address usually ends in /v1" if html else ""
        raise EndpointError(f"{endpoint} answered with {found} instead of a chat completion{hint}")
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        content = None
    if not isinstance(content, str):
        raise EndpointError(f"{endpoint} answered with JSON that has no choices[0].message.content{_said(answer)}")
    return content


def _refusal(status: int, endpoint: Endpoint) -> str:
    if status in (401, 403):
        return f"refuses the key; {endpoint.key_name} should hold one it knows"
    if status == 429:
        return "has had too many requests or its quota is used up; try again later"
    if status == 404:
        return f"has no such address, or no model {endpoint.model!r}"
    if 300 <= status < 400:
        return "sends us elsewhere; set the address it has moved to"
    return "failed" if status >= 500 else "refuses the request"


def _said(answer) -> str:
    """The server's own words, {"error": {"message": …}} or {"error": …}, as a short tail."""
    error = answer.get("error") if isinstance(answer, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    return f": {_line(text)}" if isinstance(text, str) and text.strip() else ""


def _line(text: str, limit: int = 200) -> str:
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _without_key(text: str, endpoint: Endpoint) -> str:
    return text.replace(endpoint.key, "•••") if len(endpoint.key) >= SECRET else text
