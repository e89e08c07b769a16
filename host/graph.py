"""A graph in ComfyUI's API format, `{id: {"class_type", "inputs"}}`: what its links, inputs and ancestors are."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

UPLOADS = ("image_upload", "video_upload", "audio_upload", "file_upload")  # options of a combo that has a button for it
FILE_SUFFIXES = {".safetensors", ".latent", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".mov", ".webm", ".mkv"}


class Input(NamedTuple):
    """One declared input of a node class."""

    name: str
    type: Any  # "INT", "LATENT", … or the list of a combo's choices
    options: dict
    category: str  # required or optional

    @property
    def choices(self) -> list | None:
        if isinstance(self.type, (list, tuple)):
            return list(self.type)
        return self.options.get("options") if self.type == "COMBO" else None

    @property
    def is_widget(self) -> bool:
        """The editor draws a field for it, whose value is saved by position."""
        drawn_as = self.options.get("widgetType", self.type)  # "FLOAT" for an input of type "INT,FLOAT"
        primitive = self.choices is not None or drawn_as in ("INT", "FLOAT", "STRING", "BOOLEAN")
        return primitive and not self.options.get("forceInput")

    @property
    def default(self) -> Any:
        if "default" in self.options:
            return self.options["default"]
        if self.choices is not None:
            return [] if self.options.get("multi_select") else self.choices[0] if self.choices else None
        return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(self.type, "")


def declared(node_class: type) -> dict[str, Input]:
    """Required inputs, then optional ones, in the order the class promises."""
    types = node_class.INPUT_TYPES()
    return {
        name: Input(name, spec[0], spec[1] if len(spec) > 1 else {}, category)
        for category in ("required", "optional")
        for name, spec in types.get(category, {}).items()
    }


def hidden(node_class: type) -> dict[str, str]:
    return dict(node_class.INPUT_TYPES().get("hidden", {}))


def names_file(one: Input, value) -> bool:
    """Whether a combo offers files: called model_name, vae_name, … as is the custom, or with a suffix or a button."""
    by_name = one.name.endswith("_name") and one.name not in ("sampler_name", "scheduler_name")
    by_value = isinstance(value, str) and PurePath(value).suffix.lower() in FILE_SUFFIXES
    return by_name or by_value or any(one.options.get(name) for name in UPLOADS)


def is_link(value) -> bool:
    """["17", 0]: the first output of node 17. A list that is meant as a value comes wrapped: {"__value__": […]}."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def plain(value):
    """What a node gets for a value that may come wrapped."""
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def sources(node: dict, keep: Callable[[str], bool] = lambda name: True) -> list[str]:
    """Ids of the nodes that feed a node, each once, in the order of its inputs."""
    return list(dict.fromkeys(link[0] for name, link in node["inputs"].items() if is_link(link) and keep(name)))


class Cycle(Exception):
    def __init__(self, ids: list[str]):
        super().__init__(" → ".join([*ids, ids[0]]))
        self.ids = ids


def ancestors_first(targets: Iterable[str], parents: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """Every node that the targets need, each after all of its own. Deep graphs don't recurse."""
    done: set[str] = set()
    for target in targets:
        path = {target: iter(parents(target))} if target not in done else {}
        while path:
            node_id = next(reversed(path))
            parent = next((one for one in path[node_id] if one not in done), None)
            if parent is None:
                del path[node_id]
                done.add(node_id)
                yield node_id
            elif parent in path:
                ids = list(path)
                raise Cycle(ids[ids.index(parent) :])
            else:
                path[parent] = iter(parents(parent))


class Graph:
    """The prompt, and the nodes that nodes add to it while it runs. Nodes may ask for it as DYNPROMPT."""

    def __init__(self, prompt: dict):
        self.original = prompt
        self.added: dict[str, dict] = {}
        self.parents: dict[str, str] = {}
        self.shown_as: dict[str, str] = {}

    def add(self, node_id: str, node: dict, parent: str):
        self.added[node_id] = node
        self.parents[node_id] = parent
        self.shown_as[node_id] = node.get("override_display_id", parent)

    def get_node(self, node_id: str) -> dict:
        return self.added[node_id] if node_id in self.added else self.original[node_id]

    def has_node(self, node_id: str) -> bool:
        return node_id in self.added or node_id in self.original

    def get_parent_node_id(self, node_id: str) -> str | None:
        return self.parents.get(node_id)

    def get_real_node_id(self, node_id: str) -> str:
        while node_id in self.parents:
            node_id = self.parents[node_id]
        return node_id

    def get_display_node_id(self, node_id: str) -> str:
        while node_id in self.shown_as:
            node_id = self.shown_as[node_id]
        return node_id

    def all_node_ids(self) -> set[str]:
        return {*self.original, *self.added}

    def get_original_prompt(self) -> dict:
        return self.original


def title(node: dict, node_class: type | None = None) -> str:
    """What the user calls the node."""
    meta = node.get("_meta")
    given = meta.get("title") if isinstance(meta, dict) else None
    named = given if isinstance(given, str) and given.strip() else None
    return named or getattr(node_class, "TITLE", None) or str(node.get("class_type", node.get("type")))


def named(node_id: str, node: dict, node_class: type | None = None) -> str:
    """'Sample (node 5)', for messages."""
    return f"{' '.join(title(node, node_class).split())[:60]} (node {node_id})"
