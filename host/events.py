"""What the editor hears: one websocket a window, JSON events and binary previews, each window in order.

`Hub.send` may be called from any thread. A window that doesn't listen misses pictures first, then is let go.
"""

import asyncio
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4  # types of binary frames
IMAGE_FORMATS = {"JPEG": (1, "image/jpeg"), "PNG": (2, "image/png")}
MANY, TOO_MANY = 200, 20_000  # messages that a window hasn't read
MOST_BYTES = 2**20  # of a message to us
LONGEST_ID = 200


def as_json(content: Any) -> str:
    """JSON that a browser reads: plain ASCII, no NaN; what isn't JSON becomes text."""
    try:
        return json.dumps(content, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(finite(content), default=str)


def finite(content: Any) -> Any:
    """NaN becomes null, infinities the largest number."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else math.copysign(1.7e308, content)
    return content


@dataclass(eq=False)
class Client:
    socket: web.WebSocketResponse
    id: str
    drop: Callable[[], None]  # ends the connection without a word
    wants_metadata: bool = False
    waiting: asyncio.Queue = field(default_factory=asyncio.Queue)


class Hub:
    """Every open window."""

    def __init__(self, features: dict):
        self.features = features
        self.clients: list[Client] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    def send(self, event: str, data: dict, client_id: str | None = None):
        """To one window (both, where a copied tab has the same id), or to all."""
        self._post(as_json({"type": event, "data": data}), client_id)

    def send_preview(self, image: bytes, format: str, about: dict, client_id: str | None):
        """A picture, encoded as JPEG or PNG; `about` says whose it is, to windows that understand it."""
        number, kind = IMAGE_FORMATS[format]
        facts = as_json({**about, "image_type": kind}).encode()
        plain = struct.pack(">II", PREVIEW, number) + image
        self._post((plain, struct.pack(">II", PREVIEW_WITH_METADATA, len(facts)) + facts + image), client_id)

    def send_text(self, text: str, node_id: str, prompt_id: str, client_id: str | None):
        """A line on a node."""
        parts = (prompt_id.encode(), node_id.encode())
        head = b"".join(struct.pack(">I", len(part)) + part for part in parts)
        message = struct.pack(">I", TEXT) + head + text.encode("utf-8", "replace")
        self._post((message, message), client_id)

    def listens(self, client_id: str | None) -> bool:
        return any(client_id in (None, client.id) for client in list(self.clients))

    async def close(self):
        for client in list(self.clients):
            await client.socket.close()

    def _post(self, message, client_id: str | None):
        try:
            self.loop.call_soon_threadsafe(self._put, message, client_id)
        except (AttributeError, RuntimeError):  # before the start and after the end nobody listens
            pass

    def _put(self, message, client_id: str | None):
        for client in self.clients:
            if client_id not in (None, client.id):
                continue
            unread = client.waiting.qsize()
            if unread > TOO_MANY:
                client.drop()
            elif unread < MANY or isinstance(message, str):
                client.waiting.put_nowait(message)

    async def talk(self, request: web.Request, client_id: str, greeting: list[tuple[str, dict]]):
        """Serve one window until it closes. `greeting`: the events it gets first."""
        socket = web.WebSocketResponse(max_msg_size=MOST_BYTES, heartbeat=30)
        await socket.prepare(request)
        client = Client(socket, client_id, request.transport.abort)
        for event, data in greeting:
            client.waiting.put_nowait(as_json({"type": event, "data": data}))
        self.clients.append(client)
        writer = asyncio.create_task(self._write(client))
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    self._hear(client, message.data)
        finally:
            self.clients.remove(client)
            writer.cancel()
        return socket

    async def _write(self, client: Client):
        while True:
            message = await client.waiting.get()
            try:
                if isinstance(message, str):
                    await client.socket.send_str(message)
                else:
                    await client.socket.send_bytes(message[client.wants_metadata])
            except (ConnectionError, RuntimeError):  # closed meanwhile
                return

    def _hear(self, client: Client, text: str):
        """The only thing a window says: what it understands. Anything else is passed over."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, dict) or message.get("type") != "feature_flags":
            return
        flags = message.get("data")
        client.wants_metadata = isinstance(flags, dict) and flags.get("supports_preview_metadata") is True
        client.waiting.put_nowait(as_json({"type": "feature_flags", "data": self.features}))
