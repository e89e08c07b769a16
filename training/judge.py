"""Says what a clip of the pocket world shows, from its pixels alone: background, things, their motion and size.

Nothing here sees a prompt, a latent or the sampler. `compare` then holds what was seen against a scene.
"""

import math
from dataclasses import dataclass

import torch
from spacetime_nodes.training import world
from torch import Tensor

LEAST_AREA = 0.004  # of the frame, in median over time: less is a smudge, not a thing
LEAST_SPEED = 0.045  # short sides per second: slower stands still
LEAST_SPIN = math.radians(25)  # per second
LEAST_GROWTH = 1.35  # area at the end ÷ area at the start, per 2 seconds


@dataclass(frozen=True)
class Sight:
    """One thing as seen. Speeds in short sides per second, spin in radians per second, radius in short sides."""

    colour: str
    shape: str
    drift: str  # still, left, right, up or down, as the camera sees it
    speed: float
    spin: float
    growth: float  # of the area, per 2 seconds
    radius: float


@dataclass(frozen=True)
class Report:
    background: str
    things: tuple[Sight, ...]


def look(clip: Tensor, fps: float = world.FPS) -> Report:
    """What clip [F, H, W, 3] in 0..1 shows."""
    ground = clip.flatten(0, 2)[:: max(1, clip[..., 0].numel() // 200_000)].median(0).values
    background = min(world.BACKGROUNDS, key=lambda name: math.dist(world.BACKGROUNDS[name], ground.tolist()))
    palette = torch.tensor([world.BACKGROUNDS[background], *world.COLOURS.values()])
    distance = (clip[..., None, :] - palette).square().sum(-1).sqrt()  # F H W 9
    nearest, which = distance.min(-1)
    sights = []
    for i, colour in enumerate(world.COLOURS, start=1):
        sure = ((which == i) & (nearest < 0.22)).float().mean((1, 2))  # share of each frame
        if sure.median() >= LEAST_AREA:
            cover = _coverage(clip, palette[0], palette[i])
            sights.append((sure.median().item(), _follow(cover, colour, fps)))
    largest = max((area for area, _ in sights), default=0)
    sights = [s for area, s in sights if area > 0.12 * largest]  # antialiased rims of one colour can look like another
    return Report(background, tuple(sights))


def _coverage(clip: Tensor, ground: Tensor, colour: Tensor) -> Tensor:
    """How much of each pixel is `colour` over `ground`, [F, H, W] in 0..1; pixels that are neither count as none."""
    axis = colour - ground
    cover = ((clip - ground) @ axis / axis.square().sum()).clamp(0, 1)
    off = (clip - ground - cover[..., None] * axis).square().sum(-1).sqrt()
    return torch.where((off < 0.25) & (cover > 0.2), cover, 0.0)


def _follow(cover: Tensor, colour: str, fps: float) -> Sight:
    frames, height, width = cover.shape
    short = min(height, width)
    ys, xs = (torch.arange(height) + 0.5) / short, (torch.arange(width) + 0.5) / short
    area = cover.sum((1, 2)).clamp(min=1e-6)
    x, y = (cover.sum(1) * xs).sum(1) / area, (cover.sum(2) * ys).sum(1) / area
    area = area / short**2
    shape, errors = _shape(cover, x, y, area)

    seconds = max(frames - 1, 1) / fps
    half = max(1, (frames - 1) // 2)
    drift, speed = "still", 0.0
    if frames > 1:
        steps_x, steps_y = (x[1:] - x[:-1]) * fps, (y[1:] - y[:-1]) * fps
        vx, vy = (steps[:half].mean().item() for steps in (steps_x, steps_y))
        if max(abs(vx), abs(vy)) > LEAST_SPEED:
            drift = ("left", "right")[vx > 0] if abs(vx) > abs(vy) else ("up", "down")[vy > 0]
        speed = (steps_x if abs(vx) > abs(vy) else steps_y).abs().median().item()
    edge = max(1, frames // 8)
    growth = (area[-edge:].median() / area[:edge].median()).item() ** (2 / max(seconds, 1e-6)) if frames > 1 else 1.0
    spin = _spin(cover, x, y, world.SHAPES[shape][0], fps) if frames > 2 else 0.0
    first = area[:edge].median().item()
    return Sight(colour, shape, drift, speed, spin, growth, math.sqrt(first / _unit_area(shape)))


def track(clip: Tensor, background: str, colour: str) -> Tensor:
    """Where a thing of one colour stands in each frame: x and y [F, 2] in short sides; NaN where it is gone."""
    cover = _coverage(clip, torch.tensor(world.BACKGROUNDS[background]), torch.tensor(world.COLOURS[colour]))
    height, width = cover.shape[1:]
    ys, xs = ((torch.arange(size) + 0.5) / min(height, width) for size in (height, width))
    area = cover.sum((1, 2))
    return torch.stack([(cover.sum(1) * xs).sum(1) / area, (cover.sum(2) * ys).sum(1) / area], dim=1)


def _unit_area(shape: str) -> float:
    """The area of the shape at nominal radius 1."""
    corners, outer, inner = world.SHAPES[shape]
    return math.pi if corners == 0 else corners * outer * inner * math.sin(math.pi / corners)


def _shape(cover: Tensor, x: Tensor, y: Tensor, area: Tensor, looks: int = 5, angles: int = 12) -> tuple[str, dict]:
    """The shape whose drawing, at the place and area seen and its best angle, differs least from what is seen."""
    frames, height, width = cover.shape
    picks = torch.linspace(0, frames - 1, min(looks, frames)).round().long().unique()
    candidates = []
    for shape, (corners, _, _) in world.SHAPES.items():
        for k in range(angles if corners else 1):
            candidates.append((shape, 2 * math.pi / max(corners, 1) * k / angles))
    errors = dict.fromkeys(world.SHAPES, 0.0)
    for f in picks.tolist():
        scenes = []
        for shape, angle in candidates:
            radius = math.sqrt(area[f].item() / _unit_area(shape))
            scenes.append(world.Scene("black", (world.Thing(shape, "white", "still", False, radius, x[f].item(),
                                                            y[f].item(), angle),)))  # fmt: skip
        drawn = world.render_with_coverage(scenes, width, height, 1)[1][:, 0]
        error = (drawn - cover[f]).square().sum((1, 2)) / cover[f].square().sum().clamp(min=1e-6)
        for shape in world.SHAPES:
            errors[shape] += min(e for e, (s, _) in zip(error.tolist(), candidates, strict=True) if s == shape)
    return min(errors, key=errors.get), errors


def _spin(cover: Tensor, x: Tensor, y: Tensor, corners: int, fps: float) -> float:
    """Turning speed, from the phase of the outline's n-fold moment in each frame; a circle has none."""
    if corners == 0:
        return 0.0
    frames, height, width = cover.shape
    short = min(height, width)
    dx = (torch.arange(width) + 0.5) / short - x[:, None]  # F W
    dy = (torch.arange(height) + 0.5) / short - y[:, None]
    z = torch.complex(dx[:, None, :].expand(cover.shape), dy[:, :, None].expand(cover.shape))
    reach = 1.5 * (cover.sum((1, 2), keepdim=True) / math.pi).sqrt() / short  # rims of other things lie further out
    phase = torch.angle((cover * (z.abs() < reach) * z**corners).sum((1, 2)))
    turns = torch.remainder(phase[1:] - phase[:-1] + math.pi, 2 * math.pi) - math.pi
    return turns.median().item() / corners * fps


def compare(report: Report, scene: world.Scene) -> dict[str, bool]:
    """What of the scene is seen right: background, colour (these things, no others), shape, motion, speed, size."""
    seen = {s.colour: s for s in report.things}
    wanted = {t.colour: t for t in scene.things}
    pairs = [(seen.get(colour), thing) for colour, thing in wanted.items()]
    right = {
        "background": report.background == scene.background,
        "colour": seen.keys() == wanted.keys(),
        "shape": all(s is not None and s.shape == t.shape for s, t in pairs),
        "motion": all(s is not None and motion_seen(s, scene.camera) == t.motion for s, t in pairs),
        "speed": all(s is not None and _speed_right(s, t) for s, t in pairs),
        "size": all(s is not None and _size_right(s, t) for s, t in pairs),
    }
    right["all four"] = all(right[k] for k in ("background", "colour", "shape", "motion"))
    right["in full"] = all(right.values())
    return right


def motion_seen(sight: Sight, camera: str) -> str:
    """The world's word for what was seen, the camera's own motion taken out; 'unclear' where several things happen."""
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up", "still": "still"}
    motions = []
    if sight.drift != opposite[camera]:
        motions.append(sight.drift)
    if sight.drift == "still" and camera != "still":
        return "unclear"  # the camera should have carried it along
    if abs(sight.spin) > LEAST_SPIN:
        motions.append("spin")
    if sight.growth > LEAST_GROWTH or sight.growth < 1 / LEAST_GROWTH:
        # what grows at an edge of the frame seems to move, and what moves out of it to shrink
        motions = [m for m in motions if m not in world.DIRECTIONS] if sight.speed < 0.08 else motions
        motions.append("grow" if sight.growth > 1 else "shrink")
    return "still" if not motions else motions[0] if len(motions) == 1 else "unclear"


def _speed_right(sight: Sight, thing: world.Thing) -> bool:
    if thing.motion in world.DIRECTIONS:
        return (sight.speed > math.sqrt(world.SLOW * world.QUICK)) == thing.quick
    if thing.motion == "spin":
        return (abs(sight.spin) > math.sqrt(world.SPIN_SLOW * world.SPIN_QUICK)) == thing.quick
    return True


def _size_right(sight: Sight, thing: world.Thing) -> bool:
    """Medium is what captions leave unsaid, and growing and shrinking things have one size: both count as right."""
    if thing.size == "medium" or thing.motion in ("grow", "shrink"):
        return True
    return (sight.radius < 0.145) if thing.size == "small" else (sight.radius > 0.185)
