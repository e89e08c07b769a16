"""The embedded server: the unmodified ComfyUI editor's pages, and the protocol that it speaks.

Everything here stands without torch; the worker's first job brings it.
"""

import asyncio
import errno
import importlib.util
import platform
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from threading import Thread

from aiohttp import web

from ..media import names
from ..model_loaders import devices
from ..nodes import runtime
from ..spacetime.cost import available_bytes, machine_bytes
from . import catalog, files, prompts, userdata
from .errors import NodeFailed
from .events import Hub
from .executor import Executor
from .files import MOST_UPLOAD
from .guard import MOST_JSON, Refused, add_headers, gatekeeper, plain_errors, respond
from .jobs import Jobs
from .packs import Pack, together
from .prompts import identity
from .worker import Worker

FEATURES = {
    "supports_preview_metadata": True,
    "supports_progress_text_metadata": True,
    "max_upload_size": MOST_UPLOAD,
    "assets": False,
}
PATIENCE = 3  # seconds that a job gets to stop when the server ends
OPENER = "/extensions/spacetime-host/open.js"


@dataclass
class Server:
    """One base folder, one queue, any number of windows."""

    host: runtime.Host
    packs: list[Pack]
    token: str | None = None
    opened: Path | None = None  # the workflow that the first window shows
    jobs: Jobs = field(init=False)
    hub: Hub = field(init=False)
    worker: Worker = field(init=False)
    working: Thread = field(init=False)
    classes: dict[str, type] = field(init=False)
    pages: Path = field(default_factory=lambda: frontend())
    scripts: list[str] = field(default_factory=lambda: [OPENER])

    def __post_init__(self):
        self.classes = together(self.packs)
        self.hub = Hub(FEATURES)
        self.jobs = Jobs(on_change=lambda: self.hub.send("status", self.status()))
        self.worker = Worker(self.jobs, self.hub, Executor(self.classes, self.host, keep=True))

    @property
    def user_dir(self) -> Path:
        return self.host.base / "user" / "default"

    def status(self) -> dict:
        return {"status": {"exec_info": {"queue_remaining": self.jobs.remaining()}}}


def make_app(server: Server) -> web.Application:
    app = web.Application(
        middlewares=[plain_errors, gatekeeper(server.host, server.token)],
        client_max_size=MOST_JSON,
    )
    app.on_response_prepare.append(add_headers)
    routes = [
        *_own_routes(server),
        *(route for room in (catalog, prompts, files, userdata) for route in room.routes(server)),
    ]
    app.add_routes(
        [web.RouteDef(one.method, prefix + one.path, one.handler, {}) for prefix in ("/api", "") for one in routes]
    )
    app.add_routes(_pages(server.pages))
    app.on_startup.append(lambda app: _start(server))
    app.on_shutdown.append(lambda app: _stop(server))
    return app


async def _start(server: Server):
    server.hub.loop = asyncio.get_running_loop()
    server.working = server.worker.start()


async def _stop(server: Server):
    """The job at work is asked to stop and gets a moment to; what it leaves half written is removed."""
    server.jobs.close()
    await server.hub.close()
    await asyncio.to_thread(server.working.join, PATIENCE)
    names.abandon()


def frontend() -> Path:
    """The editor's pages."""
    spec = importlib.util.find_spec("comfyui_frontend_package")
    if spec is None:
        hint = "pip install 'spacetime-nodes[standalone]' brings it"
        raise NodeFailed("the editor's pages (comfyui-frontend-package) aren't installed", hint)
    return Path(spec.submodule_search_locations[0], "static")


def _own_routes(server: Server) -> list[web.RouteDef]:
    async def websocket(request):
        client_id = identity(dict(request.query), "clientId") or uuid.uuid4().hex
        greeting = [("status", {**server.status(), "sid": client_id})]
        telling = server.worker.telling
        if telling is not None and telling.job.client_id == client_id:
            greeting += telling.greeting()
        return await server.hub.talk(request, client_id, greeting)

    async def features(request):
        return respond(FEATURES)

    async def system_stats(request):
        return respond(await asyncio.to_thread(machine))

    async def nothing(request):
        return respond({})

    async def no_list(request):
        return respond([])

    async def no_words(request):
        return web.Response(text="")

    async def opener(request):
        return web.FileResponse(Path(__file__).with_name("open.js"), headers={"Content-Type": "text/javascript"})

    async def opened(request):
        """The workflow named on the command line, once the page asks for it."""
        if server.opened is None or not server.opened.is_file():
            return web.Response(status=204)
        headers = {"Content-Disposition": "attachment", "Content-Type": "application/octet-stream"}
        return web.FileResponse(server.opened, headers=headers)

    return [
        web.get("/ws", websocket),
        web.get("/features", features),
        web.get("/system_stats", system_stats),
        web.get("/spacetime/opened", opened),
        web.get(OPENER, opener),
        web.get("/global_subgraphs", nothing),
        web.get("/node_replacements", nothing),
        web.get("/internal/folder_paths", nothing),
        web.get("/internal/logs", no_words),
        web.get("/embeddings", no_list),
        web.get("/templates/index.json", no_list),
    ]


def _pages(root: Path) -> list[web.AbstractRouteDef]:
    async def page(request):
        return web.FileResponse(root / "index.html", headers={"Cache-Control": "no-store"})

    async def unknown(request):
        raise Refused(404, f"there is no {request.path[:200]} here", "not_found")

    return [web.get("/", page), web.route("*", "/api/{rest:.*}", unknown), web.static("/", root)]


def machine() -> dict:
    """What the editor's About page shows. torch is asked only if it is loaded anyway."""
    total, free = machine_bytes() or 0, available_bytes() or 0
    device = {"name": "cpu", "type": "cpu", "index": 0, "vram_total": total, "vram_free": free}
    if gpu := devices.first_gpu():
        facts = devices.properties(gpu)
        device |= {"name": facts.name, "type": gpu.type, "vram_total": facts.total_memory}
        device["vram_free"] = devices.free_bytes(gpu)
    device |= {"torch_vram_total": device["vram_total"], "torch_vram_free": device["vram_free"]}
    system = {"os": sys.platform, "ram_total": total, "ram_free": free, "comfyui_version": "spacetime " + version()}
    system |= {"python_version": platform.python_version(), "pytorch_version": version("torch")}
    return {"system": {**system, "embedded_python": False, "argv": []}, "devices": [device]}


def version(package: str = "spacetime-nodes") -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


async def serve(server: Server, address: str, ports: list[int], on_ready: Callable[[int], None], stop: asyncio.Event):
    """Answer on the first free one of `ports` until `stop` is set. OSError where none is free."""
    runner = web.AppRunner(make_app(server), access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        for port in ports:
            try:
                site = web.TCPSite(runner, address, port)
                await site.start()
                break
            except OSError as error:
                if port == ports[-1]:  # asyncio gives no reason from Python 3.13 on where the address isn't ours
                    raise error if error.errno else OSError(errno.EADDRNOTAVAIL, str(error)) from error
        on_ready(runner.addresses[0][1])
        await stop.wait()
    finally:
        await runner.cleanup()
