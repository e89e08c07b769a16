"""The plan of a run with these models, from their headers: what the sampler, the VAE and the text encoder will take."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..spacetime import cost
from ..spacetime.cost import readable
from ..spacetime.forcing import TOGETHER, Forcing
from ..spacetime.grid import frames_of
from ..spacetime.names import JOINT
from ..spacetime.plan import Plan, Stage, course
from ..spacetime.windows import Windows, choose
from . import memory, offload, text_encoder
from .advice import DECODING, READING, SAMPLING, Run, advice, altered, told
from .devices import on_cpu, one_memory, value_bytes
from .offload import AUTO, DISK, FITS, INT8, Footprint

TEXT = 512  # tokens of a prompt, where no text encoder says otherwise


@dataclass(frozen=True)
class Wish:
    """What is to be made. shape [B, C, T, H, W]; frames: of the canvas."""

    shape: tuple[int, int, int, int, int]
    fps: float
    steps: int
    guidance: float
    denoise: float = 1.0
    second_order: bool = False  # two passes a step
    guider: str = ""  # by its name, where it is another than the usual one
    batched: bool | None = None  # both prompts in one pass; None = as the model's own pipeline does
    windows: str = "auto"
    window: int = 0
    overlap: int = 0
    cuts: tuple[int, ...] = ()
    known: bool = False  # some cells are known, or it follows more than words: no stage at a smaller size
    references: int = 0  # pictures of what should appear
    control: bool = False  # it follows a control video
    ring: bool = False
    sound: bool = False  # it goes on from latents that were made with sound
    forcing: Forcing = TOGETHER


def windowed(dit, wish: Wish) -> Windows:
    facts = dit.config
    seen = choose(
        wish.shape[2:], facts.trained_cells, facts.patch, facts.per_token_time, wish.windows, wish.window, wish.overlap,
        () if wish.ring else wish.cuts, facts.order,
    )  # fmt: skip
    return replace(seen, staged=False) if wish.known or wish.denoise < 1 else seen


def sampled(dit, wish: Wish, text: int = TEXT):
    """spacetime.plan.Course of this wish."""
    facts, shape, seen = dit.config, wish.shape, windowed(dit, wish)
    steps = int(wish.steps * wish.denoise)
    work = dit.work + dit.control_work if wish.control else dit.work
    return course(
        shape, seen, work, patch=facts.patch, text=text, ring=wish.ring,
        steps=max(2 * steps - 1, 0) if wish.second_order else steps, predictions=passes(dit, wish, seen),
        per_token_time=facts.per_token_time, linear_head=facts.linear_head, token_frames=facts.token_frames,
        intro=dit.family.Adapter.intro(wish.references),
        appended=facts.past + (facts.control_tokens if wish.control else 0.0), forcing=wish.forcing,
    )  # fmt: skip


def guided(dit, wish: Wish) -> bool:
    return wish.guidance > 1 and not dit.config.embedded_guidance


def passes(dit, wish: Wish, seen: Windows) -> int:
    """A step's."""
    if not guided(dit, wish):
        return 1
    return dit.config.guiders.get(wish.guider, 2) - (wish.guider == JOINT and not heard(dit, wish, seen))


def heard(dit, wish: Wish, seen: Windows | None = None) -> bool:
    """Whether it makes sound along with the picture."""
    if JOINT not in dit.config.guiders or wish.ring or (wish.denoise < 1 and not wish.sound):
        return False
    return not (seen or windowed(dit, wish)).described(wish.shape[2:])


def speed_key(dit) -> str:
    """Under which name a model's speed on this machine is kept."""
    value = value_bytes(dit.dtype, dit.device, dit.precise)
    return f"{dit.source.name}, {8 * value} bits, {'CPU' if on_cpu(dit.device) else 'accelerator'}"


@dataclass(frozen=True)
class Free:
    """Bytes that a run will find free when it loads the DiT; None = nobody knows."""

    device: int | None = None  # of the memory that the DiT computes in
    computer: int | None = None


def outlook(
    dit, vae, encoder, wish: Wish, *, room: int | None = None, where: str = "",
    free: Free = Free(), computer: int | None = None,
    speed: Callable[[str, int], float | None] = lambda model, tokens: None, notes: tuple[str, ...] = (),
) -> Plan:  # fmt: skip
    """room: bytes of memory there are, `where`; free: what memory `auto` goes by, else by all there is; computer: bytes
    of the computer's memory; speed(model, tokens in a pass) → seconds a TFLOP takes."""

    def again(room: int, where: str) -> Plan:
        return outlook(dit, vae, encoder, wish, room=room, where=where, speed=speed, notes=notes)

    def planned(run: Run) -> Plan:
        return _planned(run, room, where, speed)

    run, said = _as_auto(Run(dit, vae, encoder, wish), planned, free)
    made = planned(run := replace(run, offload=on_disk(run)))
    folder, disk = offload.disk_free(dit.scratch)
    if disk is not None and (lacking := made.offload - disk) > 0:
        short = f"where {readable(disk)} are free: {readable(lacking)} more would be enough"
        said = *said, f"disk offload writes {readable(made.offload)} into {folder}, {short}"
    made = replace(made, again=again, notes=(*notes, *said))
    if made.fits is not False:
        return made
    return made.advised([told(changes) for changes in advice(run, made, planned, computer, disk)])


def _as_auto(run: Run, planned: Callable[[Run], Plan], free: Free) -> tuple[Run, tuple[str, ...]]:
    """(the run as memory `auto` will choose when the DiT is loaded, what to say about it)."""
    dit, encoder = run.dit, run.text_encoder
    if dit.memory != AUTO or dit.weights == INT8:
        return run, ()
    whole = replace(run, dit=altered(dit, memory=FITS))
    plan, there = planned(whole), free.device
    sampling = plan.stage(SAMPLING)
    if there is None:
        if plan.room is None:
            return whole, ()
        there = plan.room - cost.LIBRARIES
    if encoder and not _aside(encoder, dit) and _stays(encoder, plan.room or there):
        there -= encoder.weight_bytes
    one = one_memory(dit.device)
    sizes = {way: dit.footprints(way) for way in offload.ways(one)}
    ways = _chosen(sizes, sampling.working, there, free.computer, one, dit.take_turns)
    if {*ways} == {FITS}:
        return whole, ()
    parts = [sizes[way][i] for i, way in enumerate(ways)]
    kept = altered(dit, memory=ways[-1])
    kept.weight_bytes = sampling.weights - dit.together(sizes[FITS]) + dit.together(parts)
    rests = f"{readable(max(there, 0))} free for the DiT" + (", as now" if free.device is not None else "")
    said = f"memory auto will be {', then '.join(dict.fromkeys(ways))} with {rests}: "
    said += f"{readable(kept.weight_bytes)} of its {readable(sampling.weights)} at a time"
    return replace(run, dit=kept, offload=sum(part.disk for part in parts)), (said,)


def _chosen(
    sizes: dict[str, list[Footprint]], needed: int, free: int, computer: int | None, one: bool, turns: bool = False
) -> list[str]:
    """The way of each transformer. They are loaded one after another; ComfyUI moves the first away for the second."""
    found, computer = [], sys.maxsize if computer is None else computer
    for i in range(len(sizes[FITS])):
        way = offload.choose({way: parts[i] for way, parts in sizes.items()}, needed, free, computer, one)
        found.append(way)
        if one or not turns:
            free, computer = free - sizes[way][i].device, computer - sizes[way][i].computer
    return found


def on_disk(run: Run) -> int:
    """Bytes that disk offload writes."""
    if run.offload is not None:
        return run.offload
    return sum(part.disk for part in run.dit.footprints(DISK)) if run.dit.memory == DISK else 0


def _stays(encoder, room: int) -> bool:
    """Whether its weights are still there when the DiT is loaded."""
    if type(encoder).module.made(encoder):
        return False  # then they aren't among what is free
    if encoder.afterwards != text_encoder.AUTO:
        return encoder.afterwards == text_encoder.KEEP
    return memory.in_books() or encoder.weight_bytes <= text_encoder.LARGE * room


def _planned(run: Run, room: int | None, where: str, speed) -> Plan:
    dit, vae, encoder, wish = run.dit, run.vae, run.text_encoder, run.wish
    facts, shape = dit.config, wish.shape
    text = encoder.config.tokens if encoder else TEXT
    way = sampled(dit, wish, text)
    value, batched = value_bytes(dit.dtype, dit.device, dit.precise), wish.batched
    batched = dit.family.Adapter.batched_guidance if batched is None else batched
    height, width = (side * vae.config.space_factor for side in shape[3:])
    frames = shape[2] * vae.config.time_factor if wish.ring else frames_of(shape[2], vae.config.time_factor)
    sampling = cost.sampling_bytes(
        shape, way.in_pass, facts.width, facts.ffn, value, facts.per_token_time, text,
        copies=2 if batched and guided(dit, wish) else 1,
    ) + wish.forcing.mask_bytes(way.in_pass, value)  # fmt: skip
    sampling += facts.control_bytes(way.in_pass, value) if wish.control else 0
    stages = []
    if encoder:
        stages.append(Stage(READING, encoder.weight_bytes, reading(encoder), _aside(encoder, dit)))
    aside = _aside(vae, dit)
    decoding = vae.planned_bytes(height, width, frames, None if aside else room)
    stages += [Stage(SAMPLING, dit.weight_bytes, sampling), Stage(DECODING, vae.weight_bytes, decoding, aside)]
    each = speed(speed_key(dit), way.in_pass) if way.flops else 0.0
    return Plan(
        width=width, height=height, frames=frames, fps=wish.fps, batch=shape[0], course=way, stages=tuple(stages),
        files=sum(part.file_bytes for part in (dit, vae, encoder) if part), room=room, where=where,
        seconds=None if each is None else each * way.flops / 1e12,
        offload=on_disk(run),
    )  # fmt: skip


def _aside(one, dit) -> str:
    """In whose memory a component works that doesn't share the DiT's; ''."""
    here = one_memory(one.device)
    return "" if here == one_memory(dit.device) else "in the computer's memory" if here else "on the GPU"


def reading(text_encoder) -> int:
    facts, value = text_encoder.config, value_bytes(text_encoder.dtype, text_encoder.device)
    return cost.encoding_bytes(facts.tokens, facts.width, facts.ffn, facts.heads, value)
