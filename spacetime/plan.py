"""What a run will take, as facts and as a table: made from a few numbers before anything is loaded. Pure Python."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, prod

from .cost import LIBRARIES, readable
from .forcing import TOGETHER, Forcing
from .windows import Windows, redrawing_steps
from .work import Work

# of an mp4 at quality 80: bytes a frame for each pixel and, as small pictures are edges mostly, for each along a side
BYTES_PER_PIXEL, BYTES_PER_EDGE = 0.0125, 5.5
GRAPH_BYTES = 20_000  # what the graph takes that a file carries, about


@dataclass(frozen=True)
class Stage:
    """Bytes at the peak of one stage of a run: its model's weights, and what it works with."""

    name: str
    weights: int
    working: int
    elsewhere: str = ""  # whose memory it takes, where that isn't the one the plan is about

    @property
    def bytes(self) -> int:
        return self.weights + self.working


@dataclass(frozen=True)
class Course:
    """How a canvas is sampled. tokens: of the canvas; in_pass: the most that one pass sees; views: how many passes of
    one prediction a step takes, all windows together; steps: of the whole wave, where frames lag; flops: in all."""

    tokens: int
    in_pass: int
    views: int
    steps: int
    predictions: int
    flops: int
    seen: str = ""

    @property
    def flops_per_step(self) -> int:
        return self.flops // self.steps if self.steps else 0


def course(
    shape: tuple[int, ...], windows: Windows, work: Work, *, patch: tuple[int, int, int], steps: int, predictions: int,
    text: int, per_token_time: bool = False, linear_head: int = 0, token_frames: int = 1, ring: bool = False,
    intro: int = 0, appended: float = 0.0, forcing: Forcing = TOGETHER,
) -> Course:  # fmt: skip
    """shape [B, C, T, H, W]: of the canvas; predictions: 2 where guidance compares with the negative prompt, else 1;
    token_frames: latent frames in a token beyond its patch; intro: those that the model sees before every part;
    appended: tokens after a part's own, for each of these."""

    def tokens(size) -> int:
        sides = patch[0] * token_frames, *patch[1:]
        return prod(ceil(n / side) for n, side in zip(size, sides, strict=True))

    total, seen, views, in_wave = 0, 0, 0, steps
    sizes = windows.sizes(shape[2:], patch) if steps else []
    for i, size in enumerate(sizes):
        parts = windows.parts((shape[2], *size), ring)
        of_stage = redrawing_steps(steps) if i else steps
        for count, (length, *side) in parts:
            part = length + intro, *side
            in_pass = ceil(tokens(part) * (1 + appended))
            once = work.flops(in_pass, text, per_token_time, linear_head)
            passes = forcing.passes(of_stage, part[0] if windows.autoregressive else shape[2])
            total += shape[0] * count * passes * predictions * once
            seen = max(seen, in_pass)
            if not i:
                in_wave = max(in_wave, passes)
        views = sum(count for count, _ in parts)
    described = "" if ring else windows.described(tuple(shape[2:]))
    return Course(tokens(shape[2:]), seen, views, in_wave, predictions, total, described)


@dataclass(frozen=True)
class Plan:
    width: int
    height: int
    frames: int
    fps: float
    batch: int
    course: Course
    stages: tuple[Stage, ...]
    files: int  # bytes of the model files
    seconds: float | None  # of sampling, where this model has run on this machine
    room: int | None  # bytes of memory there are; None = nobody knows
    where: str  # whose memory that is
    offload: int = 0  # bytes that disk offload writes while it samples
    advice: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    again: Callable[[int, str], "Plan"] | None = None  # the same plan for other memory

    def within(self, room: int, where: str) -> "Plan":
        return self.again(room, where) if self.again else replace(self, room=room, where=where)

    def stage(self, name: str) -> Stage:
        (found,) = (stage for stage in self.stages if stage.name == name)
        return found

    @property
    def peak(self) -> Stage:
        return max(self.here, key=lambda stage: stage.bytes)

    @property
    def here(self) -> list[Stage]:
        """The stages that share the DiT's memory."""
        return [stage for stage in self.stages if not stage.elsewhere]

    @property
    def together(self) -> int:
        """Where all models stay loaded, as in an editor."""
        return sum(stage.weights for stage in self.here) + max(stage.working for stage in self.here)

    @property
    def short(self) -> list[str]:
        """The stages that don't fit."""
        room = self.room
        return [] if room is None else [stage.name for stage in self.here if stage.bytes + LIBRARIES > room]

    @property
    def fits(self) -> bool | None:
        return None if self.room is None else not self.short

    @property
    def video_bytes(self) -> int:
        pixels = self.width * self.height
        frame = BYTES_PER_PIXEL * pixels + BYTES_PER_EDGE * pixels**0.5
        return int(self.batch * (GRAPH_BYTES + frame * self.frames))

    def advised(self, lines: list[str]) -> "Plan":
        return replace(self, advice=tuple(lines) or ("no size fits with these models: choose smaller ones",))

    def facts(self) -> dict:
        way = self.course
        return {
            "width": self.width, "height": self.height, "frames": self.frames, "fps": self.fps,
            "batch_size": self.batch, "tokens": way.tokens, "tokens_per_pass": way.in_pass, "windows": way.seen,
            "passes_per_step": way.views * way.predictions, "steps": way.steps,
            "flops_per_step": way.flops_per_step, "flops": way.flops, "sampling_seconds": self.seconds,
            "memory": {stage.name: {"weights": stage.weights, "working": stage.working, "peak": stage.bytes,
                                    "elsewhere": stage.elsewhere}
                       for stage in self.stages},
            "peak_memory": self.peak.bytes, "memory_all_loaded": self.together, "memory_there": self.room,
            "fits": self.fits,
            "disk": {"models": self.files, "video": self.video_bytes, "offload": self.offload},
            "advice": list(self.advice), "notes": list(self.notes),
        }  # fmt: skip

    def lines(self) -> list[str]:
        way, length = self.course, self.frames / self.fps if self.fps else 0
        batch = f", {self.batch} at once" if self.batch > 1 else ""
        clip = f"{self.width}×{self.height}, {self.frames} frames, {length:.2f} s{batch}"
        in_pass = f", {way.in_pass:,} in a pass" if way.in_pass not in (way.tokens, 0) else ""
        passes = way.views * way.predictions
        each = f"{way.steps} steps of {passes} pass{'es' if passes != 1 else ''}"
        rows = [("video", clip), ("tokens", f"{way.tokens:,}{in_pass}"), ("windows", way.seen or "none, seen whole")]
        rows += [("work", f"{amount(way.flops_per_step)} a step, {amount(way.flops)} in {each}")]
        rows += [("time", "unknown: this model hasn't run here yet" if self.seconds is None else
                  f"about {duration(self.seconds)} of sampling, by earlier runs here")]  # fmt: skip
        rows += [
            (
                stage.name,
                f"{readable(stage.bytes)} = {readable(stage.weights)} weights + {readable(stage.working)}"
                + (f", {stage.elsewhere}" if stage.elsewhere else ""),
            )
            for stage in self.stages
        ]
        there = f" of {readable(self.room)} ({self.where})" if self.room else ""
        verdict = {True: "fits", False: "doesn't fit", None: "nobody knows what there is"}[self.fits]
        beside = f" and {readable(LIBRARIES)} for the program itself"
        rows += [("peak memory", f"{readable(self.peak.bytes)}{beside}{there}: {verdict}")]
        rows += [("all loaded", f"{readable(self.together)}, where an editor keeps the models")]
        disk = f"about {readable(self.video_bytes)} of video, {readable(self.files)} of model files"
        rows += [("disk", disk + (f", {readable(self.offload)} of disk offload" if self.offload else ""))]
        wide = max(len(name) for name, _ in rows)
        said = [f"{name:<{wide}}  {value}" for name, value in rows]
        return said + [f"to make it fit: {one}" for one in self.advice] + [f"note: {one}" for one in self.notes]


def amount(flops: float) -> str:
    """ "3.1 TFLOP"."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if flops >= size:
            return f"{flops / size:.1f} {unit}FLOP"
    return f"{flops / 1e6:.1f} MFLOP"


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "1 h 20 min": as exact as a guess can be."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
