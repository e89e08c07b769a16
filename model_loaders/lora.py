"""A LoRA file on a transformer: what of it fits, told before the model's weights are read, or why nothing does."""

import json
import re
from dataclasses import dataclass, field, replace
from itertools import product
from math import isfinite, prod
from pathlib import Path

from .checkpoint import CheckpointError, TensorInfo, read_header, read_json, read_metadata
from .dit import MAIN, SECOND, DiT
from .fingerprints import LOADERS
from .identify import article, identify, identify_file
from .lora_keys import (
    ALPHA,
    BIAS,
    DIFF,
    DIFF_B,
    DOWN,
    HADA,
    LOKR,
    MAGNITUDE,
    UP,
    Layer,
    Names,
    family,
    is_lora,
    kronecker,
    layers,
    lokr_factors,
    other_kind,
)
from .lora_merge import Change
from .reading import TORCH_NAMES
from .single_file import Source, pieces
from .variants import HIGH, LOW

AUTO, BOTH, HIGH_NOISE, LOW_NOISE = "auto", "both", "high noise", "low noise"
EXPERTS = {BOTH: (MAIN, SECOND), HIGH_NOISE: (MAIN,), LOW_NOISE: (SECOND,)}
PEFT_FILE = "adapter_model.safetensors"  # beside its settings in adapter_config.json
NAMES = {DOWN: "lora_A (down)", UP: "lora_B (up)", MAGNITUDE: "the lengths of a DoRA"}


@dataclass(frozen=True)
class LoRA:
    path: Path
    layers: list[Layer]
    others: list[str]  # keys about anything else
    settings: dict  # PEFT's, {} where it has none

    @property
    def keys(self) -> int:
        return len(self.others) + sum(len(layer.keys) for layer in self.layers)

    @property
    def what(self) -> str:
        return article(" ".join(filter(None, (*family(self.layers), "LoRA"))))


@dataclass
class Fit:
    """What a LoRA does to one transformer."""

    changes: dict[str, Change] = field(default_factory=dict)  # by the transformer's own keys
    layers: int = 0
    keys: int = 0
    misfits: list[tuple[str, str]] = field(default_factory=list)  # a key of the file, and what is wrong with it


def open_lora(path: Path) -> LoRA:
    """Raises CheckpointError, in one line, for whatever isn't a LoRA of a transformer or can't be applied."""
    header = read_header(path)
    if other := next(((kind, key) for key in header if (kind := other_kind(key))), None):
        raise CheckpointError(
            f"{path.name} is {other[0]} ({other[1]!r}); Load LoRA reads LoRA, DoRA, LoHa and LoKr files"
        )
    if not is_lora(header):
        what = identify_file(path)[0]
        right = LOADERS.get(what.component)
        hint = f" (this one goes into {right})" if right else ""
        raise CheckpointError(
            f"{path.name} is {what}; Load LoRA needs a LoRA, whose keys end in lora_A or lora_down{hint}"
        )
    found, others = layers(header)
    if not found:
        raise CheckpointError(
            f"{path.name} is a LoRA of a text encoder only ({others[0]!r}); Load LoRA needs one of a transformer"
        )
    for layer in found:
        _whole(path, layer)
    if all(layer.parts.keys() == {ALPHA} for layer in found):
        raise CheckpointError(f"{path.name} is damaged: of the transformer's layers it holds alphas, but no weights")
    return LoRA(path, found, others, _settings(path))


def _whole(path: Path, layer: Layer):
    """Are the parts of this layer's change all there, and of one rank?"""
    parts = layer.parts
    needs = [(DOWN, UP), (UP, DOWN), *product(HADA, HADA), *product(LOKR, lokr_factors(parts))]
    if parts.keys().isdisjoint((*HADA, *LOKR)):
        needs.append((MAGNITUDE, UP))
    for one, other in needs:
        if one in parts and other not in parts:
            raise CheckpointError(
                f"{path.name} is damaged: {layer.name} has {NAMES.get(one, one)} but no {NAMES.get(other, other)}"
            )
    for part, info in parts.items():
        whole_number = info.dtype[0] in "IU"  # so musubi-tuner stores alphas
        if info.dtype not in TORCH_NAMES or info.dtype == "BOOL" or whole_number and part != ALPHA:
            said = f"{layer.name}'s {NAMES.get(part, part)} is stored as {info.dtype}"
            raise CheckpointError(f"{path.name}: {said}; LoRAs are read as floats")
        flat = part in (DOWN, UP, *HADA, *LOKR) and len(info.shape) < 2
        if flat or 0 in info.shape or part == ALPHA and prod(info.shape) != 1:
            raise CheckpointError(f"{path.name} is damaged: {layer.name}'s {part} is of shape {list(info.shape)}")
    for wide, tall in ((UP, DOWN), HADA[:2], HADA[2:], LOKR[1:3], LOKR[4:]):
        if wide in parts and tall in parts and parts[wide].shape[1] != parts[tall].shape[0]:
            raise CheckpointError(
                f"{path.name} is damaged: {layer.name} is of rank {parts[tall].shape[0]} in {NAMES.get(tall, tall)} "
                f"and {parts[wide].shape[1]} in {NAMES.get(wide, wide)}"
            )
    if MAGNITUDE in parts:
        found, rows = parts[MAGNITUDE].shape, next(_sizes(layer, False))[0]
        if prod(found) != rows or len(found) == 2 and found[0] != rows:  # [1, columns] is LyCORIS's other way
            raise CheckpointError(
                f"{path.name} is a DoRA whose lengths aren't those of rows ({layer.name}: {list(found)}); "
                f"Load LoRA reads DoRA with one for every row, {[rows, 1]}"
            )


def _settings(path: Path) -> dict:
    """What PEFT and diffusers write of a LoRA beside its weights."""
    told = read_metadata(path).get("lora_adapter_metadata")
    if isinstance(told, str):
        try:
            settings = json.loads(told)
        except (ValueError, RecursionError):
            settings = None
        if not isinstance(settings, dict):
            raise CheckpointError(f"{path.name} is damaged: its lora_adapter_metadata is no table of settings")
        return {key.removeprefix(f"{MAIN}."): value for key, value in settings.items()}
    beside = path.parent / "adapter_config.json"
    return read_json(beside) if path.name == PEFT_FILE and beside.is_file() else {}


def fit(lora: LoRA, source: Source, strength: float) -> Fit:
    """Which of a transformer's tensors change, and how."""
    shapes = {key: piece.shape for key, piece in pieces(source).items()}
    names, done, layers_done = Names(shapes, identity(source).family), Fit(), set()
    for layer in lora.layers:
        targets, swap = names.of(layer)
        for bias in (False, True):
            mine = [key for part, key in layer.keys.items() if (part in (BIAS, DIFF_B)) == bias]
            places = _places(layer, bias, targets, shapes) if mine else []
            if isinstance(places, str):
                done.misfits.append((mine[0], places))
                continue
            start = 0
            for key in places:
                rows = (start, start := start + shapes[key][0])
                alpha, stabilised = _alpha(lora, key)
                done.changes[key] = Change(lora.path, layer, strength, rows, swap, bias, alpha, stabilised)
            if mine:
                done.keys += len(mine)
                layers_done.add(layer.name)
    done.layers = len(layers_done)
    return done


def _places(layer: Layer, bias: bool, targets: list[str], shapes: dict) -> list[str] | str:
    """The tensors that this layer's weight (or bias) is, or why there are none."""
    if not targets:
        return "this DiT has no such layer"
    ends = (".bias",) if bias else (".weight", "")
    keys = [next((target + end for end in ends if target + end in shapes), None) for target in targets]
    if None in keys:
        return "this DiT's layer has no bias"
    wanted = (sum(shapes[key][0] for key in keys), prod(shapes[keys[0]][1:]))
    sizes = list(_sizes(layer, bias))
    for found in sizes:
        if found != wanted:
            return f"{found[0]}×{found[1]} there, {wanted[0]}×{wanted[1]} in this DiT"
    return keys if sizes else "it holds no change"


def _sizes(layer: Layer, bias: bool):
    """(rows, columns) of the layer, by each part of its change that tells."""
    shapes = {part: info.shape for part, info in layer.parts.items()}
    for part in (BIAS, DIFF_B) if bias else (DIFF,):
        if part in shapes:
            yield (shapes[part] or (1,))[0], prod(shapes[part][1:])
    if bias:
        return
    if DOWN in shapes:
        yield prod(shapes[UP]) // shapes[UP][1], prod(shapes[DOWN][1:])
    if HADA[0] in shapes:
        for a, b in (HADA[:2], HADA[2:]):
            yield shapes[a][0], shapes[b][1]
    if not shapes.keys().isdisjoint(LOKR):
        yield kronecker(layer)


def _alpha(lora: LoRA, key: str) -> tuple[float | None, bool]:
    """What PEFT's settings say of a layer's alpha, as it looks it up (peft.utils.get_pattern_key)."""
    told, name = lora.settings, key.rpartition(".")[0]
    patterns = told.get("alpha_pattern") or {}
    try:
        own = next((value for mark, value in patterns.items() if re.match(rf"(.*\.)?({mark})$", name)), None)
        alpha = own if own is not None else told.get("lora_alpha")
        alpha = None if alpha is None else float(alpha)
        if alpha is not None and not isfinite(alpha):
            raise ValueError
        return alpha, bool(told.get("use_rslora"))
    except (AttributeError, TypeError, ValueError, re.error):
        raise CheckpointError(f"{lora.path.name} comes with settings that can't be read (its alphas)") from None


def identity(source: Source):
    if source.identity:
        return source.identity
    header = {key: TensorInfo(piece.dtype, piece.shape) for key, piece in pieces(source).items()}
    return identify(header, Path(source.name).parent.name)


def apply(dit: DiT, path: Path, strength: float, expert: str = AUTO) -> tuple[DiT, str, list[str]]:
    """The DiT with the LoRA on it; what was done, in words; and what the user should know."""
    lora, notices = open_lora(path), []
    sources = dit.sources()
    parts = _parts(path, expert, list(sources), notices)
    fits = {part: fit(lora, sources[part], strength) for part in parts}
    done = next(iter(fits.values()))
    _refuse_foreign(lora, done, sources[parts[0]])
    told = f"{done.keys} of {lora.keys} keys in {done.layers} layer{'s' * (done.layers != 1)}, strength {strength:g}"
    if len(sources) > 1:
        told += f", {' and '.join(name for name in (HIGH_NOISE, LOW_NOISE) if EXPERTS[name][0] in parts)}"
    if done.keys < lora.keys:
        key, why = done.misfits[0] if done.misfits else (lora.others[0], "it isn't about the transformer")
        notices.append(f"{path.name}: {lora.keys - done.keys} of {lora.keys} keys don't fit, e.g. {key!r}: {why}")
    if not strength:
        return dit, f"{told}: nothing changes", notices
    _refuse_nothing(lora, fits)
    changed = dit.with_changes({part: one.changes for part, one in fits.items()})
    if dit.config.control_scale and (scale := _control_scale(path)) > 1:
        changed.config = replace(changed.config, control_scale=scale)
        told += f", follows a control video of 1/{scale} the size"
    return changed, told, [*notices, *filter(None, [changed.distil(path.name)])]


def _control_scale(path: Path) -> int:
    """How many times smaller than the canvas an IC-LoRA's control video is, as LTX-2's trainer writes it."""
    try:
        return max(round(float(read_metadata(path).get("reference_downscale_factor", 1))), 1)
    except (OverflowError, TypeError, ValueError):
        raise CheckpointError(f"{path.name} is damaged: its reference_downscale_factor is no number") from None


def _parts(path: Path, expert: str, there: list[str], notices: list[str]) -> tuple[str, ...]:
    """The transformers that it changes. Wan 2.2's LoRAs come in pairs, told apart by their names."""
    if len(there) < 2:
        if expert in (HIGH_NOISE, LOW_NOISE):
            notices.append(f"expert is {expert!r}, but this DiT is one transformer: the LoRA changes that")
        return (MAIN,)
    if expert == AUTO:
        named = [
            one for one, mark in ((HIGH_NOISE, HIGH), (LOW_NOISE, LOW)) if re.search(mark["named"], path.name, re.I)
        ]
        expert = named[0] if len(named) == 1 else BOTH
    return EXPERTS[expert]


def _refuse_nothing(lora: LoRA, fits: dict[str, Fit]):
    """A layer or two that were never trained are no matter. It stops at the first that is: usually one is read."""
    zeros = {}
    for change in (change for one in fits.values() for change in one.changes.values()):
        place = change.layer.name, change.bias
        if place not in zeros:
            zeros[place] = change.zero()
        if not zeros[place]:
            return
    (name, _), zero = next(iter(zeros.items()))
    said = f"every layer of it that fits is zero, e.g. {NAMES.get(zero, zero)} in {name}"
    right = "one with another alpha" if zero == ALPHA else "one that was trained"
    raise CheckpointError(f"{lora.path.name} changes nothing: {said}; {right} would be right")


def _refuse_foreign(lora: LoRA, done: Fit, source: Source):
    whose, here = family(lora.layers)[0], identity(source)
    said = f"{lora.path.name} is {lora.what} and this DiT {here}"
    if done.changes and whose == "Flux":
        raise CheckpointError(
            f"{said}: their layers are only called alike; one trained on {here.family} would be right"
        )
    if done.changes:
        return
    size = next((misfit for misfit in done.misfits if "×" in misfit[1]), None)
    key, why = size or done.misfits[0]
    right = f"one for {here.name}" if size else f"one trained on {here.family}"
    raise CheckpointError(f"{said}: none of its {lora.keys} keys fits ({key!r}: {why}); {right} would be right")
