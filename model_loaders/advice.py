"""What would make a run fit: for each stage that doesn't, the changes that would, those first that cost the least."""

import sys
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice, product

from ..spacetime.cost import LIBRARIES
from ..spacetime.grid import Admits, snap, snap_frames
from ..spacetime.plan import Plan
from .devices import one_memory
from .offload import INT8, ways

READING, SAMPLING, DECODING = "text encoder", "sampling", "decoding"  # the stages of a plan
PARTS = {"dit": "the DiT", "vae": "the VAE", "text_encoder": "the text encoder"}


@dataclass(frozen=True)
class Run:
    """What is planned. offload: bytes that disk offload writes, where they have been counted."""

    dit: object
    vae: object
    text_encoder: object
    wish: object
    offload: int | None = None


@dataclass(frozen=True)
class Change:
    part: str  # of a Run
    choices: dict = field(hash=False)
    says: str = ""  # where these aren't a loader's choices

    def of(self, run: Run) -> Run:
        one = getattr(run, self.part)
        one = replace(one, **self.choices) if self.part == "wish" else altered(one, **self.choices)
        return replace(run, **{self.part: one}, offload=None if self.part == "dit" else run.offload)


def altered(one, **choices):
    """The same component with other choices of its loader."""
    other = copy(one)
    other.__dict__.update(choices)
    other.__dict__.pop("weight_bytes", None)
    return other


def advice(
    run: Run, made: Plan, planned: Callable[[Run], Plan], computer: int | None = None, disk: int | None = None
) -> list[tuple[Change, ...]]:
    """Sets of changes, none of which could be left out. made: the plan, which doesn't fit; computer:
    bytes of the computer's memory; disk: those free for disk offload."""

    def holds(plan: Plan, name: str) -> bool:
        stage = plan.stage(name)
        room = computer if stage.elsewhere else plan.room
        free = sys.maxsize if disk is None or name != SAMPLING else disk
        return (room is None or stage.bytes + LIBRARIES <= room) and plan.offload <= free

    def helping(name: str) -> list[Change]:
        found: list[Change] = []
        for change in _remedies(run, name):
            needless = any(one.choices.items() <= change.choices.items() for one in found)
            if not needless and holds(planned(change.of(run)), name):
                found.append(change)
        return found

    helps = {name: helping(name) for name in made.short}
    if not helps.get(READING, True):
        return []
    reading = helps.pop(READING, [])
    if not helps:
        return [(one,) for one in reading]
    if len(helps) > 1:
        helps[SAMPLING] = helps[SAMPLING][:1]
    whole = [(*reading[:1], *changes) for changes in product(*helps.values())]
    # Or a smaller video, with as few of the changes as will do
    for some in product(*([(), *((one,) for one in changes[:1])] for changes in helps.values())):
        changes = (*reading[:1], *(change for one in some for change in one))
        if changes in whole:
            break
        if smaller := list(_smaller(with_changes(run, changes), made, planned)):
            whole += [(*changes, one) for one in smaller]
            break
    return whole


def _remedies(run: Run, name: str) -> Iterator[Change]:
    apart = [] if one_memory(run.dit.device) else [{"device": "cpu"}]
    light = {"dtype": "bfloat16"}
    if name == READING:
        part, choices = "text_encoder", [*apart, *({**one, **light} for one in apart), light]
    elif name == DECODING:
        part, choices = "vae", [*apart, {"tiling": "on"}, *({**one, "tiling": "on"} for one in apart)]
    else:
        moved = [{"memory": way} for way in ways(not apart)[1:] if run.dit.weights != INT8]
        part, choices = "dit", [light, *moved, *({**light, **one} for one in moved)]
    yield from (Change(part, one) for one in choices)


def _smaller(run: Run, made: Plan, planned: Callable[[Run], Plan]) -> Iterator[Change]:
    """Of lengths and sizes the largest that would fit."""
    wish, facts = run.wish, run.vae.config
    batch, channels, *cells = wish.shape

    def shaped(says: str, *shape) -> Change:
        return Change("wish", {"shape": shape}, says)

    admits = Admits(channels, facts.time_factor, facts.space_factor, run.dit.config.patch)
    step = admits.time_factor * admits.patch[0]
    lengths = [snap_frames(made.frames * k // 16, step) for k in range(15, 0, -1)]
    sides = admits.space_factor * admits.patch[1], admits.space_factor * admits.patch[2]
    sizes = [
        tuple(snap(n * k // 16, side) for n, side in zip((made.height, made.width), sides, strict=True))
        for k in range(15, 0, -1)
    ]
    fewer = (
        shaped(f"{n} frame{'s' * (n > 1)} instead of {made.frames}", batch, channels, (n - 1) // facts.time_factor + 1,
               *cells[1:])
        for n in dict.fromkeys((*lengths, 1)) if n < made.frames
    )  # fmt: skip
    lower = (
        shaped(f"{width}×{height} instead of {made.width}×{made.height}", *wish.shape[:3],
               height // facts.space_factor, width // facts.space_factor)
        for height, width in dict.fromkeys(sizes) if (height, width) != (made.height, made.width)
    )  # fmt: skip
    other = [Change("wish", {"windows": "auto"}, "windows auto instead of whole")] if wish.windows == "whole" else []
    alone = [shaped("batch_size 1", 1, *wish.shape[1:])] if batch > 1 else []
    for group in (fewer, lower, other, alone):
        yield from islice((one for one in group if planned(one.of(run)).fits), 1)


def with_changes(run: Run, changes: Iterable[Change]) -> Run:
    for change in changes:
        run = change.of(run)
    return run


def told(changes: Iterable[Change]) -> str:
    """ "device cpu for the text encoder and the VAE would fit"."""
    whom: dict[str, list[str]] = {}
    for change in changes:
        says = change.says or " and ".join(f"{name} {value}" for name, value in change.choices.items())
        whom.setdefault(says, []).extend([PARTS[change.part]] if change.part in PARTS else [])
    said = [f"{says} for {' and '.join(parts)}" if parts else says for says, parts in whom.items()]
    return f"{' and '.join(said)} would fit"
