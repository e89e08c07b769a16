"""Routes about pictures and videos: look at them, upload them. Only input/, output/ and temp/, nothing outside."""

import asyncio
import filecmp
import io
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import BodyPartReader, web

from ..nodes import runtime
from .core_nodes import IMAGE_SUFFIXES
from .guard import Refused, inside, respond

if TYPE_CHECKING:
    from .server import Server

MOST_UPLOAD = 4 * 2**30  # bytes of one file
MOST_FIELD = 4096  # bytes of a form's other fields
FOLDERS = {"input": runtime.input_dir, "output": runtime.output_dir, "temp": runtime.temp_dir}
SHOWN = {  # types that a browser can show without running anything in them
    **{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"},
    **{".bmp": "image/bmp", ".avif": "image/avif", ".mp4": "video/mp4", ".webm": "video/webm"},
    **{".mov": "video/quicktime", ".mkv": "video/x-matroska", ".mp3": "audio/mpeg", ".wav": "audio/wav"},
    **{".flac": "audio/flac", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".m4a": "audio/mp4"},
}
INERT = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self' data:; sandbox"


def routes(server: "Server") -> list[web.RouteDef]:
    async def view(request):
        query = request.query
        path = inside(folder(query.get("type", "output")), query.get("subfolder", ""), query.get("filename", ""))
        if not path.is_file():
            raise Refused(404, "there is no such file", "not_found")
        wanted, channel = query.get("preview", ""), query.get("channel", "rgba")
        if path.suffix.lower() in IMAGE_SUFFIXES and (wanted or channel != "rgba"):
            picture = await asyncio.to_thread(converted, path, wanted, channel)
            if picture is not None:
                return web.Response(body=picture[0], content_type=picture[1])
        kind = SHOWN.get(path.suffix.lower())
        headers = {"Content-Type": kind or "application/octet-stream", "Content-Security-Policy": INERT}
        headers["Cache-Control"] = "no-cache"
        if kind is None:  # html and svg would run their scripts (CVE-2024-10099)
            plain = re.sub(r'[^ -~]|["%]', "_", path.name)
            headers["Content-Disposition"] = f'attachment; filename="{plain}"'
        return web.FileResponse(path, headers=headers)

    async def upload(request):
        if not request.content_type.startswith("multipart/"):
            raise Refused(415, f"the upload is called {request.content_type}; multipart/form-data would be right")
        fields, kept = {}, None
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    raise Refused(400, "a form inside a form isn't understood")
                if part.name == "image" and kept is None:
                    if not part.filename:
                        raise Refused(400, "the file has no name")
                    kept = (part.filename, await _keep(part))
                else:
                    fields[part.name] = (await _short(part)).decode("utf-8", "replace")
            if kept is None:
                raise Refused(400, "the form has no file in its field 'image'")
            kind, subfolder = fields.get("type") or "input", fields.get("subfolder", "")
            overwrite = fields.get("overwrite", "").lower() in ("true", "1")
            target = inside(folder(kind), subfolder, plain_name(kept[0]))
            name = await asyncio.to_thread(put, kept[1], target, overwrite)
        except ValueError as error:  # aiohttp's word for a malformed form
            raise Refused(400, f"the form can't be read: {error}") from error
        finally:
            if kept is not None:
                Path(kept[1]).unlink(missing_ok=True)
        return respond({"name": name, "subfolder": subfolder, "type": kind})

    async def listing(request):
        place = folder(request.match_info["type"])
        found = [path for path in place.iterdir() if path.is_file()] if place.is_dir() else []
        newest = sorted(found, key=lambda path: -path.stat().st_mtime)
        suffix = f" [{request.match_info['type']}]" if request.match_info["type"] != "input" else ""
        return respond([path.name + suffix for path in newest])

    return [
        web.get("/view", view),
        web.get("/viewvideo", view),
        web.post("/upload/image", upload),
        web.get("/internal/files/{type}", listing),
    ]


def folder(kind: str) -> Path:
    if kind not in FOLDERS:
        raise Refused(400, f"there is no folder {kind[:40]!r}; one of {', '.join(FOLDERS)} would be right")
    return FOLDERS[kind]()


def plain_name(given: str) -> str:
    """The name without folders that an upload goes by: letters of any language, no leading dot, 200 bytes at most."""
    name = re.split(r"[/\\]", given)[-1].strip().lstrip(".")
    name = re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", name).encode("utf-8", "replace").decode()
    stem, suffix = os.path.splitext(name)
    while len((stem + suffix).encode()) > 200 and stem:
        stem = stem[:-1]
    if not stem or len(suffix) > 20:
        raise Refused(400, f"{given[:60]!r} is no name for a file")
    return stem + suffix


async def _keep(part: BodyPartReader) -> str:
    """Stream an upload into a hidden file of the input folder; its path."""
    home = runtime.input_dir()
    home.mkdir(parents=True, exist_ok=True)
    size = 0
    handle, path = tempfile.mkstemp(prefix=".upload-", dir=home)
    try:
        with os.fdopen(handle, "wb") as file:
            while chunk := await part.read_chunk(2**20):
                size += len(chunk)
                if size > MOST_UPLOAD:
                    raise Refused(413, f"the file is larger than {MOST_UPLOAD // 2**30} GB")
                await asyncio.to_thread(file.write, chunk)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    return path


async def _short(part: BodyPartReader) -> bytes:
    data = b""
    while chunk := await part.read_chunk(MOST_FIELD):
        data += chunk
        if len(data) > MOST_FIELD:
            raise Refused(413, f"the form's field {str(part.name)[:40]!r} is too long")
    return data


def put(source: str, target: Path, overwrite: bool) -> str:
    """Move an upload to its place; the name that it got. The same file twice is kept once, another gets a number."""
    target.parent.mkdir(parents=True, exist_ok=True)
    stem, suffix, number = target.stem, target.suffix, 0
    while target.exists() and not (overwrite and target.is_file()) and not _same_file(source, target):
        number += 1
        target = target.with_name(f"{stem} ({number}){suffix}")
    os.chmod(source, 0o644)
    os.replace(source, target)
    return target.name


def _same_file(one: str, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)


def converted(path: Path, wanted: str, channel: str) -> tuple[bytes, str] | None:
    """A picture made smaller ("webp;90") or without its transparency ("rgb"), or that alone ("a"). None if it can't."""
    from PIL import Image

    format, _, quality = wanted.partition(";")
    format = {"webp": "WEBP", "jpeg": "JPEG"}.get(format, "PNG")
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "GIF", "BMP")) as image:
            if getattr(image, "n_frames", 1) > 1:
                return None  # it would stand still
            if channel == "a":
                alpha = image.convert("RGBA").getchannel("A")
                image = Image.new("RGBA", image.size)
                image.putalpha(alpha)
            elif channel == "rgb" or format == "JPEG":
                image = image.convert("RGB")
            buffer = io.BytesIO()
            image.save(buffer, format, quality=int(quality) if re.fullmatch(r"[1-9]\d?|100", quality) else 90)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return buffer.getvalue(), f"image/{format.lower()}"
