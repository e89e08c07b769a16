"""Node packs: this one, ComfyUI's own few nodes, and folders of plain V1 nodes that the user names."""

import importlib.util
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .errors import MissingFile, UsageError, one_line

OWN = "spacetime"  # our pack's name in URLs
TEMPLATE_FOLDERS = ("workflows", "example_workflows")


@dataclass
class Pack:
    """Nodes that came together. `folder` holds web pages, templates and translations, where it has them."""

    name: str  # as it stands in URLs
    module: str  # as the editor names it: where it looks for help pages
    folder: Path | None = None
    web: Path | None = None
    classes: dict[str, type] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    @property
    def templates(self) -> Path | None:
        folders = [self.folder / name for name in TEMPLATE_FOLDERS] if self.folder else []
        return next((folder for folder in folders if folder.is_dir()), None)


def own_packs() -> list[Pack]:
    from .. import WEB_DIRECTORY
    from ..nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
    from .core_nodes import NODES

    root = Path(__file__).parents[1]
    core = Pack("comfy", "nodes", classes={node.__name__: node for node in NODES})
    core.titles = {node.__name__: node.TITLE for node in NODES}
    web = (root / WEB_DIRECTORY).resolve()
    own = Pack(OWN, f"custom_nodes.{OWN}", root, web, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)
    return [core, own]


def load_pack(folder: Path) -> Pack:
    """Import a pack as ComfyUI does: its folder is the package, its mappings are what it offers."""
    start = folder / "__init__.py" if folder.is_dir() else folder
    if not start.is_file() or start.suffix != ".py":
        raise MissingFile(f"--node-pack {folder} is no node pack; a folder with an __init__.py would be right")
    name = re.sub(r"\W+", "_", folder.resolve().stem if folder.is_file() else folder.resolve().name) or "pack"
    module_name = f"spacetime_pack_{name}"
    places = [str(folder.resolve())] if folder.is_dir() else None
    spec = importlib.util.spec_from_file_location(module_name, start, submodule_search_locations=places)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        why = one_line(str(error)) or type(error).__name__
        if isinstance(error, ModuleNotFoundError):
            why += "; a pack that uses ComfyUI's own modules runs in ComfyUI only, other modules come by pip"
        raise UsageError(f"--node-pack {folder} can't be loaded: {why}") from error
    classes = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if not isinstance(classes, dict) or not classes:
        raise UsageError(f"--node-pack {folder} has no NODE_CLASS_MAPPINGS; only packs of V1 nodes are understood")
    web = getattr(module, "WEB_DIRECTORY", None)
    web = (start.parent / web).resolve() if isinstance(web, str) else None
    titles = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}
    home = start.parent.resolve() if folder.is_dir() else None
    return Pack(name, f"custom_nodes.{name}", home, web if web and web.is_dir() else None, dict(classes), dict(titles))


def together(packs: list[Pack]) -> dict[str, type]:
    """Every node by its name; as in ComfyUI, a pack can't take a name that another has."""
    classes: dict[str, type] = {}
    for pack in packs:
        classes |= {name: one for name, one in pack.classes.items() if name not in classes}
    return classes
