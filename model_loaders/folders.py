"""Which models are there, and where: component folders, single files, and downloaded pipelines (model_index.json), one
of which serves all three loaders."""

import os
from difflib import get_close_matches
from pathlib import Path

from .checkpoint import CheckpointError, read_json

POCKET = "pocket (built in)"
POCKET_FOLDER = Path(__file__).parent / "pocket"
CONFIGS = Path(__file__).parent / "configs"  # settings of single files
SUBFOLDERS = {
    "diffusion_models": "transformer",
    "vae": "vae",
    "text_encoders": "text_encoder",
}  # kind -> part of a pipeline
# ComfyUI's folder of latent upsamplers, and that of all upscalers, where older graphs keep them
UPSCALERS, ALL_UPSCALERS = "latent_upscale_models", "upscale_models"
PARTS = {**SUBFOLDERS, UPSCALERS: "latent_upsampler"}
# kind -> what it holds
COMPONENTS = {
    **{"diffusion_models": "transformer", "vae": "VAE", "text_encoders": "text encoder"},
    UPSCALERS: "latent upsampler",
}
SETTINGS = "config.json", "model_index.json"  # what makes a folder a model's
DEEP = 5  # folders in folders that files are looked for in
LORAS = "loras"
SUFFIXES = (".safetensors", ".gguf")
PICKLES = (".pth", ".pt", ".bin", ".ckpt")  # endings of files that can run code, which are never read
# what Wan's makers publish so → the same model as ComfyUI publishes it
UNPICKLED = {
    "Wan2.1_VAE.pth": "wan_2.1_vae.safetensors",
    "Wan2.2_VAE.pth": "wan2.2_vae.safetensors",
    "models_t5_umt5-xxl-enc-bf16.pth": "umt5_xxl_fp16.safetensors",
    "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth": "clip_vision_h.safetensors",
}
CHECKPOINTS = "checkpoints"  # ComfyUI's folder of files that hold several components
MIXED = (CHECKPOINTS, ALL_UPSCALERS)  # folders of files of which some are of a kind


def choices(kind: str, roots: dict[str, list[Path]]) -> list[str]:
    """Names a loader offers for `kind`. `roots`: kind -> the user's folders for it."""
    return [*([POCKET] if kind in SUBFOLDERS else []), *sorted(found(kind, roots))]


def resolve(kind: str, name: str, roots: dict[str, list[Path]]) -> Path:
    """The folder or single file that holds the component called `name`."""
    if name == POCKET and kind in SUBFOLDERS:
        return POCKET_FOLDER / SUBFOLDERS[kind]
    there = found(kind, roots)
    if name not in there:
        near = get_close_matches(str(name), choices(kind, roots), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it should lie in {roots[kind][0]}"
        raise FileNotFoundError(f"model {name!r} isn't there; {hint}")
    path = there[name]
    return path / PARTS[kind] if (path / "model_index.json").is_file() else path


def all_folders(roots: list[Path]) -> dict[str, Path]:
    """name → folder, of every folder in the user's folders and in those: `Qwen/Qwen3-0.6B`."""
    found = {}
    for root in roots:
        for path in _two_levels(root):
            if path.is_dir():
                found.setdefault(path.relative_to(root).as_posix(), path)
    return found


def loras(roots: list[Path]) -> dict[str, Path]:
    """name → path, of every safetensors file in the user's folders for LoRAs, which people sort into folders."""
    names = {}
    for root in roots:
        for path in _all_levels(root, DEEP):
            if path.is_file() and path.suffix.lower() == ".safetensors":
                names.setdefault(path.relative_to(root).as_posix(), path)
    return names


def find_lora(name: str, roots: list[Path]) -> Path:
    there = loras(roots)
    if name not in there:
        near = get_close_matches(str(name), there, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it should lie in {roots[0]}"
        raise FileNotFoundError(f"LoRA {name!r} isn't there; {hint}")
    return there[name]


def found(kind: str, roots: dict[str, list[Path]]) -> dict[str, Path]:
    """name -> path: component folders and single files in the kind's own folders, pipelines and checkpoints in any."""
    names = {}
    for at, root in [(at, root) for at, folders in roots.items() for root in folders]:
        own = root in roots[kind]
        for path in models_in(root):
            if path.suffix.lower() in SUFFIXES and not (path / "config.json").is_file():
                loose = not (path.parent / "config.json").exists()
                wanted = loose and (own or at in MIXED and _carries(path, COMPONENTS[kind]))
            elif (path / "model_index.json").is_file():
                wanted = (path / PARTS[kind]).is_dir()
            else:
                wanted = own and (path / "config.json").is_file() and not (path.parent / "model_index.json").is_file()
            if wanted:
                names.setdefault(path.relative_to(root).as_posix(), path)
    return names


def why_no_pickle(path: Path) -> str:
    """In one line, which begins with the file's name."""
    known = f", {UNPICKLED[path.name]}," if path.name in UNPICKLED else ""
    return (
        f"{path.name} is a pickle ({path.suffix}): it can run code and is never loaded; the safetensors version{known} "
        "would be right"
    )


def single_files(roots: list[Path], suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, Path]:
    """name → path, of every model file in the user's folders, whatever it is."""
    names = {}
    for root in roots:
        for path in models_in(root):
            loose = path.is_file() and not (path.parent / "config.json").exists()
            if loose and path.suffix.lower() in suffixes:
                names.setdefault(path.relative_to(root).as_posix(), path)
    return names


def _carries(path: Path, component: str) -> bool:
    from .identify import identify_file  # only where there are checkpoints: their headers are read for it

    try:
        return any(part.component == component for part in identify_file(path))
    except (ValueError, OSError):
        return False


def models_in(root: Path, depth: int = 1) -> list[Path]:
    """What may be a model: files in folders of folders, as people sort them and downloads lie, and folders up to two
    deep. What lies in a model's own folder is its part."""
    found = []
    for path in entries(root):
        if not path.is_dir():
            found.append(path)
            continue
        if depth <= 2:
            found.append(path)
        if depth < DEEP and not any((path / name).is_file() for name in SETTINGS):
            found += models_in(path, depth + 1)
    return found


def _two_levels(root: Path) -> list[Path]:
    return _all_levels(root, 2)


def _all_levels(root: Path, levels: int) -> list[Path]:
    top = entries(root)
    inner = [folder for folder in top if folder.is_dir()] if levels > 1 else []
    return top + [path for folder in inner for path in _all_levels(folder, levels - 1)]


def entries(folder: Path) -> list[Path]:
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


def keep_beside(folder: Path, needs: str, *names: str):
    """Raises where a component comes without the folders it works through. The settings of single files lie in a
    folder of ours: what goes with these is found otherwise (partners.py)."""
    for name in names:
        if CONFIGS not in folder.parents and not any((folder.parent / name).glob("*.json")):
            raise CheckpointError(f"{folder} {needs}: keep it beside its {name}/ folder")
