"""Routes about what there is to drag: node definitions, scripts, help pages, templates, translations, model files."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from ..model_loaders.folders import POCKET, SUBFOLDERS
from ..nodes import runtime
from .events import finite
from .guard import Refused, inside, respond
from .packs import OWN, Pack

if TYPE_CHECKING:
    from .server import Server

LOCALE_FILES = ("main", "nodeDefs", "commands", "settings")
FIRST = "text_to_video"  # of the templates
KINDS = tuple(SUBFOLDERS)
MODEL_SUFFIXES = (".safetensors", ".gguf")
HELP = {".md": "text/markdown"}
TEMPLATE_TYPES = {".json": "application/json", ".jpg": "image/jpeg"}
WEB_TYPES = {
    **{".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".json": "application/json"},
    **{".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".woff2": "font/woff2"},
    **{".mp4": "video/mp4", ".webm": "video/webm", **HELP},
}


def routes(server: "Server") -> list[web.RouteDef]:
    packs = {pack.name: pack for pack in server.packs}

    async def object_info(request):
        return respond(await asyncio.to_thread(definitions, server.packs))

    async def one_object_info(request):
        name = request.match_info["name"]
        return respond(await asyncio.to_thread(definitions, server.packs, name))

    async def extensions(request):
        found = [
            f"/extensions/{pack.name}/{path.relative_to(pack.web).as_posix()}"
            for pack in server.packs
            if pack.web is not None
            for path in sorted(pack.web.rglob("*.js"))
        ]
        return respond([*found, *server.scripts])

    async def extension_file(request):
        pack = packs.get(request.match_info["pack"])
        if pack is None:  # the editor's own
            return send_file(inside(server.pages / "extensions", *request.match_info.values()), WEB_TYPES)
        if pack.web is None:
            raise Refused(404, f"{pack.name} has no pages", "not_found")
        return send_file(inside(pack.web, request.match_info["path"]), WEB_TYPES)

    async def help_page(request):
        return send_file(inside(packs[OWN].web / "docs", request.match_info["path"]), HELP)

    async def templates(request):
        found = {pack.name: names_of_templates(pack) for pack in server.packs if pack.templates}
        return respond({name: names for name, names in found.items() if names})

    async def template_file(request):
        pack = packs.get(request.match_info["pack"])
        if pack is None or pack.templates is None:
            raise Refused(404, "there is no such pack", "not_found")
        return send_file(inside(pack.templates, request.match_info["path"]), TEMPLATE_TYPES)

    async def translations(request):
        return respond(await asyncio.to_thread(translated, server.packs))

    async def model_kinds(request):
        return respond([{"name": kind, "folders": list(map(str, runtime.model_folders(kind)))} for kind in KINDS])

    async def models(request):
        kind = request.match_info["kind"]
        if kind not in KINDS:
            raise Refused(404, f"there are no models of the kind {kind[:60]!r}", "not_found")
        files = await asyncio.to_thread(model_files, kind)
        return respond([{"name": path, "pathIndex": 0} for path in files])

    return [
        web.get("/object_info", object_info),
        web.get("/object_info/{name}", one_object_info),
        web.get("/extensions", extensions),
        web.get("/workflow_templates", templates),
        web.get("/workflow_templates/{pack}/{path:.+}", template_file),
        web.get("/i18n", translations),
        web.get("/experiment/models", model_kinds),
        web.get("/experiment/models/{kind}", models),
        web.get("/extensions/{pack}/{path:.+}", extension_file),
        web.get("/docs/{path:.+}", help_page),
    ]


def definitions(packs: list[Pack], only: str | None = None) -> dict[str, dict]:
    """What the editor needs to draw each node. A node whose declaration fails is left out, the others go on."""
    found: dict[str, dict] = {}
    for pack in packs:
        for name, node in pack.classes.items():
            if name in found or only not in (None, name):
                continue
            try:
                found[name] = finite(definition(name, node, pack))
            except Exception as error:
                runtime.notice(f"{name} of {pack.name} is left out: {error}")
    return found


def definition(name: str, node: type, pack: Pack) -> dict:
    inputs = node.INPUT_TYPES()
    returns = tuple(node.RETURN_TYPES)
    facts = {
        "input": inputs,
        "input_order": {category: list(names) for category, names in inputs.items()},
        "is_input_list": getattr(node, "INPUT_IS_LIST", False),
        "output": returns,
        "output_is_list": list(getattr(node, "OUTPUT_IS_LIST", None) or [False] * len(returns)),
        "output_name": list(getattr(node, "RETURN_NAMES", None) or returns),
        "name": name,
        "display_name": pack.titles.get(name, name),
        "description": getattr(node, "DESCRIPTION", ""),
        "python_module": pack.module,
        "category": getattr(node, "CATEGORY", "other"),
        "output_node": getattr(node, "OUTPUT_NODE", False) is True,
    }
    for key, attribute in (("output_tooltips", "OUTPUT_TOOLTIPS"), ("search_aliases", "SEARCH_ALIASES")):
        if getattr(node, attribute, None):
            facts[key] = list(getattr(node, attribute))
    for key in ("deprecated", "experimental"):
        if getattr(node, key.upper(), False):
            facts[key] = True
    return facts


def names_of_templates(pack: Pack) -> list[str]:
    """Those first that run as they come, with the built-in model, and of them the one to begin with."""

    def place(path: Path) -> tuple:
        return POCKET not in path.read_text(encoding="utf-8", errors="ignore"), path.stem != FIRST, path.stem

    return [path.stem for path in sorted(pack.templates.glob("*.json"), key=place)]


def translated(packs: list[Pack]) -> dict[str, dict]:
    """{language: {nodeDefs, commands, settings, …}} of every pack's locales/<language>/*.json."""
    found: dict[str, dict] = {}
    for pack in packs:
        for folder in sorted((pack.folder / "locales").glob("*/")) if pack.folder else []:
            if not folder.is_dir():
                continue
            words = found.setdefault(folder.name, {})
            for name in LOCALE_FILES:
                content = _read_object(folder / f"{name}.json")
                _merge(words, content if name == "main" else {name: content} if content else {})
    return {language: words for language, words in found.items() if words}


def _read_object(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _merge(into: dict, more: dict):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def model_files(kind: str) -> list[str]:
    found = []
    for folder in runtime.model_folders(kind):
        paths = folder.rglob("*") if folder.is_dir() else []
        found += [path.relative_to(folder).as_posix() for path in paths if path.suffix in MODEL_SUFFIXES]
    return sorted(found)


def send_file(path: Path, types: dict[str, str]) -> web.FileResponse:
    """A file of ours, of one of these types; range requests included."""
    kind = types.get(path.suffix.lower())
    if kind is None or not path.is_file():
        raise Refused(404, "there is no such file", "not_found")
    return web.FileResponse(path, headers={"Content-Type": kind, "Cache-Control": "no-cache"})
