"""Why a model that a graph names can't be chosen, where it belongs, and what is there in its place."""

import difflib
import re
from pathlib import Path, PurePath

from ..nodes import runtime
from .errors import shorten
from .graph import Input, declared, plain

MOST = 3  # models named that would do


def missing_model(one: Input, value, prompt: dict, classes: dict) -> tuple[str, dict]:
    """What is wrong and what would be right, in one line, and the facts of the error. one: an input whose choices are
    the models in `model_folder`."""
    from ..model_loaders.folders import PICKLES, why_no_pickle

    value, kind = plain(value), one.options["model_folder"]
    said, extra = f"{one.name} is {shorten(value)}", {"received_value": value, "missing_file": True}
    if not isinstance(value, str):
        return f"{said}; the name of a model would be right", extra
    path = _there(kind, value)
    if path and path.suffix.lower() in PICKLES:
        return f"{said}: {why_no_pickle(path)}", extra
    extra["folder"] = str(_place(kind, value, prompt, classes))
    choices = list(map(str, one.choices))
    if near := _called_alike(kind, value, choices):
        return f"{said}, which isn't there; did you mean {near!r}?", extra
    if kin := _of_its_family(kind, value, choices, _named(prompt, classes)):
        fitting = "fit the graph's other models and are" if kin[1:] else "fits the graph's other models and is"
        return f"{said}; {', '.join(map(repr, kin))} {fitting} there, but this one isn't", extra
    return f"{said}, which isn't there", extra


def _there(kind: str, name: str) -> Path | None:
    """A file in the folders of this kind that is no choice."""
    try:
        return next((path for root in runtime.model_folders(kind) if (path := root / name).is_file()), None)
    except (OSError, ValueError):  # a name that no file can have
        return None


def _called_alike(kind: str, name: str, choices: list[str]) -> str | None:
    """Of the three parts of a model in the same letters and digits: names as near as wan_2.1_vae and wan2.2_vae are
    those of other families."""
    from ..model_loaders.folders import SUBFOLDERS

    if kind in SUBFOLDERS:
        return next((choice for choice in choices if _letters(choice) == _letters(name)), None)
    return next(iter(difflib.get_close_matches(name[:200], choices, 1, 0.5)), None)


def _of_its_family(kind: str, name: str, choices: list[str], named: dict[str, set[str]]) -> list[str]:
    """Choices that by their weights fit what the graph's other loaders name, the most alike first."""
    from ..model_loaders.folders import CHECKPOINTS, COMPONENTS, SUBFOLDERS
    from ..model_loaders.identify import fits
    from ..model_loaders.inventory import inventory

    dits = next(iter(SUBFOLDERS))
    partners = [other for other in SUBFOLDERS if other in named and (other == dits) != (kind == dits)]
    if kind not in SUBFOLDERS or not partners:
        return []
    everything = inventory({one: runtime.model_folders(one) for one in (*SUBFOLDERS, CHECKPOINTS)})

    def there(kind: str, names) -> dict:
        mine = [one for one in everything if one.readable and not one.takers and one.name in names]
        return {one.name: one.identity for one in mine if one.identity.component == COMPONENTS[kind]}

    chosen = [found for other in partners if (found := there(other, named[other]).values())]
    kin = [choice for choice, identity in there(kind, choices).items()
           if chosen and all(any(fits(identity, one) for one in found) for found in chosen)]  # fmt: skip
    return difflib.get_close_matches(name[:200], kin, MOST, 0)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _named(prompt: dict, classes: dict) -> dict[str, set[str]]:
    """kind → the models that the graph's loaders name."""
    found = {}
    for node in prompt.values():
        for one in declared(classes[node["class_type"]]).values():
            value = plain(node["inputs"].get(one.name))
            if "model_folder" in one.options and isinstance(value, str):
                found.setdefault(one.options["model_folder"], set()).add(value)
    return found


def _place(kind: str, name: str, prompt: dict, classes: dict) -> Path:
    """One place for what several loaders name: a checkpoint is found by all of them in checkpoints, the folder of a
    pipeline in any folder of models."""
    from ..model_loaders.folders import CHECKPOINTS, SUBFOLDERS, SUFFIXES

    naming = [other for other, models in _named(prompt, classes).items() if other in SUBFOLDERS and name in models]
    if len(naming) > 1:
        kind = CHECKPOINTS if PurePath(name).suffix.lower() in SUFFIXES else next(iter(SUBFOLDERS))
    return runtime.model_folders(kind)[0]
