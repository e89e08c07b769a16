"""What a server tells over its websocket while it computes a job. It only informs: without it the job goes on."""

import asyncio
import json
import struct
import uuid

import aiohttp

from ..nodes.runtime import STATUS
from .client import Client
from .console import Console
from .errors import one_line, shorten
from .events import TEXT
from .graph import title

RETRY, LONGEST_RETRY = 0.5, 15.0  # seconds until the socket is opened again
FIRST = 5.0  # seconds that a job waits for the socket at first
MOST_TEXTS = 200


class Listener:
    """`async with`: the socket is open, or was tried at least, and heard until the end."""

    def __init__(self, client: Client, console: Console, prompt: dict[str, dict], classes: dict[str, type]):
        self.client, self.console = client, console
        self.prompt, self.classes = prompt, classes
        self.id, self.job_id = uuid.uuid4().hex, None
        self.tried = asyncio.Event()
        self.news = asyncio.Event()  # the job may be over, or the server another
        self.display: dict[str, str] = {}  # nodes that others unfolded to: the one that is drawn
        self.texts: dict[str, None] = {}  # what nodes of ours said
        self.blocked: dict | None = None  # why an output stayed empty; ComfyUI's history doesn't hold it

    async def __aenter__(self) -> "Listener":
        self.task = asyncio.create_task(self._listen())
        try:
            await asyncio.wait_for(self.tried.wait(), FIRST)
        except asyncio.TimeoutError:
            pass
        return self

    async def __aexit__(self, *error):
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _listen(self):
        wait = RETRY
        while True:
            try:
                async with self.client.socket(self.id) as socket:
                    flags = {"supports_preview_metadata": False, "supports_progress_text_metadata": True}
                    await socket.send_json({"type": "feature_flags", "data": flags})
                    self.tried.set()
                    async for message in socket:
                        wait = RETRY
                        self._hear(message)
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
                pass
            self.tried.set()
            self.news.set()
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_RETRY)

    def _hear(self, message: aiohttp.WSMessage):
        if message.type == aiohttp.WSMsgType.BINARY:
            return self._hear_text(message.data)
        try:
            content = json.loads(message.data)
            event, data = content["type"], content["data"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        if not isinstance(data, dict) or data.get("prompt_id") != self.job_id:
            return
        node_id = data.get("node")
        if event == "executing" and node_id is None:
            self.news.set()
        elif event == "executing" and isinstance(data.get("display_node"), str):
            self.display[str(node_id)] = data["display_node"]
        elif event == "progress":
            self._progress(str(node_id), data.get("value"), data.get("max"))
        elif event == "execution_error" and data.get("exception_type") == "ExecutionBlocked":
            self.blocked = self.blocked or data

    def _progress(self, node_id: str, value, total):
        if all(type(one) in (int, float) and 0 <= one < 2**31 for one in (value, total)):
            node = self.prompt.get(self.display.get(node_id, node_id)) or self.prompt.get(node_id.partition(".")[0])
            shown = title(node, self.classes.get(node["class_type"])) if node else f"node {shorten(node_id)}"
            self.console.progress(node_id, one_line(shown, 60), int(value), int(total))

    def _hear_text(self, data: bytes):
        """A line on a node: notices and shown texts alike. The node's id stands before it, newer servers put the job's
        first."""
        if len(data) < 8 or struct.unpack(">I", data[:4])[0] != TEXT:
            return
        parts, rest = [], data[4:]
        for _ in range(2):
            length = struct.unpack(">I", rest[:4])[0] if len(rest) >= 4 else 0
            parts.append(rest[4 : 4 + length].decode("utf-8", "replace"))
            rest = rest[4 + length :]
            if parts[0] != self.job_id:
                break
        node = self.prompt.get(parts[-1])
        text = rest.decode("utf-8", "replace")
        if text.startswith(STATUS):
            return  # the console has a bar for it
        if node and str(node.get("class_type")).startswith("Spacetime") and len(self.texts) < MOST_TEXTS:
            self.texts[text] = None

    def tell_texts(self, outputs):
        """Say what nodes said, except what is told as a result."""
        results = {
            "\n".join(ui["text"])
            for ui in (outputs.values() if isinstance(outputs, dict) else ())
            if isinstance(ui, dict) and isinstance(ui.get("text"), list) and all(isinstance(t, str) for t in ui["text"])
        }
        for text in self.texts:
            if text not in results:
                self.console.notice(text)
