"""Which models are there, and where. One downloaded pipeline folder (model_index.json) serves all three loaders."""

import os
from difflib import get_close_matches
from pathlib import Path

from .checkpoint import CheckpointError, read_json
from .identify import describe

POCKET = "pocket (built in)"
POCKET_FOLDER = Path(__file__).parent / "pocket"
SUBFOLDERS = {
    "diffusion_models": "transformer",
    "vae": "vae",
    "text_encoders": "text_encoder",
}  # kind -> part of a pipeline


def choices(kind: str, roots: dict[str, list[Path]]) -> list[str]:
    """Names a loader offers for `kind`. `roots`: kind -> the user's folders for it."""
    return [POCKET, *sorted(_found(kind, roots))]


def resolve(kind: str, name: str, roots: dict[str, list[Path]]) -> Path:
    """The folder that holds the component called `name`."""
    if name == POCKET:
        return POCKET_FOLDER / SUBFOLDERS[kind]
    found = _found(kind, roots)
    if name not in found:
        near = get_close_matches(name, [POCKET, *found], 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it should lie in {roots[kind][0]}"
        raise FileNotFoundError(f"model {name!r} isn't there; {hint}")
    path = found[name]
    if path.suffix == ".safetensors" and not (path / "config.json").is_file():
        raise CheckpointError(
            f"{name} is {describe(path)}; this version loads diffusers folders (config.json beside its safetensors)"
        )
    if (path / "model_index.json").is_file():
        return path / SUBFOLDERS[kind]
    return path


def all_folders(roots: list[Path]) -> dict[str, Path]:
    """name → folder, of every folder in the user's folders and in those: `Qwen/Qwen3-0.6B`."""
    found = {}
    for root in roots:
        for path in _two_levels(root):
            if path.is_dir():
                found.setdefault(path.relative_to(root).as_posix(), path)
    return found


def _found(kind: str, roots: dict[str, list[Path]]) -> dict[str, Path]:
    """name -> path: component folders and single files in the kind's own folders, whole pipelines in any."""
    found = {}
    for root in [root for folders in roots.values() for root in folders]:
        own = root in roots[kind]
        for path in _two_levels(root):
            name = path.relative_to(root).as_posix()
            if path.suffix == ".safetensors" and not (path / "config.json").is_file():
                wanted = own and not (path.parent / "config.json").exists()
            elif (path / "model_index.json").is_file():
                wanted = (path / SUBFOLDERS[kind]).is_dir()
            else:
                wanted = own and (path / "config.json").is_file() and not (path.parent / "model_index.json").is_file()
            if wanted:
                found.setdefault(name, path)
    return found


def _two_levels(root: Path) -> list[Path]:
    top = _readable(root)
    return top + [path for folder in top if folder.is_dir() for path in _readable(folder)]


def _readable(folder: Path) -> list[Path]:
    """What may be read in it: one locked folder, such as lost+found, hides no others."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        return [path for path in paths if not path.is_dir() or os.access(path, os.R_OK | os.X_OK)]
    except OSError:
        return []


def sibling_json(folder: Path, *parts: str) -> dict:
    """A neighbour's settings in the same pipeline folder (`vae/config.json` beside `transformer/`), or {}."""
    path = folder.parent.joinpath(*parts)
    return read_json(path) if path.is_file() else {}
