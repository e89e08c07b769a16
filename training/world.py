"""The pocket world: short captioned clips of flat shapes, drawn on the fly.

A scene is one or two shapes on a softly dappled background, each with one motion, under a still or panning camera.
Lengths are in short sides of the frame and times in seconds, so a scene means the same at every size and frame rate.

Held out: the combination (colour, shape, motion) is never trained on where
`(colour + 3 * shape + 7 * motion) % 10 == 0`, counting each in the order of COLOURS, SHAPES and MOTIONS (26 of 256).
"""

import argparse
import math
import random
from dataclasses import replace

import torch
from spacetime_nodes.model_loaders.pocket_captions import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    PAN_WORDS,
    QUICKLY,
    SIZES,
    SLOWLY,
    SYNONYMS,
    VERBS,
    WORDS,
    Scene,
    Thing,
    caption,
)
from torch import Tensor

FPS = 8.0

# corners, circumradius and inner radius in units of the nominal radius; a circle has no corners
SHAPES = {
    "circle": (0, 1.0, 1.0),
    "square": (4, 1.25, 1.25 * math.cos(math.pi / 4)),
    "triangle": (3, 1.40, 1.40 * math.cos(math.pi / 3)),
    "star": (5, 1.40, 0.62),
}
UPRIGHT = {"circle": 0.0, "square": math.pi / 4, "triangle": -math.pi / 2, "star": -math.pi / 2}  # of a corner
SIMPLE = {"things": 1, "motions": ("still", "left", "right", "up", "down"), "pan": 0.0}  # scenes of one simple cause

SLOW, QUICK = 0.10, 0.30  # short sides per second
SPIN_SLOW, SPIN_QUICK = math.radians(60), math.radians(150)  # per second, clockwise
GROWTH = 0.30  # of the first radius, per second
SMALLEST, LARGEST = 0.07, 0.34  # radii at which shrinking and growing end
PAN = 0.10  # short sides per second
DAPPLE, DAPPLE_PERIOD = 0.03, 0.5  # amplitude in 0..1 and period in short sides of the background's pattern


def held_out(colour: str, shape: str, motion: str) -> bool:
    """True where training never shows this combination (the rule is in the module's docstring)."""
    c, s, m = list(COLOURS).index(colour), list(SHAPES).index(shape), MOTIONS.index(motion)
    return (c + 3 * s + 7 * m) % 10 == 0


# ---- sampling scenes ----------------------------------------------------------------------------------------------


def sample_scene(
    rng: random.Random, *, width: int, height: int, frames: int, split: str = "train", things: int | None = None,
    motions: tuple[str, ...] = MOTIONS, pan: float = 0.2, pairs: float = 0.33, shapes: tuple[str, ...] = tuple(SHAPES),
) -> Scene:  # fmt: skip
    """Draws a scene that fits a clip of `frames` frames.

    split: "train" never yields a held-out combination, "held_out" only those, "all" any.
    things: one or two; None draws two with probability `pairs`. pan: probability that the camera pans; then nothing
    moves sideways of its own accord, so that what is seen has one cause.
    """
    count = things or (2 if rng.random() < pairs else 1)
    camera = rng.choice(CAMERAS[1:]) if rng.random() < pan else "still"
    if camera != "still":
        motions = tuple(m for m in motions if m not in DIRECTIONS) or ("still",)
    kinds: list[tuple[str, str, str]] = []
    while len(kinds) < count:
        kind = rng.choice(list(COLOURS)), rng.choice(shapes), rng.choice(motions)
        if kind[1:] == ("circle", "spin") or kind[0] in [k[0] for k in kinds]:
            continue
        if split != "all" and held_out(*kind) != (split == "held_out"):
            continue
        kinds.append(kind)
    phase = rng.random(), rng.random()
    scene = Scene(rng.choice(list(BACKGROUNDS)), (), camera, phase)
    best, widest = None, -1.0
    for _ in range(1 if count == 1 else 12):  # two things: keep the draw in which they stay furthest apart
        tried = tuple(_place(rng, kind, camera, width, height, frames, count) for kind in kinds)
        gap = 1.0 if count == 1 else _least_gap(replace(scene, things=tried), width, height, frames)
        if gap > widest:
            best, widest = tried, gap
        if gap > 0.02:
            break
    return replace(scene, things=best)


def _place(rng, kind, camera, width, height, frames, count) -> Thing:
    colour, shape, motion = kind
    names = ("small", "medium") if count == 2 else tuple(SIZES)
    if motion == "grow":
        names = ("small",)
    if motion == "shrink":
        names = ("medium",) if count == 2 else ("large",)
    low, high = SIZES[rng.choice(names)]
    radius, quick = rng.uniform(low, high), rng.random() < 0.5
    short, seconds = min(width, height), (frames - 1) / FPS
    reach = SHAPES[shape][1] * (min(radius * (1 + GROWTH * seconds), LARGEST) if motion == "grow" else radius)
    position = []
    for axis, extent in enumerate((width / short, height / short)):
        low, high = min(reach, extent / 2), max(extent - reach, extent / 2)
        travel = (QUICK if quick else SLOW) * DIRECTIONS.get(motion, (0, 0))[axis]  # leave room to go the way it goes
        travel -= PAN * DIRECTIONS.get(camera, (0, 0))[axis]
        room = max(0.3 * (high - low), (high - low) - abs(travel) * seconds)
        start = rng.uniform(0, room)
        position.append(low + start if travel > 0 else high - start if travel < 0 else rng.uniform(low, high))
    return Thing(shape, colour, motion, quick, radius, *position)


def _least_gap(scene: Scene, width: int, height: int, frames: int) -> float:
    a, b = (trajectory(scene, i, width, height, frames) for i in (0, 1))
    reach = sum(SHAPES[thing.shape][1] * 0.8 for thing in scene.things) / 2
    return min(
        math.dist(p[:2], q[:2]) - (p[2] + q[2]) * reach for p, q in zip(a[::2] + a[-1:], b[::2] + b[-1:], strict=True)
    )


def trajectory(scene: Scene, index: int, width: int, height: int, frames: int, fps: float = FPS) -> list[tuple]:
    """The thing's (x, y, radius, angle) in every frame, x and y in short sides as the camera sees them."""
    thing, short = scene.things[index], min(width, height)
    reach = SHAPES[thing.shape][1] * thing.radius
    speed = QUICK if thing.quick else SLOW
    dx, dy = DIRECTIONS.get(thing.motion, (0, 0))
    px, py = DIRECTIONS.get(scene.camera, (0, 0))
    path = []
    for frame in range(frames):
        t = frame / fps
        x = _bounce(thing.x + dx * speed * t, reach, width / short - reach) if dx else thing.x
        y = _bounce(thing.y + dy * speed * t, reach, height / short - reach) if dy else thing.y
        radius = thing.radius
        if thing.motion == "grow":
            radius = max(radius, min(radius * (1 + GROWTH * t), LARGEST))
        if thing.motion == "shrink":
            radius = min(radius, max(radius / (1 + GROWTH * t), SMALLEST))
        spin = (SPIN_QUICK if thing.quick else SPIN_SLOW) * t if thing.motion == "spin" else 0.0
        path.append((x - px * PAN * t, y - py * PAN * t, radius, thing.angle + spin))
    return path


def later(scene: Scene, seconds: float) -> Scene:
    """The scene so many seconds on, bounces and turns included. What changes size or is panned over stays."""
    if scene.camera != "still":
        return scene
    things = []
    for thing in scene.things:
        dx, dy = DIRECTIONS.get(thing.motion, (0, 0))
        way = (QUICK if thing.quick else SLOW) * seconds
        turn = (SPIN_QUICK if thing.quick else SPIN_SLOW) * seconds if thing.motion == "spin" else 0.0
        things.append(replace(thing, x=thing.x + dx * way, y=thing.y + dy * way, angle=thing.angle + turn))
    return replace(scene, things=tuple(things))


def _bounce(x: float, low: float, high: float) -> float:
    """Reflects x into [low, high], as a ball between two walls."""
    if high <= low:
        return (low + high) / 2
    phase = (x - low) % (2 * (high - low))
    return low + min(phase, 2 * (high - low) - phase)


# ---- drawing ------------------------------------------------------------------------------------------------------


def render(scenes: list[Scene], width: int, height: int, frames: int, fps: float = FPS) -> Tensor:
    """Draws scenes as clips [B, F, H, W, 3], float32 in 0..1, antialiased over one pixel."""
    return render_with_coverage(scenes, width, height, frames, fps)[0]


def render_with_coverage(
    scenes: list[Scene], width: int, height: int, frames: int, fps: float = FPS
) -> tuple[Tensor, Tensor]:
    """As `render`, and the things' coverage [B, F, H, W] in 0..1: where the picture is not background."""
    short = min(width, height)
    ys = (torch.arange(height) + 0.5) / short
    xs = (torch.arange(width) + 0.5) / short
    time = torch.arange(frames) / fps

    ground = torch.tensor([BACKGROUNDS[s.background] for s in scenes])  # B 3
    pan = torch.tensor([DIRECTIONS.get(s.camera, (0, 0)) for s in scenes]) * PAN  # B 2
    phase = torch.tensor([s.dapple for s in scenes])
    shift = pan[:, None] * time[None, :, None] / DAPPLE_PERIOD + phase[:, None]  # B F 2
    waves_x = torch.cos(2 * math.pi * (xs / DAPPLE_PERIOD + shift[..., 0, None]))  # B F W
    waves_y = torch.cos(2 * math.pi * (ys / DAPPLE_PERIOD + shift[..., 1, None]))  # B F H
    dapple = DAPPLE * waves_y[..., :, None] * waves_x[..., None, :]  # B F H W
    clip = ground[:, None, None, None] + dapple[..., None]  # B F H W 3

    pixels, covered = clip.view(-1, 3), torch.zeros(clip.shape[:-1])
    for layer in (1, 0):  # the first thing is in front
        rows = [i for i, s in enumerate(scenes) if len(s.things) > layer]
        if not rows:
            continue
        things = [scenes[i].things[layer] for i in rows]
        path = torch.tensor([trajectory(scenes[i], layer, width, height, frames, fps) for i in rows])  # b F 4
        where, row, cover = _coverage(things, path, xs, ys, short)
        paint = torch.tensor([COLOURS[t.colour] for t in things])[row]
        where += (torch.tensor(rows)[row] - row) * frames * height * width  # from these rows' to all rows' pixels
        pixels[where] = torch.lerp(pixels[where], paint, cover[:, None])
        flat = covered.view(-1)
        flat[where] = torch.maximum(flat[where], cover)
    return clip.clamp_(0, 1), covered


def _coverage(things: list[Thing], path: Tensor, xs: Tensor, ys: Tensor, short: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels near each thing: their index in [b, F, H, W], their row b, and how much of them is covered.

    Regular polygons and stars are one edge, folded around the centre.
    """
    frames, area = path.shape[1], len(xs) * len(ys)
    corners, outer, inner = (torch.tensor(v) for v in zip(*(SHAPES[t.shape] for t in things), strict=True))
    x0, y0, radius, angle = path.flatten(0, 1).unbind(-1)  # each b*F
    reach = (outer.repeat_interleave(frames) * radius + 2 / short)[:, None, None]
    dx, dy = xs - x0[:, None], ys - y0[:, None]  # b*F W, b*F H
    near = dx[:, None] ** 2 + dy[:, :, None] ** 2 < reach**2
    where = near.flatten().nonzero().squeeze(1)
    picture, row = where // area, where // (area * frames)
    dx = dx.flatten()[picture * len(xs) + where % len(xs)]
    dy = dy.flatten()[where // len(xs)]
    upright = torch.tensor([UPRIGHT[t.shape] for t in things])
    angle = angle[picture] + upright[row]
    radius, corners, outer, inner = radius[picture], corners[row], outer[row], inner[row]

    distance = torch.sqrt(dx**2 + dy**2)
    turn = math.pi / corners.clamp(min=1)
    theta = torch.remainder(torch.atan2(dy, dx) - angle, 2 * turn)
    theta = torch.minimum(theta, 2 * turn - theta)  # folded to 0 (a corner) .. turn (mid-edge)
    bx, by = inner * torch.cos(turn), inner * torch.sin(turn)  # the edge runs from (outer, 0) to (bx, by)
    length = torch.sqrt((bx - outer) ** 2 + by**2).clamp(min=1e-6)
    nx, ny = by / length, (outer - bx) / length  # its outward normal
    polygon = (distance * torch.cos(theta) - outer * radius) * nx + distance * torch.sin(theta) * ny
    outside = torch.where(corners > 0, polygon, distance - radius)
    return where, row, (0.5 - outside * short).clamp(0, 1)


# ---- captions -----------------------------------------------------------------------------------------------------


def vocabulary() -> list[str]:
    """Every word a caption can hold, sorted, "an" counted as "a": pocket's tokenizer is made from this."""
    rng, words = random.Random(0), set()
    texts = [*sum((list(v) for table in (WORDS, VERBS, SYNONYMS) for v in table.values()), []), *SLOWLY, *QUICKLY]
    texts += [*COLOURS, *BACKGROUNDS, *SIZES, *PAN_WORDS, *DIRECTIONS]
    for seed in range(2000):
        scene = sample_scene(random.Random(seed), width=64, height=64, frames=17, split="all")
        texts += [caption(scene, rng, style) for style in ("plain", "short", "long", "mixed")]
    for text in texts:
        words.update(text.lower().replace("{}", " ").replace(".", " ").replace(",", " ").split())
    return sorted(words - {"an"})


# ---- looking at it ------------------------------------------------------------------------------------------------


def contact_sheet(clips: list[Tensor], captions: list[str], path: str, columns: int = 6, scale: int = 2) -> None:
    """Saves clips [F, H, W, 3] as rows of evenly spaced frames with their captions."""
    from PIL import Image, ImageDraw

    rows = []
    for clip, text in zip(clips, captions, strict=True):
        picks = torch.linspace(0, len(clip) - 1, min(columns, len(clip))).round().long().unique()
        strip = torch.cat([torch.nn.functional.pad(f, (0, 0, 1, 1, 1, 1), value=1.0) for f in clip[picks]], dim=1)
        image = Image.fromarray((strip * 255).round().byte().numpy())
        image = image.resize((image.width * scale, image.height * scale), Image.NEAREST)
        row = Image.new("RGB", (max(image.width, 780), image.height + 18), "white")
        row.paste(image, (0, 16))
        ImageDraw.Draw(row).text((4, 2), text, fill="black")
        rows.append(row)
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a contact sheet of the pocket world.")
    parser.add_argument("--out", default="world.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10)
    args = parser.parse_args()
    rng, clips, texts = random.Random(args.seed), [], []
    for _ in range(args.count):
        width, height = rng.choice(((64, 64), (112, 64), (64, 112), (96, 96)))
        scene = sample_scene(rng, width=width, height=height, frames=17, split="all")
        clips.append(render([scene], width, height, 17)[0])
        texts.append(caption(scene, rng, "mixed"))
    contact_sheet(clips, texts, args.out)


if __name__ == "__main__":
    main()
