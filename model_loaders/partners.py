"""The other files that a single file is used with: the second expert, the second text encoder, what sees pictures.

Of a diffusers pipeline they lie in folders beside its own. Of single files and of folders as the makers of Wan and of
FramePack publish them they are found by what they are, beside them or on their own shelf of the models; of two experts,
by their names.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from .checkpoint import CheckpointError, read_header
from .fingerprints import CONNECTORS, DIT, TEXT, VISION
from .folders import DEEP, SUFFIXES, entries, models_in
from .identify import Identity, article, identify_file
from .single_file import Source, locate, neighbour
from .variants import HIGH, LOW

SECOND = "transformer_2"  # A14B's expert for low noise
CONTROLNET = "controlnet"  # what makes a transformer follow a control video, in the same passes
SHELVES = {
    TEXT: ("text_encoders", "clip"),
    VISION: ("clip_vision",),
    CONNECTORS: ("checkpoints", "text_encoders", "diffusion_models"),
}  # ComfyUI's folders, today's name first


class Wanted(NamedTuple):
    component: str
    configs: tuple[str, ...]  # the folders in configs/ of what may be wanted
    what: str
    example: str
    needed: bool = True


CLIP_H = Wanted(VISION, ("clip-vision-h",), "the CLIP H image encoder", "clip_vision_h.safetensors")
SIGLIP = Wanted(VISION, ("siglip-384",), "the SigLIP image encoder", "sigclip_vision_patch14_384.safetensors")
CLIP_L = Wanted(TEXT, ("clip-l",), "the CLIP L text encoder", "clip_l.safetensors")
BYT5 = Wanted(TEXT, ("byt5-small-glyph",), "the ByT5 text encoder", "byt5_small_glyphxl_fp16.safetensors")
LLAVA = Wanted(VISION, ("llava-llama-3-8b",), "LLaVA's image encoder", "llava_llama3_vision.safetensors", needed=False)
LTX_2 = Wanted(
    CONNECTORS, ("ltx-2-19b", "ltx-2.3-22b"), "LTX-2's checkpoint, which holds its connectors",
    "ltx-2-19b-dev.safetensors (or 2.3's)",
)  # fmt: skip
# (component, family) of a single file → a folder's name in its pipeline → what stands for it
PARTNERS = {
    (DIT, "Wan"): {"image_encoder": CLIP_H},
    (DIT, "HunyuanVideo"): {"image_encoder": SIGLIP},  # FramePack's
    (DIT, "HunyuanVideo 1.5"): {"image_encoder": SIGLIP},
    (TEXT, "Llama"): {"text_encoder_2": CLIP_L, "vision_tower": LLAVA},
    (TEXT, "Qwen2.5"): {"text_encoder_2": BYT5},
    (TEXT, "Gemma 3"): {"connectors": LTX_2},
}
# class of a transformer that is published as a folder without its pipeline → the same
LONE = dict.fromkeys(
    ("HunyuanVideoFramepackTransformer3DModel", "HunyuanVideoTransformer3DModelPacked"), {"image_encoder": SIGLIP}
)
# family of a text encoder that takes others from beside it → a name it is well known by
CHOSEN = {"Llama": "llava_llama3_fp8_scaled.safetensors", "Qwen2.5": "qwen_2.5_vl_7b_fp8_scaled.safetensors"}


def takers(file: Path, part: Identity) -> list[tuple[str, str]]:
    """(component, family) of what takes this file from beside it; none of what a loader loads itself."""
    return [taker for taker, wants in PARTNERS.items()
            if any(one.component == part.component and _config(file, one) for one in wants.values())]  # fmt: skip


def beside(source: Source, name: str) -> Source | None:
    """Another part of its pipeline, by its folder's name there; None where there is none.

    Raises CheckpointError, which says what belongs where, for a single file or a lone folder whose partner isn't there.
    """
    if source.at is None:
        folder = source.folder.parent / name
        if (folder / "config.json").is_file():
            return neighbour(folder)
    elif name == SECOND:
        return _other_expert(source)
    wanted = _wants(source).get(name)
    if wanted is None:
        return None
    found = next(_found(source, wanted), None)
    if found or not wanted.needed:
        return found
    shelf = SHELVES[wanted.component][0]
    raise CheckpointError(
        f"{source.name} is used with {wanted.what}: put {wanted.example} into models/{shelf} or beside it"
    )


def others(source: Source, name: str) -> list[Source]:
    """What else a single file may be used with under this name, for other models that it serves too."""
    wanted = source.at and _wants(source).get(name)
    try:
        return list(_found(source, wanted))[1:] if wanted else []
    except CheckpointError:  # of a file that nobody asked for
        return []


def whole(source: Source) -> Source:
    """What a single file is read as: of two experts the one that begins, for high noise, whichever was chosen; LLaVA's
    Llama together with its image encoder, where that is there. Raises CheckpointError for one that another takes from
    beside it."""
    if source.at is None:
        return source
    if taken_by := takers(source.at, source.identity):
        raise CheckpointError(_not_chosen(source, taken_by))
    if _is_expert(source, LOW):
        return _other_expert(source)
    sees = beside(source, "vision_tower")
    if sees is None:
        return source
    said = {key: source.config[key] for key in ("image_token_index", "pad_token_id") if key in source.config}
    config = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", **said,
              "text_config": source.config, "vision_config": sees.config}  # fmt: skip
    return replace(source, config=config, joined=sees)


def _wants(source: Source) -> dict[str, Wanted]:
    if source.at is None:
        return LONE.get(source.class_name, {})
    return PARTNERS.get((source.identity.component, source.identity.family), {})


def _found(source: Source, wanted: Wanted) -> Iterator[Source]:
    """One for each of the configs that there is a file of, the nearest file first."""
    met = set()
    for path in _around(source.at or source.folder, SHELVES[wanted.component], wanted.example.partition(" ")[0]):
        config = _config(path, wanted)
        if config and config not in met:
            met.add(config)
            yield locate(path, wanted.component)


def _not_chosen(source: Source, taken_by: list[tuple[str, str]]) -> str:
    """Of a second text encoder that was chosen as the first."""
    family = taken_by[0][1]
    for path in _around(source.at, SHELVES[TEXT], CHOSEN[family]):
        try:
            parts = identify_file(path)
        except (CheckpointError, OSError):
            continue
        if any((one.component, one.family) in taken_by and one.config for one in parts):
            return f"{source.name} is used beside {path.name}; choose that one"
    what = article(f"{family} {TEXT}")
    return (
        f"{source.name} is used beside {what}: put {CHOSEN[family]} into models/{SHELVES[TEXT][0]} and choose that one"
    )


def _config(path: Path, wanted: Wanted) -> str | None:
    """Of the configs wanted, that of the file; None where it is another."""
    try:
        parts = [part for part in identify_file(path) if part.component == wanted.component]
        if wanted.component == CONNECTORS and not any("embeddings_connector." in key for key in read_header(path)):
            return None  # what projects the text alone, as some publish it
    except (CheckpointError, OSError):
        return None
    return next((part.config for part in parts if part.config in wanted.configs), None)


def _around(file: Path, shelves: tuple[str, ...], example: str) -> Iterator[Path]:
    """Single files in its folder, then on the shelves of the models folder that it lies in, and in their folders; the
    one of the best-known name first."""
    shelved = (models_in(above / shelf) for above in list(file.parents)[1 : DEEP + 1] for shelf in shelves)
    met = {file}
    for paths in chain([entries(file.parent)], shelved):
        for path in sorted(paths, key=lambda path: path.name != example):
            if path not in met and path.is_file() and path.suffix.lower() in SUFFIXES:
                met.add(path)
                yield path


# the experts of Wan 2.2 A14B

EXPERTS = ", the high-noise expert", ", the low-noise expert"
OTHER_WORD = {"high": "low", "low": "high", "hn": "ln", "ln": "hn"}


def is_unnamed_expert(source: Source) -> bool:
    """Of such a size, but a name that says nothing: one of the two, or both merged into one."""
    return source.at is not None and source.identity.variant.endswith(", one of two experts")


def published_name(source: Source) -> str:
    """Of its file, or of the folder of its pipeline, which may say what its weights don't."""
    inside = source.at is None and (source.folder.parent / "model_index.json").is_file()
    return source.folder.parent.name if inside else Path(source.name).name


def _is_expert(source: Source, which: dict) -> bool:
    return source.identity.component == DIT and source.identity.variant.endswith(EXPERTS[which is LOW])


def _other_expert(source: Source) -> Source | None:
    marks = next((mark for mark in (HIGH, LOW) if _is_expert(source, mark)), None)
    if marks is None:
        return None
    file = source.at
    name = _swapped(file.name, marks)
    folders = [file.parent, file.parent.with_name(_swapped(file.parent.name, marks, loose=True))]
    for folder in dict.fromkeys(folders):
        for path in entries(folder):
            if _plain(path.name) == _plain(name):
                return locate(path, DIT)
    here, there = ("high", "low") if marks is HIGH else ("low", "high")
    raise CheckpointError(
        f"{file.name} is one of {source.identity.name}'s two experts, for {here} noise; the one for {there} noise has "
        f"to lie beside it: {name}"
    )


def _swapped(name: str, marks: dict, loose: bool = False) -> str:
    """The name with the other expert's word; loose: a folder's, where the word may stand alone."""
    pattern = r"high|low" if loose else marks["named"]

    def other(match):
        return re.sub("high|low|hn|ln", _other_word, match.group(), flags=re.IGNORECASE)

    return re.sub(pattern, other, name, flags=re.IGNORECASE)


def _other_word(match) -> str:
    word = match.group()
    new = OTHER_WORD[word.lower()]
    return new.upper() if word.isupper() else new.title() if word.istitle() else new


def _plain(name: str) -> str:
    """What remains of a name where people write - for _, or High for HIGH."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
