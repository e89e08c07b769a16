"""What is this file? Component, family, variant, size and number format, from a header alone: no weights, no torch."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

from .checkpoint import DTYPE_BITS, TensorInfo, read_header, read_json, weight_files
from .fingerprints import KINDS, LORA, PREFIXES, TEXT, UPSAMPLER
from .gguf import bits
from .lora_keys import family as lora_family
from .lora_keys import is_lora, layers
from .settings import class_of
from .variants import DISTILLED, DISTILLING, DISTILLS, PARTNERS, UNUSUAL, UPSAMPLES, VARIANTS, Variant

UNKNOWN = "unknown"
BY_COMFYUI = {"U8": "nvfp4", "I8": "int8"}  # how a weight is stored that has a factor beside it → the format
SCALES = (".scale_weight", ".weight_scale", ".scale_input", ".input_scale", "scaled_fp8", ".comfy_quant")
SCALES += (".weight_scale_2",)  # nvfp4's, of a whole weight
DTYPE_NAMES = {
    **{"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"},
    **{"F8_E4M3": "fp8 e4m3", "F8_E5M2": "fp8 e5m2"},
}


@dataclass(frozen=True)
class Identity:
    component: str  # transformer, VAE, text encoder, image encoder, LoRA, …, unknown
    family: str = ""
    variant: str = ""
    layout: str = ""  # of its keys: diffusers, original, ComfyUI, GGUF
    dtype: str = ""
    parameters: int = 0
    bytes: int = 0
    prefix: str = ""  # what its keys begin with
    config: str = ""  # the folder in configs/ that tells how it is built, "" where none ships
    first_key: str = ""

    @property
    def name(self) -> str:
        return f"{self.family} {self.variant.partition(',')[0]}".strip()

    @property
    def title(self) -> str:
        """'a Wan 2.2 T2V A14B transformer', without the remark that its words end with."""
        return article(f"{self.name} {self.component}".strip())

    def __str__(self) -> str:
        if self.component == UNKNOWN:
            return f"a file of unknown kind (its first tensor is {self.first_key!r})"
        return self.title + "".join(self.variant.partition(",")[1:])

    @property
    def latent(self) -> str:
        """Which VAE's latents a transformer denoises, as the beginning of that VAE's name."""
        return self._partners()[0]

    @property
    def texts(self) -> tuple[str, ...]:
        """The text encoders a transformer was trained with."""
        return self._partners()[1]

    def _partners(self) -> tuple[str, tuple[str, ...]]:
        fitting = [key for key in PARTNERS if self.component == "transformer" and f"{self.name} ".startswith(key)]
        return PARTNERS[max(fitting, key=len)] if fitting else ("", ())


def article(words: str) -> str:
    return f"{'an' if words.startswith(('A', 'E', 'I', 'O', 'LTX', 'a', 'i', 'u')) else 'a'} {words}"


def fits(a: Identity, b: Identity) -> bool:
    """May the two be wired into one graph: a transformer, and its VAE, text encoder or LoRA; a VAE and an upsampler of
    its latents?"""
    if UPSAMPLER in (a.component, b.component):
        one, vae = (a, b) if a.component == UPSAMPLER else (b, a)
        return vae.component == "VAE" and bool(enlarged(one)) and vae.name.startswith(enlarged(one))
    if b.component == "transformer":
        a, b = b, a
    if a.component != "transformer":
        return False
    if b.component == LORA:
        owners = [f"{one} {b.variant}".strip() for one in b.family.split(" or ") if one]  # "LTX 2B", "LTX-2"
        sized = [(family, size in a.variant) for family, _, size in (one.rpartition(" ") for one in owners)]
        return a.family in owners or (a.family, True) in sized
    if b.component == "VAE":
        latents = (latent for latent, _ in PARTNERS.values() if b.name.startswith(latent))
        return bool(a.latent) and max(latents, key=len, default="") == a.latent
    return b.component == TEXT and b.name in a.texts


def enlarged(upsampler: Identity) -> str:
    """Whose latents it is made for, as the beginning of that VAE's name; "" where that isn't known."""
    return next((vae for name, vae in UPSAMPLES.items() if upsampler.name.startswith(name)), "")


def strange(dit: Identity, other: Identity) -> str:
    """What a transformer needs in the place of this VAE or text encoder; "" where it may fit. What isn't known isn't
    judged, of unusual size only by its family."""
    if other.component not in ("VAE", TEXT) or fits(dit, other):
        return ""
    wanted = [dit.latent] if other.component == "VAE" else dit.texts
    known = {name for latent, texts in PARTNERS.values() for name in (latent, *texts)}
    named = UNUSUAL not in other.variant and any(other.name.startswith(name) for name in known)
    kin = any(f"{name} ".startswith(f"{other.family} ") for name in wanted)
    judged = any(wanted) and (named or not kin)
    return f"{article(wanted[0])} {other.component}" if judged else ""


def identify(header: dict[str, TensorInfo], file_name: str = "") -> Identity:
    """The file's first component: of a checkpoint that holds several, the transformer."""
    return components(header, file_name)[0]


def components(header: dict[str, TensorInfo], file_name: str = "") -> list[Identity]:
    """All that one file holds; some, LTX's among them, carry transformer and VAE together. Never empty."""
    if is_lora(header):
        family, size = lora_family(layers(header)[0])
        return [_measured(header, "", component=LORA, family=family, variant=size)]
    found = {}
    for kind in KINDS:
        for prefix in PREFIXES:
            if prefix not in found and all(_holds(header, prefix, mark) for mark in kind.marks.split()):
                found[prefix] = kind
    if not found:
        return [_measured(header, "", component=UNKNOWN, first_key=min(header))]
    parts = []
    for prefix, kind in sorted(found.items(), key=lambda item: item[1].component != "VAE"):
        others = tuple(other for other in found if other.startswith(prefix) and other != prefix)
        part = {k: info for k, info in header.items() if k.startswith(prefix) and not (others and k.startswith(others))}
        measured = {name: measure(part, prefix, what) for name, what in kind.measures.items()}
        beside = " ".join(one.name for one in parts)  # an LTX transformer is of the version of the VAE in its file
        which = (kind.component, kind.family)
        variant = _variant(which, measured, f"{beside} {file_name}")
        name = variant.name + (DISTILLED if which in DISTILLING and DISTILLS in file_name.lower() else "")
        about = {"component": kind.component, "family": kind.family, "layout": kind.layout}
        parts.append(_measured(part, prefix, **about, variant=name, config=variant.config))
    return sorted(parts, key=lambda one: [one.component == other for other in ("transformer", "VAE")], reverse=True)


def measure(header: dict[str, TensorInfo], prefix: str, what: str):
    """`key` → is it there; `key:2` → that length, `key:n` → how many, None where it isn't there; `stem.#` → blocks;
    `*key` → does any end so."""
    if what.startswith("*"):
        return any(key.endswith(what[1:]) for key in header)
    if what.endswith(".#"):
        stem = prefix + what[:-1]
        return len({key[len(stem) :].partition(".")[0] for key in header if key.startswith(stem)})
    key, _, dim = what.partition(":")
    info = header.get(f"{prefix}{key}.weight") or header.get(prefix + key)
    if not dim:
        return info is not None
    if dim == "n":
        return info and len(info.shape)
    return info.shape[int(dim)] if info and len(info.shape) > int(dim) else None


def _holds(header: dict, prefix: str, mark: str) -> bool:
    what, _, value = mark.partition("=")
    return measure(header, prefix, what) == (int(value) if value else True)


def _variant(kind: tuple[str, str], measured: dict, file_name: str) -> Variant:
    def right(name, value):
        if name == "named":
            return re.search(value, file_name, re.IGNORECASE)
        return measured.get(name, False) == value

    rows = VARIANTS.get(kind, ())
    return next((row for row in rows if all(right(*item) for item in row.when.items())), Variant(""))


def _measured(part: dict[str, TensorInfo], prefix: str, **about) -> Identity:
    weights = {key: info for key, info in part.items() if not key.endswith(SCALES)}
    sizes = Counter()
    for info in weights.values():
        sizes[info.dtype] += int(prod(info.shape) * (DTYPE_BITS.get(info.dtype) or bits(info.dtype) or 0)) // 8
    most = max(sizes, key=sizes.get, default="")
    dtype = DTYPE_NAMES.get(most, most)
    if kind := _by_comfyui(part):
        dtype = kind
    elif dtype.startswith("fp8") and len(weights) < len(part):
        dtype = f"{dtype} scaled"
    elif most not in DTYPE_NAMES and any(key.endswith(".comfy_quant") for key in part):
        dtype = "a format of its own"
    parameters = sum(
        prod(info.shape) * (2 if (dtype, info.dtype) == ("nvfp4", "U8") else 1) for info in weights.values()
    )
    return Identity(**about, dtype=dtype, parameters=parameters, bytes=sum(sizes.values()), prefix=prefix)


def _by_comfyui(part: dict[str, TensorInfo]) -> str:
    """Which of ComfyUI's formats that only it reads, "" for any other file. They keep a factor for every few numbers,
    not one for a weight or a row, or, in int8, may have rotated them."""
    for key, info in part.items():
        if key.endswith(".weight_scale"):
            weight = part.get(key.removesuffix("_scale"))
            if weight and weight.dtype in BY_COMFYUI:
                return BY_COMFYUI[weight.dtype]
            if len(info.shape) > 1 and prod(info.shape) > info.shape[0]:
                return "mxfp8"
    return ""


# files and folders


def identify_file(path: Path) -> list[Identity]:
    """What a single file holds. Remembered while the file stays as it is."""
    stat = path.stat()
    return list(_identified(path, stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=512)
def _identified(path: Path, changed: int, size: int) -> tuple[Identity, ...]:
    return tuple(components(read_header(path), path.name))


def identify_folder(folder: Path) -> Identity:
    """What a component's folder holds (config.json, weights in one file or in shards)."""
    tensors = {key: info for file in weight_files(folder) for key, info in read_header(file).items()}
    name = folder.parent.name if (folder.parent / "model_index.json").is_file() else folder.name
    return identify(tensors, name)


def describe(path: Path) -> str:
    """What a file or folder is, in a few words: 'a Wan 2.1 VAE'."""
    if not path.is_dir():
        return " with ".join(map(str, identify_file(path)))
    for name in ("model_index.json", "config.json"):
        if (path / name).is_file():
            config = read_json(path / name)
            return f"a {class_of(config) or 'model'} folder"
    return "a folder without config.json or model_index.json"
