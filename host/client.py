"""What is asked of a server over HTTP: JSON, files there, files back. Every failure is one line.

Only routes that every ComfyUI since 2023 has, and `spacetime edit` too.
"""

import asyncio
import errno
import json
import os
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp

from .errors import ServerFailed, UsageError, one_line, shorten
from .guard import TOKEN, is_loopback

SHORT = aiohttp.ClientTimeout(total=60, sock_connect=10)
LONG = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)  # a file may take its time, but it must flow
CHUNK = 2**20  # bytes


class Away(Exception):
    """Nobody answers just now: refused, dropped, timed out. Who has time may ask again."""


@dataclass(frozen=True)
class Address:
    """Where a server is, and the secret that it wants. The url holds no secrets: it is shown."""

    url: str
    headers: dict[str, str]
    hint: str = f"--token TEXT, or {TOKEN} in the environment"  # if it wants another secret, or one at all

    @classmethod
    def parse(cls, text: str, token: str | None = None) -> "Address":
        """http://host:port/path, https://…, host:port, or the line that `spacetime edit` prints, with its token.

        A token that comes with the address is meant for it. The environment's is told only to this machine and over
        https: on its way to any other address, also to one mistyped, everybody could read it.
        """
        shown = shorten(text.partition("?")[0].rpartition("@")[2])
        wrong = UsageError(f"--server {shown!r} is no address; http://127.0.0.1:8188 or 127.0.0.1:8188 would be right")
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise wrong from error
        if parts.scheme not in ("http", "https") or not host or not text.isprintable() or " " in text or port == 0:
            raise wrong
        host = f"[{host}]" if ":" in host else host
        url = f"{parts.scheme}://{host}" + (f":{port}" if port else "") + parts.path.rstrip("/")

        token = token or next(iter(parse_qs(parts.query).get("token", [])), None)
        if parts.username is not None and token is not None:
            raise UsageError("--server takes a name and password in the address, or a token, not both")
        kept = os.environ.get(TOKEN) if parts.username is None and not token else None
        withheld = kept and parts.scheme != "https" and not is_loopback(parts.hostname)
        token = token or (None if withheld else kept)
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise UsageError("the token has characters that no token has")
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            return cls(url, {"Authorization": f"Basic {b64encode(login.encode()).decode()}"})
        if withheld:
            return cls(url, {}, f"{TOKEN} is told only to this machine and over https; --token TEXT sends it here")
        return cls(url, {"Authorization": f"Bearer {token}"} if token else {})


class Client:
    """`async with Client(address) as client:`"""

    def __init__(self, address: Address):
        self.address, self.url = address, address.url

    async def __aenter__(self) -> "Client":
        self.session = aiohttp.ClientSession(headers=self.address.headers)
        return self

    async def __aexit__(self, *error):
        await self.session.close()

    async def json(self, method: str, path: str, content=None) -> tuple[int, dict]:
        """The status and the object that is answered; {} where there is none."""
        async with self._ask(method, path, json=content) as answer:
            data = await answer.read()
            try:
                found = json.loads(data) if data else {}
            except (ValueError, RecursionError) as error:
                if answer.status < 400:
                    raise self.stranger(answer.content_type) from error
                found = {}
            return answer.status, found if isinstance(found, dict) else {}

    async def definitions(self) -> dict[str, dict]:
        """Every node that the server knows."""
        status, found = await self.json("GET", "/object_info")
        if status != 200 or not any(isinstance(one, dict) and "input" in one for one in found.values()):
            raise self.stranger(f"status {status}" if status != 200 else "no nodes")
        return found

    async def glance(self, **file: str) -> tuple[int, bytes] | None:
        """How many bytes a file has there (-1 where that isn't told), and the first of them; None if there is none."""
        async with self._ask("GET", "/view", params=file) as answer:
            length = answer.headers.get("Content-Length", "")
            if answer.status != 200:
                return None
            return int(length) if length.isdecimal() else -1, await answer.content.read(CHUNK)

    async def upload(self, path: Path, name: str, subfolder: str) -> str:
        """Put a file into the server's input folder; the name that it got there."""
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("type", "input")
        form.add_field("subfolder", subfolder)
        with path.open("rb") as file:
            form.add_field("image", file, filename=name)
            async with self._ask("POST", "/upload/image", LONG, data=form) as answer:
                content = json.loads(await answer.read()) if answer.status == 200 else {}
        if not isinstance(content, dict) or not isinstance(content.get("name"), str):
            what = {413: "it is too large for it"}.get(answer.status, f"status {answer.status}")
            raise ServerFailed(f"the server doesn't take {shorten(name)}: {what}", "copy it into its input folder")
        return content["name"]

    async def download(self, file, **which: str):
        """Write a file of the server into an open one."""
        async with self._ask("GET", "/view", LONG, params=which) as answer:
            if answer.status != 200:
                raise ServerFailed(f"the server doesn't give {shorten(which['filename'])}: status {answer.status}")
            async for chunk in answer.content.iter_chunked(CHUNK):
                file.write(chunk)

    def socket(self, client_id: str):
        """An async context manager; TimeoutError, OSError or aiohttp.ClientError where there is none."""
        return self.session.ws_connect(f"{self.url}/ws?clientId={client_id}", heartbeat=20, max_msg_size=2**26)

    @asynccontextmanager
    async def _ask(self, method: str, path: str, timeout: aiohttp.ClientTimeout | None = None, **options):
        timeout = timeout or SHORT
        request = self.session.request(method, self.url + path, allow_redirects=False, timeout=timeout, **options)
        try:
            async with request as answer:
                await self._let_in(answer)
                yield answer
        except aiohttp.ClientSSLError as error:
            inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
            what = getattr(inner, "verify_message", "") or getattr(inner, "reason", None) or str(inner)
            hint = "SSL_CERT_FILE names a file of certificates to trust"
            raise UsageError(f"no secure connection to {self.url}: {what}", hint) from error
        except aiohttp.InvalidURL as error:
            raise UsageError(f"--server {self.url} is no address") from error
        except (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError) as error:
            raise Away(_reason(error)) from error

    async def _let_in(self, answer: aiohttp.ClientResponse):
        """Whether it is ours to ask at all."""
        if answer.status in (401, 403):
            what = "wants a token" if answer.status == 401 else "refuses the request"
            why = words(await _object(answer))
            hint = self.address.hint if answer.status == 401 else ""
            raise UsageError(f"{self.url} {what}" + (f": {why}" if why else ""), hint)
        if 300 <= answer.status < 400:
            there = shorten(answer.headers.get("Location", "elsewhere"), 200)
            raise UsageError(f"{self.url} sends on to {there}; the address there would be right")
        if answer.status in (502, 503, 504):
            raise Away(f"status {answer.status}")

    def stranger(self, what: str) -> UsageError:
        return UsageError(f"what answers at {self.url} is neither ComfyUI nor spacetime edit (it sent {what})")


def words(content: dict) -> str:
    """What an answer that refuses says."""
    error = content.get("error")
    error = error.get("message") if isinstance(error, dict) else error
    return one_line(error, 300) if isinstance(error, str) else ""


async def _object(answer: aiohttp.ClientResponse) -> dict:
    try:
        content = json.loads(await answer.read())
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _reason(error: Exception) -> str:
    """What the system says, in words; not where in the library."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it ended the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer broke off"
    inner = getattr(error, "os_error", error)
    number = getattr(inner, "errno", None)
    if number in errno.errorcode:
        return os.strerror(number)
    return one_line(getattr(inner, "strerror", None) or str(error)) or type(error).__name__
