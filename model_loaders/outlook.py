"""The plan of a run with these models, from their headers: what the sampler, the VAE and the text encoder will take."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

from ..spacetime import cost
from ..spacetime.grid import Admits, frames_of, snap, snap_frames
from ..spacetime.names import JOINT
from ..spacetime.plan import Plan, Stage, course
from ..spacetime.windows import Windows, choose
from .devices import on_cpu, one_memory, value_bytes
from .offload import AUTO, FITS, INT8, ways

SAMPLING = "sampling"  # the stage of a plan
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
    known: bool = False  # some cells are known: no stage at a smaller size
    ring: bool = False


def sampled(dit, wish: Wish, text: int = TEXT):
    """spacetime.plan.Course of this wish."""
    facts, shape = dit.config, wish.shape
    seen = choose(
        shape[2:], facts.trained_cells, facts.patch, facts.per_token_time, wish.windows, wish.window, wish.overlap,
        () if wish.ring else wish.cuts,
    )  # fmt: skip
    if wish.known or wish.denoise < 1:
        seen = replace(seen, staged=False)
    steps = int(wish.steps * wish.denoise)
    return course(
        shape, seen, dit.work, patch=facts.patch, text=text, ring=wish.ring,
        steps=max(2 * steps - 1, 0) if wish.second_order else steps, predictions=passes(dit, wish, seen),
        per_token_time=facts.per_token_time, linear_head=facts.linear_head, token_frames=facts.token_frames,
    )  # fmt: skip


def guided(dit, wish: Wish) -> bool:
    return wish.guidance > 1 and not dit.config.embedded_guidance


def passes(dit, wish: Wish, seen: Windows) -> int:
    """A step's."""
    if not guided(dit, wish):
        return 1
    apart = wish.ring or wish.denoise < 1 or seen.described(wish.shape[2:])  # there is no sound then
    return dit.config.guiders.get(wish.guider, 2) - (wish.guider == JOINT and bool(apart))


def speed_key(dit) -> str:
    """Under which name a model's speed on this machine is kept."""
    value = value_bytes(dit.dtype, dit.device, dit.precise)
    return f"{dit.source.name}, {8 * value} bits, {'CPU' if on_cpu(dit.device) else 'accelerator'}"


def outlook(
    dit, vae, text_encoder, wish: Wish, *, room: int | None = None, where: str = "",
    speed: Callable[[str, int], float | None] = lambda model, tokens: None, notes: tuple[str, ...] = (),
) -> Plan:  # fmt: skip
    """room: bytes of memory there are, `where`; speed(model, tokens in a pass) → seconds a TFLOP takes."""
    asked, noted = dit, notes

    def again(room: int, where: str) -> Plan:
        return outlook(asked, vae, text_encoder, wish, room=room, where=where, speed=speed, notes=noted)

    dit, said = _as_auto(dit, lambda one: _planned(one, vae, text_encoder, wish, room, where, speed, notes))
    notes = (*notes, *said)
    made = replace(_planned(dit, vae, text_encoder, wish, room, where, speed, notes), again=again)
    if made.fits is not False:
        return made

    def changed(**change) -> Callable[[], Plan]:
        return lambda: _planned(dit, vae, text_encoder, replace(wish, **change), room, where, speed, notes)

    heavy = [one for one in (dit, text_encoder) if one and value_bytes(one.dtype, one.device) == 4]
    lighter = [altered(one, dtype="bfloat16") if one in heavy else one for one in (dit, vae, text_encoder)]
    says = "dtype bfloat16 for the DiT and the text encoder would fit"
    halved = [(says, lambda: _planned(*lighter, wish, room, where, speed, notes))] if heavy else []
    moved = [
        (f"memory {way!r} on Load DiT would fit",
         lambda way=way: _planned(altered(dit, memory=way), vae, text_encoder, wish, room, where, speed, notes))
        for way in ways(one_memory(dit.device))[1:] if way != dit.memory
    ]  # fmt: skip
    return made.advised([*halved, *moved, *_changes(dit, vae, wish, made, changed)])


def _as_auto(dit, planned: Callable) -> tuple:
    """(the DiT as memory `auto` will choose when it is loaded, what to say about it)."""
    if dit.memory != AUTO or dit.weights == INT8:
        return dit, ()
    for way in ways(one_memory(dit.device)):
        kept = altered(dit, memory=way)
        plan = planned(kept)
        (stage,) = (stage for stage in plan.stages if stage.name == SAMPLING)
        if plan.room is None or stage.bytes + cost.LIBRARIES <= plan.room:
            break
    if way == FITS:
        return dit, ()
    part, whole = cost.readable(kept.weight_bytes), cost.readable(altered(dit, memory=FITS).weight_bytes)
    return kept, (f"memory auto will be {way}: {part} of the DiT's {whole} at a time",)


def altered(one, **choices):
    """The same component with other choices of its loader."""
    other = copy(one)
    other.__dict__.update(choices)
    other.__dict__.pop("weight_bytes", None)
    return other


def _planned(dit, vae, text_encoder, wish: Wish, room, where, speed, notes) -> Plan:
    facts, shape = dit.config, wish.shape
    text = text_encoder.config.tokens if text_encoder else TEXT
    way = sampled(dit, wish, text)
    value, batched = value_bytes(dit.dtype, dit.device, dit.precise), wish.batched
    batched = dit.family.Adapter.batched_guidance if batched is None else batched
    height, width = (side * vae.config.space_factor for side in shape[3:])
    frames = shape[2] * vae.config.time_factor if wish.ring else frames_of(shape[2], vae.config.time_factor)
    sampling = cost.sampling_bytes(
        shape, way.in_pass, facts.width, facts.ffn, value, facts.per_token_time, text,
        copies=2 if batched and guided(dit, wish) else 1,
    )  # fmt: skip
    stages = []
    if text_encoder:
        stages.append(
            Stage("text encoder", text_encoder.weight_bytes, reading(text_encoder), _aside(text_encoder, dit))
        )
    aside = _aside(vae, dit)
    decoding = vae.planned_bytes(height, width, frames, None if aside else room)
    stages += [Stage(SAMPLING, dit.weight_bytes, sampling), Stage("decoding", vae.weight_bytes, decoding, aside)]
    each = speed(speed_key(dit), way.in_pass) if way.flops else 0.0
    return Plan(
        width=width, height=height, frames=frames, fps=wish.fps, batch=shape[0], course=way, stages=tuple(stages),
        files=sum(part.file_bytes for part in (dit, vae, text_encoder) if part),
        seconds=None if each is None else each * way.flops / 1e12, room=room, where=where, notes=tuple(notes),
    )  # fmt: skip


def _aside(one, dit) -> str:
    """In whose memory a component works that doesn't share the DiT's; ''."""
    here = on_cpu(one.device)
    return "" if here == on_cpu(dit.device) else "in the computer's memory" if here else "on the GPU"


def reading(text_encoder) -> int:
    facts, value = text_encoder.config, value_bytes(text_encoder.dtype, text_encoder.device)
    return cost.encoding_bytes(facts.tokens, facts.width, facts.ffn, facts.heads, value)


def _changes(dit, vae, wish: Wish, made: Plan, changed):
    """What may make it fit: (in words, the plan then). Of lengths and sizes the largest that would."""
    batch, channels, *cells = wish.shape
    admits = Admits(channels, vae.config.time_factor, vae.config.space_factor, dit.config.patch)
    step = admits.time_factor * admits.patch[0]
    lengths = [snap_frames(made.frames * k // 16, step) for k in range(15, 0, -1)]
    for frames in dict.fromkeys(one for one in (*lengths, 1) if one < made.frames):
        shape = (batch, channels, (frames - 1) // admits.time_factor + 1, *cells[1:])
        if changed(shape=shape)().fits:
            yield f"{frames} frames instead of {made.frames} would fit", changed(shape=shape)
            break
    sides = admits.space_factor * admits.patch[1], admits.space_factor * admits.patch[2]
    for k in range(15, 0, -1):
        height, width = (snap(n * k // 16, side) for n, side in zip((made.height, made.width), sides, strict=True))
        shape = (*wish.shape[:3], height // admits.space_factor, width // admits.space_factor)
        if shape[3:] != wish.shape[3:] and changed(shape=shape)().fits:
            yield f"{width}×{height} instead of {made.width}×{made.height} would fit", changed(shape=shape)
            break
    if wish.windows == "whole":
        yield "windows auto instead of whole would fit", changed(windows="auto")
    if batch > 1:
        yield "batch_size 1 would fit", changed(shape=(1, *wish.shape[1:]))
