"""What can be measured of a finished clip, from its pixels alone.

`measure` walks a video of any length once and keeps numbers, of pictures only a few small ones; the functions after it
say what the numbers mean. Figures compare a clip with itself: they know no prompt and no model.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from .colour import ciede2000, shades
from .flow import blur, optical_flow

FLOOR = 2 / 255  # a still clip's neighbours differ by less than can be seen; a join is measured against this at least
FLOORS = {"error": FLOOR, "structure": 0.01, "flow": 0.002}
SMALL = 96  # pixels of the longer side at which structure, motion and colour are measured
ENDS = 0.15  # share of the clip at each end between which drift is measured
WINDOW = 8  # frames over which flicker is averaged
UNSEEN = 0.5 / 255  # a step of less is rounding, not motion
LOOKS = 32  # frames of a stretch that the dissolve test looks at, at most
DISSOLVED = 0.12  # residual below which a stretch is a cross-fade
LUMA = (0.2126, 0.7152, 0.0722)  # BT.709


def frame_distances(clip: Tensor) -> Tensor:
    """Root mean square difference [F-1] between consecutive frames of clip [F, H, W, 3]."""
    return (clip[1:] - clip[:-1]).square().flatten(1).mean(1).sqrt()


def seam_score(clip: Tensor, join: int, neighbours: int = 4) -> float:
    """How much the step from frame join-1 to frame join stands out: its distance ÷ the median of its neighbours'."""
    check_join(join, len(clip))
    first = max(0, join - 1 - neighbours)
    distances = frame_distances(clip[first : join + 1 + neighbours])
    return _prominence(distances, join - 1 - first, join - first, FLOOR, neighbours)


def wrap_score(clip: Tensor) -> float:
    """How much the step from the last frame back to the first stands out: its distance ÷ the median of all steps'."""
    wrap = frame_distances(torch.stack([clip[-1], clip[0]]))
    return _ratio(wrap, frame_distances(clip), FLOOR)


def check_join(join: int, frames: int):
    if not 0 < join < frames:
        raise ValueError(f"no join before frame {join} of {frames} frames; it must be 1 to {frames - 1}")


def _prominence(values: Tensor, first: int, last: int, floor: float, neighbours: int = 4) -> float:
    """The largest of values[first:last] ÷ the median of up to `neighbours` on each side, neither less than `floor`."""
    around = torch.cat([values[max(0, first - neighbours) : first], values[last : last + neighbours]])
    return _ratio(values[first:last], around, floor)


def _ratio(values: Tensor, usual: Tensor, floor: float) -> float:
    none = values.new_tensor(0.0)
    peak, median = values.max() if len(values) else none, usual.median() if len(usual) else none
    return (peak.clamp(min=floor) / median.clamp(min=floor)).item()


# ---- one walk through a video -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dissolve:
    """How well the frames between two others are mixed from these: (1 - weight) of the first, weight of the last."""

    first: int
    last: int
    residual: float  # what no mixture explains, in differences between the two: 0 for a cross-fade
    monotone: bool  # the weight never goes back
    distinct: bool  # the two differ enough to tell

    @property
    def found(self) -> bool:
        return self.distinct and self.monotone and self.residual < DISSOLVED


@dataclass(frozen=True)
class Measures:
    """Of F frames. A step leads from one frame to the next, the last frame's back to the first."""

    error: Tensor  # [F] of each step: root mean square difference, in 0..1
    structure: Tensor  # [F] of each step: 1 - SSIM
    speed: Tensor  # [F] of each step: root mean square optical flow, in longer sides
    turn: Tensor  # [F] of each frame: root mean square change of the flow there, from one step to the next
    near: Tensor  # [F-1] root mean square difference of the light between frames one apart
    far: Tensor  # [F-2] the same, two apart
    luminance: Tensor  # [F] mean, in 0..1
    texture: Tensor  # [F] root mean square of what the mean of 3 × 3 pixels leaves of the luminance
    shades: Tensor  # [F, SHADES, 3] CIELAB of each share of the picture, dark to light
    dissolves: tuple[Dissolve, ...]  # of the stretches asked for

    def __len__(self) -> int:
        return len(self.luminance)


def measure(
    frames: Iterable[Tensor], stretches: Iterable[tuple[int, int]] = (), on_frame: Callable[[int], None] | None = None
) -> Measures:
    """Chunks [n, H, W, 3] in 0..1 → figures of every frame and step.

    stretches: (first, last), frames between which the dissolve test looks for a cross-fade of these two.
    """
    walk = _Walk(tuple(stretches))
    for frame in (frame for chunk in frames for frame in chunk):
        walk.add(frame)
        if on_frame:
            on_frame(len(walk.facts))
    return walk.end()


class _Walk:
    def __init__(self, stretches: tuple[tuple[int, int], ...]):
        self.looks = {stretch: _looks(*stretch) for stretch in stretches}
        self.wanted = {at for ats in self.looks.values() for at in ats}
        self.kept: dict[int, Tensor] = {}  # small pictures for the dissolve test
        self.past: list[Tensor] = []  # light of the last two frames
        self.flow: Tensor | None = None  # of the last step
        self.facts, self.steps, self.turns, self.near, self.far = [], [], [], [], []

    def add(self, frame: Tensor):
        at, frame = len(self.facts), frame[..., :3].float()
        if not frame.isfinite().all():
            raise ValueError(f"frame {at} has pixels that are no numbers (NaN or infinite)")
        small = _small(frame)
        light = luma(small)
        light = light - light.median()  # a change of brightness moves nothing
        self.facts.append(_facts(frame, small))
        if at in self.wanted:
            self.kept[at] = (small * 255).round().byte()
        if at == 0:
            self.first = frame, small, light
        else:
            self._step(frame, small, light)
            self.near.append(_distance(self.past[-1], light))
        if at == 1:
            self.first_flow = self.flow
        if at > 1:
            self.far.append(_distance(self.past[0], light))
        self.past = [*self.past[-1:], light]
        self.last = frame, small

    def _step(self, frame: Tensor, small: Tensor, light: Tensor):
        flow = optical_flow(self.past[-1], light)
        structure = 1 - ssim(luma(self.last[1]), luma(small))
        self.steps.append([_distance(self.last[0], frame), structure, _rms(flow)])
        if self.flow is not None:
            self.turns.append(_rms(flow - self.flow))
        self.flow = flow

    def end(self) -> Measures:
        if not self.facts:
            raise ValueError("the video has no frames")
        if len(self.facts) > 1:
            self._step(*self.first)
            self.turns.insert(0, _rms(self.first_flow - self.flow))
        for _, last in self.looks:
            check_join(last, len(self.facts))
        dissolves = (self._dissolve(*stretch) for stretch in self.looks)
        luminance, texture, *shades = torch.tensor(self.facts).unbind(1)
        steps = torch.tensor(self.steps).reshape(-1, 3).unbind(1)
        return Measures(
            *steps, torch.tensor(self.turns), torch.tensor(self.near), torch.tensor(self.far), luminance, texture,
            torch.stack(shades, 1).unflatten(1, (-1, 3)), tuple(dissolves),
        )  # fmt: skip

    def _dissolve(self, first: int, last: int) -> Dissolve:
        a, *middle, b = (self.kept[at].float() / 255 for at in self.looks[first, last])
        residual, monotone, distinct = cross_fade(a, b, torch.stack(middle))
        return Dissolve(first, last, residual, monotone, distinct)


def _looks(first: int, last: int) -> list[int]:
    """The two ends and up to LOOKS frames evenly between them."""
    between = torch.linspace(first + 1, last - 1, min(LOOKS, last - first - 1)).round().int().tolist()
    return [first, *between, last]


def _facts(frame: Tensor, small: Tensor) -> list[float]:
    """Luminance, texture and shades of one frame."""
    light = luma(frame.permute(2, 0, 1)[None])
    around = avg_pool2d(pad(light, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return [light.mean().item(), _distance(light, around), *shades(small[0].permute(1, 2, 0)).flatten().tolist()]


def _small(frame: Tensor) -> Tensor:
    """[H, W, 3] → [1, 3, h, w] with a longer side of SMALL at most, each pixel the mean of those it stands for."""
    planes = frame.permute(2, 0, 1)[None]
    shrink = SMALL / max(planes.shape[-2:])
    size = [max(1, round(side * shrink)) for side in planes.shape[-2:]]
    return planes if shrink >= 1 else interpolate(planes, size=size, mode="area")


def _distance(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().sqrt().item()


def _rms(flow: Tensor) -> float:
    """Of flow [1, 2, h, w] in pixels, as a share of the longer side."""
    return (flow.square().sum(1).mean().sqrt() / max(flow.shape[-2:])).item()


def luma(planes: Tensor) -> Tensor:
    """[n, 3, h, w] → [n, 1, h, w]."""
    return torch.einsum("nchw,c->nhw", planes, planes.new_tensor(LUMA))[:, None]


# ---- what is measured of two frames -------------------------------------------------------------------------------


def ssim(a: Tensor, b: Tensor, window: int = 7) -> float:
    """Mean structural similarity of two pictures [1, 1, h, w] in 0..1 (Wang et al. 2004, uniform window)."""
    mean_a, mean_b = blur(a, window), blur(b, window)
    var_a, var_b = blur(a * a, window) - mean_a**2, blur(b * b, window) - mean_b**2
    covariance = blur(a * b, window) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    same = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (same / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean().item()


def cross_fade(a: Tensor, b: Tensor, middle: Tensor) -> tuple[float, bool, bool]:
    """Least-squares weight w of each frame of middle [n, ...] in (1 - w) a + w b → residual, monotone, distinct.

    residual: root mean square of what is left over ÷ that of b - a. A thing that moves from one place to another leaves
    about 0.4: each pixel is the one or the other, none a mixture.
    """
    way = (b - a).flatten()
    gone = (middle - a).flatten(1)  # n N
    weight = gone @ way / way.square().sum().clamp(min=1e-12)
    left = (gone - weight[:, None] * way).square().mean().sqrt()
    length = way.square().mean().sqrt()
    monotone = bool((weight[1:] >= weight[:-1] - 0.05).all())
    return (left / length.clamp(min=1e-6)).item(), monotone, bool(length > FLOOR)


# ---- what the figures say -----------------------------------------------------------------------------------------


def seam_scores(measures: Measures, join: int) -> dict[str, float]:
    """How much the step to frame `join` stands out from its neighbours, by each kind of distance; 1 doesn't.

    flow is compared by its change: motion that stops, starts or turns at a join shows in no distance of frames.
    hitch is the error turned round: how much too little happens, as when a frame is shown twice.
    """
    check_join(join, len(measures))
    turn = measures.turn[1:-1]  # of frames 1 to F-2
    error = _prominence(measures.error[:-1], join - 1, join, FLOORS["error"])
    return {
        "error": error,
        "structure": _prominence(measures.structure[:-1], join - 1, join, FLOORS["structure"]),
        "flow": _prominence(turn, max(0, join - 2), join, FLOORS["flow"]),
        "hitch": 1 / error,
    }


def wrap_scores(measures: Measures) -> dict[str, float]:
    """As `seam_scores`, for the step from the last frame back to the first, against all others."""
    error, structure, turn = measures.error, measures.structure, measures.turn
    score = _ratio(error[-1:], error[:-1], FLOORS["error"])
    return {
        "error": score,
        "structure": _ratio(structure[-1:], structure[:-1], FLOORS["structure"]),
        "flow": _ratio(torch.cat([turn[:1], turn[-1:]]), turn[1:-1], FLOORS["flow"]),
        "hitch": 1 / score,
    }


def drift(measures: Measures) -> dict[str, float]:
    """From the first to the last ENDS of the clip: colour as CIEDE2000, contrast and texture as ratios, 1 = the same.

    Colour is compared shade by shade and the median taken, and contrast is that of the middle shades: a thing that
    comes, goes or grows changes some shades, a drift all of them.
    """
    count = max(1, round(ENDS * len(measures)))
    first, last = measures.shades[:count].mean(0), measures.shades[-count:].mean(0)
    before, after = ((one[5, 0] - one[2, 0]).clamp(min=0.5) for one in (first, last))  # about the interquartile range
    texture = [x.mean().clamp(min=UNSEEN) for x in (measures.texture[:count], measures.texture[-count:])]
    return {
        "colour": ciede2000(first, last).median().item(),
        "contrast": (after / before).item(),
        "texture": (texture[1] / texture[0]).item(),
    }


def flicker(measures: Measures) -> tuple[float, int]:
    """Of WINDOW frames in a row those whose mean luminance jitters most: by how much, in 0..255, and the first of them.

    Jitter is the root mean square of how far a frame lies from the mean of its two neighbours: a steady fade has none.
    """
    light = measures.luminance
    if len(light) < 3:
        return 0.0, 0
    jitter = (light[1:-1] - (light[:-2] + light[2:]) / 2).square()
    windows = jitter.unfold(0, min(WINDOW, len(jitter)), 1).mean(1).sqrt()
    return windows.max().item() * 255, int(windows.argmax()) + 1


def motion(measures: Measures, fps: float) -> float:
    """Amount of motion: root mean square optical flow in percent of the picture's longer side per second.

    Noise and random order make flow too, but lead no further in two steps than in one: what `coherence` says of them is
    taken off. The tenth of the steps with the most flow is left out: a cut moves nothing.
    """
    ratio = coherence(measures)
    if ratio is None:
        return 0.0
    speed = measures.speed[:-1].sort().values
    kept = speed[: len(speed) - round(len(speed) / 10)]
    return kept.mean().item() * 100 * fps * min(max(ratio**2 - 1, 0.0), 1.0)


def coherence(measures: Measures) -> float | None:
    """How much further two steps lead than one: 1 in random order, about 1.4 in motion; None where nothing moves.

    Where edges move, squared differences grow with their way, and where pictures are noise they don't grow at all (the
    variogram of geostatistics, Matheron 1963): squared, less one, it is the share of the differences that is motion.
    """
    if len(measures) < 3 or measures.near.mean() < UNSEEN:
        return None
    return (measures.far.mean() / measures.near.mean()).item()
