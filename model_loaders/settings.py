"""What a model's config.json says: its class, and whether its values can be those of a model. No torch."""

import re
from pathlib import Path
from reprlib import repr as brief
from traceback import extract_tb

from .checkpoint import CheckpointError, parse_json, read_json

# what diffusers' and transformers' configs call sizes: each is a whole number, a list of them or null
SIZES = re.compile(r"num_.+|d_(model|ff|kv)|(.+_)?(dim|size|channels|layers|heads|length|width|frames)s?")
TABLE = "motion_encoder_channel_sizes"  # Wan Animate's: size → channels
INNER = ("text_config", "vision_config")


def class_of(config) -> str | None:
    """The class it names: diffusers' `_class_name`, transformers' first of `architectures`."""
    if not isinstance(config, dict):
        return None
    named = config.get("architectures")
    name = config.get("_class_name") or (named[0] if isinstance(named, list) and named else None)
    return name if isinstance(name, str) else None


def brought(path: Path, what, part: str, shipped: Path) -> tuple[Path, dict]:
    """A single file's settings and where they were read. A model of unusual size may bring its own in a JSON beside
    it, those of several parts by their names; one that names no class holds something else, such as A1111's notes.

    what: it is, in words; part: its name in a pipeline; shipped: the settings of the published size.
    """
    own, config = path.with_suffix(".json"), read_json(shipped)
    said = parse_json(own) if own.is_file() else None
    if isinstance(said, dict) and isinstance(said.get(part), dict):
        said = said[part]
    theirs, ours = class_of(said), class_of(config)
    if theirs is None:
        return shipped, config
    if theirs != ours:
        raise CheckpointError(
            f"{own.name} is the config of {theirs!r}, but {path.name} beside it is {what} ({ours}): "
            f"remove or rename {own.name}"
        )
    return own, said


def check_sizes(source):
    """Raises CheckpointError where a size can't be one; the libraries would say so only in building the model."""
    for config in (source.config, *(source.config.get(name) for name in INNER)):
        for key, value in config.items() if isinstance(config, dict) else ():
            value = [*value.values()] if key == TABLE and isinstance(value, dict) else value
            sizes = value if isinstance(value, list) else [0 if value is None else value]
            if SIZES.fullmatch(key) and not all(type(size) is int and size >= 0 for size in sizes):
                raise CheckpointError(
                    f"{source.settings}: {key} is {brief(value)}; a whole number, or a list of them, would be right"
                )


def facts(family, source):
    """What a family says of a component, its refusals in the user's words."""
    check_sizes(source)
    config = Asked(source.config)
    try:
        return family.facts(config, source.folder)
    except KeyError as error:
        raise CheckpointError(f"{source.settings} lacks {error}") from None
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(source.folder), source.name)) from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if extract_tb(error.__traceback__)[-1].name not in ("facts", "<genexpr>"):  # but of what lies beside it
            raise CheckpointError(f"{source.settings} or a config beside it is garbled: {error}") from None
        key, value = config.key, brief(config.get(config.key))
        raise CheckpointError(f"{source.settings}: {key} is {value}, which no {source.class_name} has there") from None


class Asked(dict):
    """Remembers which key was asked for last."""

    key = ""

    def __getitem__(self, key):
        self.key = key
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.key = key
        return super().get(key, default)
