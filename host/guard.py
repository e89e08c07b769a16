"""Who may ask, what may be asked for, and how a refusal looks.

A page from elsewhere can make a browser send requests to 127.0.0.1, and with a DNS name that it points there even
read the answers. So the Host must be this machine's, the Origin this server's own; any address but loopback wants a
token besides. (CVE-2024-10481 and its kind.)
"""

import hmac
import ipaddress
import json
import logging
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlencode, urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..nodes import runtime
from .errors import HostError, one_line
from .events import as_json
from .workflow import parse

COOKIE = "spacetime_token"
TOKEN = "SPACETIME_TOKEN"  # the environment's name for it
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MOST_JSON = 64 * 2**20  # bytes of a request's body; uploads have a limit of their own
HEADERS = {
    # the editor compiles its templates and its schemas at run time, hence eval; no host but this one is in here
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Refused(Exception):
    """An answer other than 200, with its reason in one line."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request", details: str = ""):
        super().__init__(message)
        self.status, self.body = status, error_body(kind, message, details)


def error_body(kind: str, message: str, details: str = "") -> dict:
    """The shape that the editor knows from a refused prompt, for every refusal."""
    error = {"type": kind, "message": one_line(message), "details": one_line(details), "extra_info": {}}
    return {"error": error, "node_errors": {}}


def respond(content, status: int = 200) -> web.Response:
    return web.Response(text=as_json(content), status=status, content_type="application/json")


@web.middleware
async def plain_errors(request: web.Request, handler):
    """Every failure as JSON with one line; nothing that a request holds ends in a traceback."""
    try:
        return await handler(request)
    except Refused as refused:
        return respond(refused.body, refused.status)
    except HostError as error:
        return respond(error_body(error.code, error.message, error.hint), 400)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        words = {404: "there is nothing here", 405: f"{request.method} isn't understood here"}
        words[413] = f"the request is larger than {MOST_JSON // 2**20} MB"
        return respond(error_body("http_error", words.get(error.status, error.reason)), error.status)
    except (ConnectionError, HttpProcessingError, web.RequestPayloadError) as error:
        return respond(error_body("invalid_request", f"the request is broken: {error}"), 400)
    except OSError as error:
        return respond(error_body("file_error", f"that can't be read or written: {error.strerror or error}"), 400)
    except Exception as error:
        logging.getLogger("spacetime").exception("a request failed: %s %s", request.method, request.path)
        return respond(error_body("server_error", f"{type(error).__name__}: {error}"), 500)


def gatekeeper(host: runtime.Host, token: str | None):
    """The middleware that lets requests in; `token` is wanted where the server listens to more than this machine."""

    @web.middleware
    async def guard(request: web.Request, handler):
        refusal = stranger(request, local_only=token is None)
        if refusal:
            raise Refused(403, refusal, "forbidden")
        if token is not None and not _has_token(request, token):
            if request.path == "/" and _same(request.query.get("token", ""), token):
                opened = {"file": request.query["file"]} if "file" in request.query else {}
                answer = web.HTTPFound("/" + (f"?{urlencode(opened)}" if opened else ""))
                answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict", path="/")
                raise answer
            raise Refused(401, "this server wants its token: open the address that it printed at its start", "token")
        runtime.HOST.set(host)  # nodes list their files from there
        return await handler(request)

    return guard


def stranger(request: web.Request, local_only: bool) -> str | None:
    """Why this request doesn't come from the editor or a program of this machine; None if it may."""
    hosts, origins = request.headers.getall("Host", []), request.headers.getall("Origin", [])
    try:
        name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
    except ValueError:
        name = None
    if not name:
        return "the request has no proper Host header"
    if local_only and not is_loopback(name):
        return "this server answers to 127.0.0.1 and localhost only"
    if len(origins) > 1 or any(urlsplit_or_none(one) != hosts[0].lower() for one in origins):
        return "this server answers to its own pages only"
    site = request.headers.get("Sec-Fetch-Site", "none")
    opens_page = request.path == "/" and request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET"
    if site not in ("none", "same-origin") and not opens_page:
        return "this server answers to its own pages only"
    return None


def urlsplit_or_none(origin: str) -> str | None:
    """'http://localhost:8188' → 'localhost:8188'."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def _has_token(request: web.Request, token: str) -> bool:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return _same(bearer, token) or _same(request.cookies.get(COOKIE, ""), token)


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


async def add_headers(request: web.Request, response: web.StreamResponse):
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")


# what a request holds


async def read_json(request: web.Request, otherwise=...):
    """The body as JSON; an empty one is `otherwise` where that is given.

    A page from elsewhere can post text/plain without asking first, so that is taken from our own pages only.
    """
    data = await request.read()
    if not data.strip() and otherwise is not ...:
        return otherwise
    if request.content_type != "application/json" and "Origin" not in request.headers:
        raise Refused(415, f"the body is called {request.content_type}; application/json would be right")
    if not data.strip():
        raise Refused(400, "the request has no body; JSON would be right")
    if any(word in data for word in (b"NaN", b"Infinity")):
        try:
            json.loads(data, parse_constant=_no_constant)
        except ValueError as error:
            raise Refused(400, f"the request is no valid JSON: {error}") from error
        except RecursionError:
            pass  # told below
    return parse(data, "the request")


def _no_constant(name: str):
    raise ValueError(f"{name} is no number")


async def read_object(request: web.Request, otherwise=...) -> dict:
    content = await read_json(request, otherwise)
    if not isinstance(content, dict):
        raise Refused(400, f"the request is {type(content).__name__}; a JSON object would be right")
    return content


def texts(content: dict, name: str) -> list[str]:
    """A list of ids."""
    value = content.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Refused(400, f"{name} should be a list of texts")
    return value


def whole_number(request: web.Request, name: str, default: int | None, least: int = 0) -> int | None:
    """A number in the query."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    if not re.fullmatch(r"-?[0-9]{1,9}", text) or int(text) < least:
        raise Refused(400, f"{name}={text[:40]} isn't a whole number from {least} on")
    return int(text)


def inside(folder: Path, *parts: str) -> Path:
    """A file below `folder`. Refused where the name leads out of it: by dots, from the root, through a symlink."""
    for part in parts:
        if any(ord(one) < 32 or one == "\\" for one in part) or re.match(r"[A-Za-z]:", part) or not _encodes(part):
            raise Refused(400, "a name has characters that no file here has")
    relative = PurePosixPath(*filter(None, parts))
    if relative.is_absolute() or ".." in relative.parts:
        raise Refused(403, "that name leads out of its folder", "forbidden")
    try:
        root = folder.resolve()
        path = (root / relative).resolve()
        path.is_file()  # a name too long for the disk says so here
    except (OSError, RuntimeError, ValueError) as error:
        raise Refused(400, f"no file can have that name: {getattr(error, 'strerror', None) or error}") from error
    if not path.is_relative_to(root):
        raise Refused(403, "that name leads out of its folder", "forbidden")
    return path


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
