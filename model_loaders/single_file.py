"""From a folder or a single file to its tensors under the names that diffusers and transformers know them by.

Everything is decided from headers: which file, which bytes of it, which shape. reading.py reads them.
"""

import re
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import prod
from pathlib import Path

from .checkpoint import DTYPE_BITS, CheckpointError, TensorInfo, read_header, read_json, weight_files
from .fingerprints import CONNECTORS, DIT, IMAGE_MODELS, LOADERS, TEXT, UPSAMPLER, VAE, VISION
from .folders import CONFIGS
from .gguf import packed_bytes
from .identify import BY_COMFYUI, SCALES, Identity, article, identify_file, identify_folder
from .keymaps import COMFY_HUNYUAN, CUTS, STAGES, SWAPS, renamed
from .settings import brought, class_of
from .upsampler_config import config_of
from .variants import AS_FOLDER

SUBFOLDERS = {
    **{DIT: "transformer", VAE: "vae", TEXT: "text_encoder", VISION: "image_encoder", CONNECTORS: "connectors"},
    UPSAMPLER: "latent_upsampler",
}
EXAMPLES = {
    DIT: "wan2.1_t2v_1.3B_fp16.safetensors",
    VAE: "wan_2.1_vae.safetensors",
    TEXT: "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    UPSAMPLER: "ltx-2.3-spatial-upscaler-x2-1.1.safetensors",
}
MAKERS_CLASSES = ("WanModel", "VaceWanModel", "WanAnimateModel")  # in the config.json of the models' own repositories
UNREAD = (*BY_COMFYUI.values(), "mxfp8", "a format of its own")
SCALE_ENDS = ("scale_weight", "weight_scale")  # ComfyUI's fp8-scaled files: older, newer


@dataclass(frozen=True)
class Source:
    """Where a component's settings and weights are."""

    name: str  # as the user knows it
    folder: Path  # with config.json; its neighbours are the pipeline's other parts
    config: dict
    file: Path | None = None  # the single file, None where the weights lie in the folder
    identity: Identity | None = None
    settings: Path | None = None  # the file that `config` was read from
    weights: Path | None = None  # the folder of the weights, where that is another one
    joined: "Source | None" = None  # a second file with weights of the same module, its image encoder
    changes: tuple[dict, ...] = field(default=(), repr=False)  # of LoRAs, in their order: the module's key → Change

    @property
    def at(self) -> Path | None:
        """Where it lies without its settings, which are ours then: a single file, or its makers' own folder."""
        return self.file or self.weights

    @property
    def class_name(self) -> str:
        name, named = class_of(self.config), self.config.get("architectures")
        if name is None:
            what = f" (architectures is {named!r:.60}, not a list)" if isinstance(named, str) else ""
            raise CheckpointError(
                f"{self.settings} names no class{what}; it should be the config.json of a diffusers or transformers "
                "model"
            )
        return name


@dataclass(frozen=True)
class Piece:
    """One tensor of a module: which bytes of which file, one range after the other."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    scale: "Piece | None" = None  # what its numbers are to be multiplied by
    changes: tuple = ()  # what LoRAs do to it (lora_merge.py), one after the other


def locate(path: Path, component: str) -> Source:
    """Raises CheckpointError, in one line, where `path` holds no such component or none that can be built."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} isn't there")
    if path.is_dir() and not (path / "config.json").is_file():
        raise CheckpointError(f"{path.name} is a folder without config.json; a model's folder has one")
    if not path.is_file():
        config = read_json(path / "config.json")
        if config.get("_class_name") in MAKERS_CLASSES:
            return _makers_folder(path, component)
        return Source(str(path), path, config, settings=path / "config.json")
    part = part_of(path, component)
    if component == UPSAMPLER:  # its tensors tell how it is built
        return Source(path.name, path.parent, config_of(path), path, part, path)
    folder = CONFIGS / part.config / SUBFOLDERS[component]
    if not part.config or not (folder / "config.json").is_file():
        raise CheckpointError(_not_built(path, part))
    if part.layout not in ("diffusers", "GGUF") and _stages(part) is None:
        raise CheckpointError(f"{path.name} is {part} in a layout that isn't known here; get its diffusers folder")
    if part.dtype in UNREAD:
        raise CheckpointError(
            f"{path.name} is {part}, quantised by ComfyUI to {part.dtype}, which only it reads; its bf16, fp16, fp8 "
            "or fp8-scaled file would be right"
        )
    if part.layout == "GGUF":
        raise CheckpointError(
            f"{path.name} is {part} in quantised weights ({part.dtype}); this version reads bf16, fp16 and fp8 files"
        )
    if path.suffix.lower() == ".gguf" and find_spec("gguf") is None:
        raise CheckpointError(f"{path.name} is {part} in GGUF, which needs the package gguf: pip install gguf")
    settings, config = brought(path, part, SUBFOLDERS[component], folder / "config.json")
    return Source(path.name, folder, config, path, part, settings)


def _not_built(path: Path, part: Identity) -> str:
    """Of what no config ships."""
    if f"{part.name} {part.component}".startswith(AS_FOLDER):
        return f"{path.name} is {part}; single files of that kind can't be built here, only its diffusers folder can"
    what = f"{part}, an image model," if part.family in IMAGE_MODELS or "T2I" in part.variant else f"{part},"
    loader = LOADERS.get(part.component)
    return f"{path.name} is {what} which this version doesn't run" + (
        f"; the help of {loader} lists what it does, e.g. {EXAMPLES[part.component]}" if loader else ""
    )


def neighbour(folder: Path) -> Source:
    """Another component's folder in the same pipeline, whatever it is."""
    return Source(str(folder), folder, read_json(folder / "config.json"), settings=folder / "config.json")


def _makers_folder(path: Path, component: str) -> Source:
    """A folder as Wan's makers publish it: their own class, their own keys, in one file or in shards."""
    part = identify_folder(path)
    folder = CONFIGS / part.config / SUBFOLDERS[component]
    if part.component == component and not part.config:
        raise CheckpointError(_not_built(path, part))
    if part.component != component or _stages(part) is None:
        raise CheckpointError(f"{path.name} is {part} in its makers' own folder; get its diffusers folder")
    settings = folder / "config.json"
    return Source(path.name, folder, read_json(settings), identity=part, settings=settings, weights=path)


def part_of(path: Path, component: str) -> Identity:
    """What a single file holds of one kind; a file that holds none is named for what it is."""
    parts = identify_file(path)
    for part in parts:
        if part.component == component:
            return part
    what, loader = " with ".join(map(str, parts)), LOADERS[component]
    taker = f"the {loader.removeprefix('Load ')} loader" if loader.startswith("Load ") else loader
    wanted = f"{taker} needs {article(component)}, e.g. {EXAMPLES[component]}"
    right = LOADERS.get(parts[0].component)
    raise CheckpointError(f"{path.name} is {what}; {wanted}" + (f" (this one goes into {right})" if right else ""))


def pieces(source: Source) -> dict[str, Piece]:
    """The module's tensors by its own keys."""
    found = {key: whole(file, info) for file in files(source) for key, info in read_header(file).items()}
    if source.identity:
        prefix = source.identity.prefix
        mine = {key[len(prefix) :]: piece for key, piece in found.items() if key.startswith(prefix)}
        found = _renamed(_scaled(mine), source.identity)
    if source.joined:
        seeing = pieces(source.joined).items()
        found |= {re.sub(r"^vision_model\.", "vision_tower.", key): piece for key, piece in seeing}
    for changes in source.changes:
        for key, change in changes.items():
            found[key] = replace(found[key], changes=(*found[key].changes, change))
    return found


def files(source: Source) -> list[Path]:
    """The files that hold its weights."""
    own = [source.file] if source.file else weight_files(source.weights or source.folder)
    return own + (files(source.joined) if source.joined else [])


def weight_bytes(source: Source, dtype: str, device: str) -> int:
    """Memory that a component's weights will take, by their headers. dtype auto is float32 on a CPU, else as stored."""
    bits = {"float32": 32, "bfloat16": 16, "float16": 16}.get(dtype, 32 if device == "cpu" else 0)
    return sum(prod(piece.shape) * (bits or DTYPE_BITS.get(piece.dtype, 16)) // 8 for piece in pieces(source).values())


def whole(file: Path, info: TensorInfo) -> Piece:
    bits = DTYPE_BITS.get(info.dtype)
    length = (prod(info.shape) * bits + 7) // 8 if bits else packed_bytes(info.dtype, info.shape)
    return Piece(file, info.dtype, info.shape, ((info.begin, info.begin + length),))


def _scaled(raw: dict[str, Piece]) -> dict[str, Piece]:
    """fp8-scaled files keep a factor beside each weight, and others that aren't needed."""
    scaled = {}
    for key, piece in ((key, piece) for key, piece in raw.items() if not key.endswith(SCALES)):
        stem = key.removesuffix("weight")
        scale = next((raw[stem + end] for end in SCALE_ENDS if stem != key and stem + end in raw), None)
        scaled[key] = replace(piece, scale=scale) if scale else piece
    return scaled


def _stages(part: Identity) -> tuple[dict, ...] | None:
    for variant in (part.variant.partition(",")[0], ""):  # what follows a comma is a remark
        if (stages := STAGES.get((part.component, part.family, variant, part.layout))) is not None:
            return stages
    return None


def _renamed(raw: dict[str, Piece], part: Identity) -> dict[str, Piece]:
    stages = _stages(part) or ()
    cuts = CUTS.get((part.component, part.family), {}) if stages else {}
    swap = SWAPS.get((part.component, part.family)) if stages else None
    if part.layout == "ComfyUI":
        raw = {renamed(key, (COMFY_HUNYUAN,)): piece for key, piece in raw.items()}
    found = {}
    for key, piece in raw.items():
        if swap and re.search(swap, key):
            piece = _swapped(piece)
        for name, cut in _cut(key, piece, cuts, raw):
            found[renamed(name, stages)] = cut
    return found


def _cut(key: str, piece: Piece, cuts: dict, raw: dict[str, Piece]):
    for pattern, names in cuts.items():
        if match := re.search(pattern, key):
            stem, end = key[: match.start()], key[match.end() :]
            rows = piece.shape[0]
            if names[-1].endswith("*"):
                weight = raw.get(f"{stem}{match.group()}.weight", piece)
                each = weight.shape[-1]
                sizes = [each] * (len(names) - 1) + [rows - each * (len(names) - 1)]
            else:
                sizes = [rows // len(names)] * len(names)
            if min(sizes) < 1 or sum(sizes) != rows:
                raise CheckpointError(f"{piece.file.name}: {key} has {rows} rows, which don't divide as they should")
            begin = 0
            for name, size in zip(names, sizes, strict=True):
                yield stem + name.rstrip("*") + end, _rows(piece, begin, begin + size)
                begin += size
            return
    yield key, piece


def _rows(piece: Piece, begin: int, end: int) -> Piece:
    start, stop = piece.spans[0]
    row = (stop - start) // piece.shape[0]
    scale = piece.scale
    if scale and scale.shape and scale.shape[0] == piece.shape[0]:
        scale = _rows(scale, begin, end)
    return replace(
        piece, shape=(end - begin, *piece.shape[1:]), spans=((start + begin * row, start + end * row),), scale=scale
    )


def _swapped(piece: Piece) -> Piece:
    half = piece.shape[0] // 2
    first, second = _rows(piece, 0, half), _rows(piece, half, piece.shape[0])
    return replace(piece, spans=second.spans + first.spans)
