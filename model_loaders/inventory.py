"""All models in the user's folders: what each is, whether it can be loaded, and what it can be wired to."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import fingerprints
from .checkpoint import CheckpointError
from .dit import DiT
from .folders import COMPONENTS, POCKET, POCKET_FOLDER, SUBFOLDERS, found, single_files
from .identify import UNKNOWN, Identity, article, fits, identify_file, identify_folder
from .lora import open_lora
from .text_encoder import TextEncoder
from .vae import VAE

LOADERS = {fingerprints.DIT: DiT, fingerprints.VAE: VAE, fingerprints.TEXT: TextEncoder, fingerprints.LORA: open_lora}


@dataclass
class Entry:
    """One component. A pipeline or a checkpoint has several, all of one name."""

    name: str
    kind: str  # the model folder it lies in
    path: str
    identity: Identity | None
    problem: str = ""  # why it can't be loaded, in one line
    wires: list[str] = field(default_factory=list)  # what is here that fits it
    needs: list[str] = field(default_factory=list)  # what isn't here and would have to be

    @property
    def what(self) -> str:
        return str(self.identity) if self.identity else "unreadable"

    def facts(self) -> dict:
        identity = asdict(self.identity) if self.identity else {}
        known = {
            key: identity[key] for key in ("component", "family", "variant", "layout", "dtype") if identity.get(key)
        }
        sizes = {key: identity[key] for key in ("parameters", "bytes") if identity}
        about = {"name": self.name, "folder": self.kind, "path": self.path, "what": self.what, **known, **sizes}
        return {
            **about,
            "loads": not self.problem,
            "problem": self.problem,
            "wires_to": self.wires,
            "needs": self.needs,
        }


def inventory(roots: dict[str, list[Path]]) -> list[Entry]:
    """`roots`: kind -> the user's folders for it. The built-in model comes first."""
    entries = []
    for kind, part in SUBFOLDERS.items():
        entries += _folder(POCKET, kind, POCKET_FOLDER / part, COMPONENTS[kind])
        for name, path in sorted(found(kind, roots).items()):
            if path.is_dir():
                inner = path / part if (path / "model_index.json").is_file() else path
                entries += _folder(name, kind, inner, COMPONENTS[kind])
    seen = set()
    for kind, folders in roots.items():
        for name, path in sorted(single_files(folders).items()):
            if path not in seen:
                seen.add(path)
                entries += _file(name, kind, path)
    for entry in entries:
        _wire(entry, [other for other in entries if other.identity and not other.problem])
    return entries


def _folder(name: str, kind: str, path: Path, component: str) -> list[Entry]:
    try:
        identity = identify_folder(path)
    except (CheckpointError, OSError) as error:
        return [Entry(name, kind, str(path), None, str(error))]
    return [Entry(name, kind, str(path), identity, _problem(path, component))]


def _file(name: str, kind: str, path: Path) -> list[Entry]:
    try:
        return [Entry(name, kind, str(path), part, _problem(path, part.component)) for part in identify_file(path)]
    except (CheckpointError, OSError) as error:
        return [Entry(name, kind, str(path), None, str(error))]


def _problem(path: Path, component: str) -> str:
    """What its loader would say."""
    if component not in LOADERS:
        return f"no loader takes {article(f'{component} file' if component == UNKNOWN else component)}"
    try:
        LOADERS[component](path)
    except (ValueError, OSError) as error:  # a CheckpointError, or what a strange config brings forth
        return str(error) or type(error).__name__
    return ""


def _wire(entry: Entry, others: list[Entry]):
    mine = entry.identity
    if not mine or mine.component not in LOADERS:
        return
    fitting = [other for other in others if fits(mine, other.identity)]
    entry.wires = list(dict.fromkeys(f"{other.identity.component} {other.name}" for other in fitting))
    if mine.component != fingerprints.DIT:
        return
    there = {other.identity.name for other in fitting}
    if mine.latent and not any(name.startswith(mine.latent) for name in there):
        entry.needs.append(f"{article(mine.latent)} VAE")
    entry.needs += [f"{article(text)} text encoder" for text in mine.texts if text not in there]
