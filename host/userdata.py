"""Routes about what the editor keeps for its user: settings, saved workflows, small files. All below user/default/."""

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from .guard import Refused, inside, read_json, read_object, respond

if TYPE_CHECKING:
    from .server import Server

DEFAULTS = {"Comfy.Notification.ShowVersionUpdates": False}  # it would ask another host
SETTINGS = "comfy.settings.json"  # ComfyUI's name: its users may bring theirs
TYPES = {".json": "application/json", ".css": "text/css"}


def routes(server: "Server") -> list[web.RouteDef]:
    home = server.user_dir
    writing = asyncio.Lock()

    def place(request, name="path") -> Path:
        path = inside(home, request.match_info[name])
        if path == home.resolve():
            raise Refused(400, "a file's name is missing")
        return path

    def existing(request) -> Path:
        path = place(request)
        if not path.is_file():
            raise Refused(404, "there is no such file", "not_found")
        return path

    def free_for(request, path: Path) -> Path:
        if path.is_dir():
            raise Refused(409, "there is a folder of that name", "exists")
        if path.exists() and request.query.get("overwrite") == "false":
            raise Refused(409, "there is a file of that name already", "exists")
        return path

    async def users(request):
        return respond({"storage": "server", "migrated": True})

    async def settings(request):
        return respond({**DEFAULTS, **read_settings(home)})

    async def setting(request):
        return respond({**DEFAULTS, **read_settings(home)}.get(request.match_info["id"]))

    async def post_settings(request):
        return await keep(await read_object(request))

    async def post_setting(request):
        return await keep({request.match_info["id"]: await read_json(request)})

    async def keep(more: dict):
        async with writing:
            text = json.dumps({**read_settings(home), **more}, indent=4)
            await asyncio.to_thread(write_whole, home / SETTINGS, text.encode())
        return respond({})

    async def listing(request):
        query = request.query
        folder = inside(home, query.get("dir", ""))
        if not query.get("dir"):
            raise Refused(400, "dir is missing")
        found = await asyncio.to_thread(files_below, folder, query.get("recurse") == "true")
        if query.get("full_info") == "true":
            return respond([about(path, folder) for path in found])
        names = [path.relative_to(folder).as_posix() for path in found]
        return respond([[name, *name.split("/")] for name in names] if query.get("split") == "true" else names)

    async def get_file(request):
        path = existing(request)
        kind = TYPES.get(path.suffix.lower(), "application/octet-stream")
        headers = {"Content-Type": kind, "Cache-Control": "no-cache"}
        if kind == "application/octet-stream":
            headers["Content-Disposition"] = "attachment"
        return web.FileResponse(path, headers=headers)

    async def post_file(request):
        path = free_for(request, place(request))
        await asyncio.to_thread(write_whole, path, await request.read())
        return told(request, path)

    async def delete_file(request):
        existing(request).unlink()
        return web.Response(status=204)

    async def move_file(request):
        source, target = existing(request), free_for(request, place(request, "target"))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        return told(request, target)

    def told(request, path: Path) -> web.Response:
        root = home.resolve()
        whole = request.query.get("full_info") == "true"
        return respond(about(path, root) if whole else path.relative_to(root).as_posix())

    async def user_css(request):
        path = home / "user.css"
        return web.Response(text=path.read_text("utf-8") if path.is_file() else "", content_type="text/css")

    return [
        web.get("/users", users),
        web.get("/settings", settings),
        web.post("/settings", post_settings),
        web.get("/settings/{id}", setting),
        web.post("/settings/{id}", post_setting),
        web.get("/user.css", user_css),
        web.get("/userdata/user.css", user_css),
        web.get("/userdata", listing),
        web.post("/userdata/{path}/move/{target}", move_file),
        web.get("/userdata/{path:.+}", get_file),
        web.post("/userdata/{path:.+}", post_file),
        web.delete("/userdata/{path:.+}", delete_file),
    ]


def read_settings(home: Path) -> dict:
    """What is kept; a file that somebody has broken counts as none."""
    try:
        content = json.loads((home / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_whole(path: Path, data: bytes):
    """The old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def files_below(folder: Path, deep: bool) -> list[Path]:
    """Visible files, none through a symlink that leads out."""
    root = folder.resolve()
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(path for path in found if path.is_file() and path.resolve().is_relative_to(root) and _visible(path))


def _visible(path: Path) -> bool:
    return not path.name.startswith(".") or path.name == ".index.json"  # the editor's list of bookmarks


def about(path: Path, root: Path) -> dict:
    """Times are milliseconds since 1970."""
    facts = path.stat()
    times = {"modified": int(facts.st_mtime * 1000), "created": int(facts.st_ctime * 1000)}
    return {"path": path.relative_to(root).as_posix(), "size": facts.st_size, **times}
