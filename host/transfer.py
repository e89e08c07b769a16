"""The files of a graph that is computed elsewhere: what it reads goes there, what it made comes back."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..media import names
from ..nodes import runtime
from ..spacetime.story import PICTURE
from .client import Away, Client
from .errors import MissingFile, ServerFailed, one_line, shorten
from .graph import FILE_SUFFIXES, UPLOADS, Input, declared, named
from .guard import Refused, inside

STORYBOARD = "SpacetimeStoryboard"
FOLDERS = {"output": runtime.output_dir, "temp": runtime.temp_dir}
TRIES = 3


@dataclass
class Source:
    """A file that the graph names, as it is written there: 'a.png', 'cats/a.png', 'a.png [output]'."""

    text: str
    places: list[tuple[str, Input | None]] = field(default_factory=list)  # node ids, with the combo that offers it

    @property
    def where(self) -> dict[str, str]:
        """As /view wants it."""
        kind = next((one for one in ("input", "output", "temp") if self.text.endswith(f"[{one}]")), None)
        path = PurePosixPath(self.text.removesuffix(f"[{kind}]").strip() if kind else self.text)
        folder = "" if path.parent == PurePosixPath() else str(path.parent)
        return {"filename": path.name, "subfolder": folder, "type": kind or "input"}

    @property
    def here(self) -> Path | None:
        """Its twin in our input folder. What a stranger's graph names outside of that isn't sent."""
        if self.where["type"] != "input":
            return None
        try:
            return runtime.file_in(
                runtime.input_dir(), str(PurePosixPath(self.where["subfolder"], self.where["filename"]))
            )
        except (OSError, ValueError, RuntimeError):
            return None

    @property
    def leads_out(self) -> bool:
        path = PurePosixPath(self.text)
        return path.is_absolute() or ".." in path.parts


def sources_of(prompt: dict[str, dict], classes: dict[str, type]) -> list[Source]:
    """Every file of the input folder that the graph names, once."""
    found: dict[str, Source] = {}
    for node_id, text, one in _named_files(prompt, classes):
        found.setdefault(text, Source(text)).places.append((node_id, one))
    return list(found.values())


def _named_files(prompt: dict[str, dict], classes: dict[str, type]) -> Iterator[tuple[str, str, Input | None]]:
    story = any(node.get("class_type") == STORYBOARD for node in prompt.values())
    for node_id, node in prompt.items():
        node_class = classes.get(node["class_type"]) if isinstance(node.get("class_type"), str) else None
        for one in declared(node_class).values() if node_class else ():
            value = node["inputs"].get(one.name)
            if not isinstance(value, str) or not value.strip():
                continue
            if one.choices is not None and _is_media(one, value):
                yield node_id, value, one
            elif one.type == "STRING" and story:  # its cards may come from a node of their own
                pictures = [name for name in PICTURE.findall(value) if not name.isdecimal()]
                yield from ((node_id, name, None) for name in pictures)


def _is_media(one: Input, value: str) -> bool:
    suffix = PurePosixPath(value.partition(" [")[0]).suffix.lower()
    by_suffix = suffix in FILE_SUFFIXES - {".safetensors"} and not one.name.endswith("_name")
    return by_suffix or any(one.options.get(name) for name in UPLOADS)


async def missing_there(client: Client, prompt: dict[str, dict], classes: dict[str, type]) -> list[Source]:
    """The files that have to be sent. Those that are there, or will be, are made choices of their inputs."""
    wanted = []
    for source in sources_of(prompt, classes):
        here = source.here
        there = None if source.leads_out else await client.glance(**source.where)
        if there is None and here is not None:
            wanted.append(source)
        elif there is None:
            for node_id, one in source.places:
                if one is None and prompt[node_id]["class_type"] == STORYBOARD:
                    where = named(node_id, prompt[node_id], classes[STORYBOARD])
                    message = f"{where}: there is no file {shorten(source.text)!r} in the server's input folder"
                    raise MissingFile(message, f"nor in {runtime.input_dir()}, from where it would be sent", node_id)
            continue
        elif here is not None and not _alike(here, *there):
            runtime.notice(f"the server has another {shorten(source.text)} than lies here; that is what it uses")
        for _, one in source.places:
            if one is not None and source.text not in one.choices:
                _choices(one).append(source.text)
    return wanted


def _alike(path: Path, size: int, begins: bytes) -> bool:
    with path.open("rb") as file:
        return size in (-1, path.stat().st_size) and file.read(len(begins)) == begins


def _choices(one: Input) -> list:
    """The list itself, for `Input.choices` is a copy."""
    return one.type if isinstance(one.type, list) else one.options["options"]


async def send(client: Client, sources: list[Source], prompt: dict[str, dict]):
    """Upload, and call each file in the prompt as it is called there."""
    for source in sources:
        where = source.where
        name = await client.upload(source.here, where["filename"], where["subfolder"])
        runtime.notice(f"sent {shorten(source.text)} to the server's input folder")
        if name == where["filename"]:
            continue
        there = str(PurePosixPath(where["subfolder"], one_line(name)))
        for node_id, one in source.places:
            inputs = prompt[node_id]["inputs"]
            if one is not None:
                inputs[one.name] = there
            else:
                inputs |= {key: _renamed(text, source.text, there) for key, text in inputs.items()}


def _renamed(cards, name: str, there: str):
    """Cards with another name for one picture; what is no text stays as it is."""
    if not isinstance(cards, str):
        return cards
    return PICTURE.sub(lambda match: f"[image {there}]" if match["name"] == name else match[0], cards)


async def fetch(client: Client, outputs: dict) -> dict[str, dict]:
    """Every file that the job shows, into our folders; the same `ui` by node id, with the names that they got here."""
    done: dict[tuple, Path] = {}
    shown: dict[str, dict] = {}
    for node_id, ui in outputs.items():
        shown[node_id] = {}
        sequence: dict[tuple, str] = {}  # the folder of a picture sequence there → its own here
        for key, entries in ui.items() if isinstance(ui, dict) else ():
            kept = shown[node_id][key] = []
            for entry in entries if isinstance(entries, list) else ():
                if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
                    kept.append(entry)
                    continue
                kind, subfolder = entry.get("type", "output"), entry.get("subfolder", "")
                if not isinstance(subfolder, str) or kind not in tuple(FOLDERS):
                    continue  # it shows one of its inputs
                which = (entry["filename"], subfolder, kind)
                if runtime.SEQUENCE in ui and which[1:] not in sequence:
                    sequence[which[1:]] = _new_folder(*which)
                if which not in done:
                    done[which] = await _fetch(client, *which, sequence.get(which[1:], subfolder))
                path = done[which].relative_to(FOLDERS[kind]().resolve())
                kept.append({**entry, "filename": path.name, "subfolder": path.parent.as_posix()})
    return shown


def _place(filename: str, subfolder: str, kind: str) -> Path:
    try:
        return inside(FOLDERS[kind](), subfolder.replace("\\", "/"), filename)
    except Refused as refused:
        raise ServerFailed(f"the server calls a result {shorten(filename)!r}, and {refused}") from refused


def _new_folder(filename: str, subfolder: str, kind: str) -> str:
    """The sequence's folder, with a number where that is there: of two sequences none gets the other's pictures."""
    folders = (subfolder, *(f"{subfolder}-{number}" for number in range(2, 10000)))
    return next(name for name in folders if not _place(filename, name, kind).parent.exists())


async def _fetch(client: Client, filename: str, subfolder: str, kind: str, here: str) -> Path:
    """here: the folder that it gets."""
    path = _place(filename, here, kind)
    with names.explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(TRIES):
        with names.whole(path) as temporary:
            try:
                with names.explained(path):
                    with temporary.open("wb") as file:
                        await client.download(file, filename=filename, subfolder=subfolder, type=kind)
                    return names.publish(temporary, path)
            except Away as error:
                reason = error
        await asyncio.sleep(number)
    raise ServerFailed(f"{shorten(filename)} couldn't be fetched whole: {reason}", "it still lies on the server")
