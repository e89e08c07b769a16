"""All models in the user's folders: what each is, whether it can be loaded, and what it can be wired to."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import fingerprints, partners
from .checkpoint import CheckpointError
from .component import Component
from .dit import DiT
from .folders import (
    ALL_UPSCALERS,
    COMPONENTS,
    PARTS,
    PICKLES,
    POCKET,
    POCKET_FOLDER,
    SUBFOLDERS,
    SUFFIXES,
    found,
    single_files,
    why_no_pickle,
)
from .identify import UNKNOWN, Identity, article, fits, identify_file, identify_folder
from .lora import open_lora
from .single_file import Source, locate
from .text_encoder import TextEncoder
from .upsampler import Upsampler
from .vae import VAE

LOADERS = {
    **{fingerprints.DIT: DiT, fingerprints.VAE: VAE, fingerprints.TEXT: TextEncoder, fingerprints.LORA: open_lora},
    fingerprints.UPSAMPLER: Upsampler,
}


@dataclass
class Entry:
    """One component. A pipeline or a checkpoint has several, all of one name."""

    name: str
    kind: str  # the model folder it lies in
    path: str
    identity: Identity | None
    problem: str = ""  # why it can't be loaded, in one line
    readable: bool = False  # its own file, whatever may be missing beside it
    takes: list[Source] = field(default_factory=list)  # the files that it loads from beside it
    brings: set[str] = field(default_factory=set)  # names of the text encoders that it loads from its pipeline
    takers: list[tuple[str, str]] = field(default_factory=list)  # (component, family) of what takes this one so
    wires: list[str] = field(default_factory=list)  # what is here that fits it, or takes it from beside it
    needs: list[str] = field(default_factory=list)  # what isn't here and would have to be

    @property
    def what(self) -> str:
        if self.identity:
            return str(self.identity)
        return "a pickle" if Path(self.path).suffix.lower() in PICKLES else "unreadable"

    @property
    def used_beside(self) -> list[str]:
        """What takes it from beside it: those that are here, or what it would be."""
        return self.wires or [article(f"{family} {component}") for component, family in self.takers]

    @property
    def used_with(self) -> list[str]:
        return [Path(source.name).name for source in self.takes]

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
            "used_with": self.used_with,
            "used_beside": self.used_beside if self.takers else [],
            "needs": self.needs,
        }


def inventory(roots: dict[str, list[Path]]) -> list[Entry]:
    """`roots`: kind -> the user's folders for it. The built-in model comes first."""
    entries = []
    for kind, part in PARTS.items():
        if kind not in roots:
            continue
        if kind in SUBFOLDERS:
            entries += _folder(POCKET, kind, POCKET_FOLDER / part, COMPONENTS[kind])
        for name, path in sorted(found(kind, roots).items()):
            if path.is_dir():
                inner = path / part if (path / "model_index.json").is_file() else path
                entries += _folder(name, kind, inner, COMPONENTS[kind])
    seen = set()
    for kind, folders in roots.items():
        for name, path in sorted(single_files(folders, (*SUFFIXES, *PICKLES)).items()):
            if path not in seen:
                seen.add(path)
                entries += [one for one in _file(name, kind, path) if kind != ALL_UPSCALERS or _upsamples(one)]
    for entry in entries:
        _wire(entry, [other for other in entries if other.readable])
    return entries


def _folder(name: str, kind: str, path: Path, component: str) -> list[Entry]:
    try:
        identity = identify_folder(path)
    except (CheckpointError, OSError) as error:
        return [Entry(name, kind, str(path), None, str(error))]
    entry = Entry(name, kind, str(path), identity)
    _try(entry, path, component)
    return [entry]


def _upsamples(entry: Entry) -> bool:
    """Most of what lies beside it there upscales pictures, and is other nodes'."""
    return bool(entry.identity) and entry.identity.component == fingerprints.UPSAMPLER


def _file(name: str, kind: str, path: Path) -> list[Entry]:
    if path.suffix.lower() in PICKLES:
        return [Entry(name, kind, str(path), None, why_no_pickle(path))]
    try:
        entries = [Entry(name, kind, str(path), part) for part in identify_file(path)]
    except (CheckpointError, OSError) as error:
        return [Entry(name, kind, str(path), None, str(error))]
    for entry in entries:
        entry.takers = partners.takers(path, entry.identity)
        _try(entry, path, entry.identity.component)
    return entries


def _try(entry: Entry, path: Path, component: str):
    """What its loader would say."""
    if component == UNKNOWN:
        entry.problem = "its tensors are those of no model that is known here"
        return
    if component not in LOADERS and not entry.takers:
        entry.problem = f"no loader takes {article(component)}, and no model here uses this one"
        return
    try:
        if component != fingerprints.LORA:
            locate(path, component)
            entry.readable = path.is_file()
        if entry.takers:
            return
        loaded = LOADERS[component](path)
        entry.readable = True
        entry.takes = [source for source in _together(loaded) if source.at != path]
        if component == fingerprints.TEXT:
            entry.brings = {identify_folder(one.folder).name for one in loaded.kin[1:] if one.at is None}
            loaded.ensure_tokenizers()
    except (ValueError, OSError) as error:  # a CheckpointError, or what a strange config brings forth
        entry.problem = str(error) or type(error).__name__


def _together(loaded) -> list[Source]:
    """The single files that it is made of: its own, and what it takes from beside it."""
    if not isinstance(loaded, Component):
        return []
    names = getattr(loaded.config, "neighbours", ())
    more = [source for name in names for source in partners.others(loaded.source, name)]
    return [source for source in (*loaded.kin, loaded.source.joined, *more) if source and source.at]


def _wire(entry: Entry, others: list[Entry]):
    mine = entry.identity
    if entry.takers:
        this = Path(entry.path), mine.component
        taking = [one for one in others if this in [(source.at, source.identity.component) for source in one.takes]]
        entry.wires = list(dict.fromkeys(f"{one.identity.component} {one.name}" for one in taking))
        return
    if not mine or mine.component not in LOADERS:
        return
    fitting = [other for other in others if fits(mine, other.identity)]
    entry.wires = list(
        dict.fromkeys(f"{other.identity.component} {other.name}" for other in fitting if not other.takers)
    )
    if mine.component != fingerprints.DIT:
        return
    there = {name for other in fitting for name in (other.identity.name, *other.brings)}
    if mine.latent and not any(name.startswith(mine.latent) for name in there):
        entry.needs.append(f"{article(mine.latent)} VAE")
    entry.needs += [f"{article(text)} text encoder" for text in mine.texts if text not in there]
