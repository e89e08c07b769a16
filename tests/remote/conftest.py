"""`spacetime run --server`, asked of a real `spacetime edit`, or of a server that misbehaves."""

import asyncio
import json
import threading

import pytest
from aiohttp import web
from spacetime_nodes.host import remote
from spacetime_nodes.host.cli import main

WAITING = {
    "1": {"class_type": "Wait", "inputs": {"value": 4, "steps": 2}, "_meta": {"title": "Hold on"}},
    "2": {"class_type": "Show", "inputs": {"value": ["1", 0]}},
}
PICTURES = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "猫 1.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
MAKE = {"5": {"class_type": "Make", "inputs": {"steps": 2}, "_meta": {"title": "My node"}}}


@pytest.fixture
def here(tmp_path):
    """The folder of the one who asks; the server's is its parent."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def run(here, capsys):
    """`spacetime run` of a graph on a server: exit code, stdout, stderr."""

    def call(graph, server, *arguments):
        url = server if isinstance(server, str) else f"127.0.0.1:{server.port}"
        if isinstance(graph, dict):
            (here / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
            graph = here / "graph.json"
        code = main(["run", str(graph), "--base", str(here), "--server", url, *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def picture(path, color="red", size=8):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), color).save(path)


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class Fake:
    """A server as bare as ComfyUI's oldest: no /api, no jobs. Every job is over at once with `outcome`, unless told
    otherwise."""

    def __init__(self):
        self.outcome = {"outputs": {}, "status": {"status_str": "success", "completed": True, "messages": []}}
        self.definitions = {"Make": self.node({"steps": ["INT", {"default": 1, "min": 1}]})}
        self.posted, self.running, self.pending, self.history = [], [], [], {}
        self.interrupted, self.deleted, self.sockets, self.views = [], [], 0, []
        self.before = {}  # a path's first part → a handler that is asked first; None from it goes on
        self.files = {}
        self.loop, self.ready, self.stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._serve()), daemon=True)
        self.thread.start()
        assert self.ready.wait(20)

    @staticmethod
    def node(inputs, **more):
        facts = {"input": {"required": inputs}, "output": [], "output_node": True, "display_name": "Make a thing"}
        return {**facts, **more}

    def close(self):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(20)

    def fails(self, event="execution_error", **data):
        data = {"node_id": "5", "exception_type": "ValueError", "exception_message": "no", **data}
        self.outcome = {"outputs": {}, "status": {"status_str": "error", "completed": False}}
        self.outcome["status"]["messages"] = [["execution_start", {}], [event, data]]

    def shows(self, *entries):
        self.outcome["outputs"] = {"5": {"images": list(entries)}}

    async def _serve(self):
        @web.middleware
        async def ask_first(request, handler):
            first = self.before.get("/" + request.path.split("/")[1])
            answer = await first(request) if first else None
            return answer if answer is not None else await handler(request)

        app = web.Application(middlewares=[ask_first])
        app.add_routes(
            [
                web.get("/object_info", lambda request: self.json(self.definitions)),
                web.post("/prompt", self.post),
                web.get("/history/{id}", self.get_history),
                web.get("/queue", lambda request: self.json(self.queue())),
                web.post("/queue", self.delete),
                web.post("/interrupt", self.interrupt),
                web.get("/view", self.view),
                web.get("/ws", self.socket),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self.ready.set()
        await self.stop.wait()
        await runner.cleanup()

    async def json(self, content):
        return web.json_response(content)

    def queue(self):
        return {"queue_running": [[0, one] for one in self.running], "queue_pending": self.pending}

    async def post(self, request):
        content = await request.json()
        self.posted.append(content)
        if self.outcome is not None:
            self.history[content["prompt_id"]] = self.outcome
        else:
            self.running.append(content["prompt_id"])
        return web.json_response({"prompt_id": content["prompt_id"], "number": 1, "node_errors": {}})

    async def get_history(self, request):
        found = self.history.get(request.match_info["id"])
        return web.json_response({request.match_info["id"]: found} if found else {})

    async def interrupt(self, request):
        job = (await request.json()).get("prompt_id")
        self.interrupted.append(job)
        self.running = [one for one in self.running if one != job]
        return web.Response()

    async def delete(self, request):
        self.deleted += (await request.json())["delete"]
        self.pending = [one for one in self.pending if one[1] not in self.deleted]
        return web.Response()

    async def view(self, request):
        self.views.append(dict(request.query))
        body = self.files.get(request.query["filename"])
        return web.Response(status=404) if body is None else web.Response(body=body)

    async def socket(self, request):
        self.sockets += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket


@pytest.fixture
def fake():
    fake = Fake()
    yield fake
    fake.close()


@pytest.fixture
def hasty(monkeypatch):
    """Looks more often than it would among people."""
    monkeypatch.setattr(remote, "POLL", 0.05)
    monkeypatch.setattr(remote, "ASK_QUEUE", 0.1)
