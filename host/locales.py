"""The words on the nodes, for the editor to translate: `locales/LANGUAGE/` in the shape that ComfyUI collects.

The classes are the only source of the English. `python -m spacetime_nodes.host.locales` writes it down again after a
change, and says which texts of the translations have to follow.
"""

import json
import sys
from pathlib import Path

from .graph import declared

FOLDER = Path(__file__).parents[1] / "locales"
ENGLISH, TRANSLATIONS = "en", ("zh",)
FILES = ("main", "nodeDefs")  # the first holds what isn't about one node


def english(classes: dict[str, type]) -> dict[str, dict]:
    """File → content, as the classes say it."""
    shelves = {part for node in classes.values() for part in node.CATEGORY.split("/")}
    types = {kind for node in classes.values() for kind in node.RETURN_TYPES if kind.startswith("SPACETIME_")}
    main = {
        "nodeCategories": {name: name for name in sorted(shelves)},
        "dataTypes": {name: name for name in sorted(types)},
    }
    return {"main": main, "nodeDefs": {name: _words(node) for name, node in classes.items()}}


def _words(node: type) -> dict:
    outputs = zip(getattr(node, "RETURN_NAMES", node.RETURN_TYPES), getattr(node, "OUTPUT_TOOLTIPS", ()), strict=True)
    return {
        "display_name": node.TITLE,
        "description": node.DESCRIPTION,
        "inputs": {
            key(one.name): {"name": one.name, "tooltip": one.options["tooltip"]} for one in declared(node).values()
        },
        "outputs": {str(index): {"name": name, "tooltip": tip} for index, (name, tip) in enumerate(outputs)},
    }


def key(name: str) -> str:
    """The editor looks names up by paths with dots, so there are none in a name."""
    return name.replace(".", "_")


def read(language: str) -> dict[str, dict]:
    return {name: json.loads(_path(language, name).read_text(encoding="utf-8")) for name in FILES}


def texts(content: dict, at: str = "") -> dict[str, str]:
    """Every text by its place: `nodeDefs.SpacetimeSample.inputs.steps.tooltip`."""
    found = {}
    for name, value in content.items():
        place = f"{at}.{name}" if at else name
        found |= texts(value, place) if isinstance(value, dict) else {place: value}
    return found


def write(content: dict[str, dict], language: str):
    for name in FILES:
        path = _path(language, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content[name], ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _path(language: str, name: str) -> Path:
    return FOLDER / language / f"{name}.json"


def main() -> int:
    from ..nodes import NODE_CLASS_MAPPINGS

    new = english(NODE_CLASS_MAPPINGS)
    before, after = (texts(read(ENGLISH)) if _path(ENGLISH, FILES[0]).is_file() else {}), texts(new)
    write(new, ENGLISH)
    for language in TRANSLATIONS:
        translated = texts(read(language))
        changed = [place for place in after if place in translated and before.get(place) != after[place]]
        lines = [f"{language}: translate {place}: {after[place]}" for place in after if place not in translated]
        lines += [f"{language}: look at {place}, now: {after[place]}" for place in changed]
        lines += [f"{language}: delete {place}" for place in translated if place not in after]
        print("\n".join(lines or [f"{language}: complete"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
