"""Measures every verb of the canvas with pocket, through the nodes that people drag, from pixels alone.

python -m training.evaluate verbs [--count 200]   a sixth of it each verb
"""

import random
from collections import defaultdict
from dataclasses import replace
from statistics import mean, median

import torch
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS
from spacetime_nodes.nodes.runtime import HOST, Host
from spacetime_nodes.spacetime import quality
from spacetime_nodes.training import world
from spacetime_nodes.training.judge import compare, look, motion_seen, track
from torch import Tensor

FPS, SIDE = 8.0, 64
FOLLOWING = 1.5  # guidance of what goes on from a clip: more of it pulls things off their way (as the graphs have it)
MOVING = {**world.SIMPLE, "motions": ("left", "right", "up", "down")}


class Studio:
    """Pocket behind the nodes: a grid, a canvas builder, and the frames that come of it."""

    def __init__(self, pocket):
        self.dit, self.vae, self.text = pocket.dit, pocket.vae, pocket.text
        HOST.set(Host(on_notice=lambda text: None))

    def node(self, name: str, *args, **kwargs):
        done = NODE_CLASS_MAPPINGS[f"Spacetime{name}"]().run(*args, **kwargs)
        return done["result"] if isinstance(done, dict) else done

    def grid(self, frames: int = 17, width: int = SIDE, height: int = SIDE) -> dict:
        return self.node("Grid", self.dit, self.vae, "custom", 0, width, height, 0.0, FPS, frames)[0]

    def film(self, latent: dict, prompt: str, seed: int, guidance: float = 4.0) -> Tensor:
        """[F, height, width, 3]"""
        texts = self.node("EncodePrompt", self.text, prompt, "")
        return self.shoot(latent, *texts, seed, guidance)

    def shoot(self, latent: dict, positive, negative, seed: int, guidance: float = 4.0) -> Tensor:
        (done,) = self.node("Sample", self.dit, positive, negative, latent, seed, 20, guidance, preview=False)
        return self.node("DecodeImages", self.vae, done)[0]


def scenes(count: int, seed: int, frames: int, **kinds) -> list[world.Scene]:
    rng, kinds = random.Random(seed), {**world.SIMPLE, **kinds}
    return [world.sample_scene(rng, width=SIDE, height=SIDE, frames=frames, split="all", **kinds) for _ in range(count)]


def footage(scene: world.Scene, frames: int) -> Tensor:
    """A real clip as a file would hold it: in steps of 1/255."""
    return (world.render([scene], SIDE, SIDE, frames)[0] * 255).round() / 255


def video(frames: Tensor) -> StreamVideo:
    height, width = frames.shape[1:3]
    return StreamVideo(lambda: iter(frames.split(4)), width=width, height=height, frame_count=len(frames), fps=FPS)


def kept(clip: Tensor, scene: world.Scene) -> bool:
    """The scene's thing is there, of its colour and shape."""
    right = compare(look(clip), scene)
    return right["colour"] and right["shape"]


def same_motion(clip: Tensor, real: Tensor) -> bool:
    """What moves in `clip` moves as in the `real` continuation."""
    seen, wanted = look(clip).things, look(real).things
    return bool(seen and wanted) and motion_seen(seen[0], "still") == motion_seen(wanted[0], "still")


def share(values: list) -> float:
    return round(100 * mean(map(float, values)), 1)


def middle(values: list[float]) -> float:
    return round(median(values), 2)


def most(values: list[float]) -> float:
    """The 95th percentile."""
    return round(sorted(values)[max(0, round(0.95 * len(values)) - 1)], 2)


def image_to_video(studio: Studio, count: int) -> dict:
    found = defaultdict(list)
    for i, scene in enumerate(scenes(count, 301, 17)):
        image = footage(scene, 1)
        latent = studio.node("PlaceFrames", studio.vae, studio.grid(), "start", "cover", 1.0, images=image)[0]
        clip = studio.film(latent, world.caption(scene), 5000 + i)
        right = compare(look(clip), scene)
        found["exact"].append(torch.equal(clip[0], image[0]))
        found["motion"].append(right["motion"])
        found["kept"].append(right["colour"] and right["shape"])
    return {"first frame exact": share(found["exact"]), "motion": share(found["motion"]),
            "colour and shape kept": share(found["kept"])}  # fmt: skip


def extend(studio: Studio, count: int, direction: str) -> dict:
    found, seams = defaultdict(list), []
    first, last = {"forward": (0, 17), "backward": (16, 33), "both": (8, 25)}[direction]
    seconds = 1.0 if direction == "both" else 2.0
    for i, scene in enumerate(scenes(count, 302, 33)):
        real = footage(scene, 33)
        source = real[first:last]
        latent = studio.node("Extend", studio.vae, studio.grid(), direction, seconds, 0.0, "cover", video(source))[0]
        clip = studio.film(latent, world.caption(scene), 6000 + i, FOLLOWING)
        at = 0 if direction == "forward" else len(clip) - 17 if direction == "backward" else 9
        found["exact"].append(torch.equal(clip[at : at + 17], source))
        for new, truth, join in ((clip[:at], real[:first], at), (clip[at + 17 :], real[last:], at + 17)):
            if len(new):
                seams.append(quality.seam_score(clip, join))
                found["kept"].append(kept(new, scene))
                found["continues"].append(same_motion(new, truth))
    return {"source exact": share(found["exact"]), "seam median": middle(seams), "seam 95 %": most(seams),
            "object kept": share(found["kept"]), "motion continues": share(found["continues"])}  # fmt: skip


def connect(studio: Studio, count: int) -> dict:
    found, seams = defaultdict(list), []
    for i, scene in enumerate(scenes(count, 303, 33, motions=MOVING["motions"])):
        real = footage(scene, 33)
        left, right = real[:9], real[25:]
        latent = studio.node("Connect", studio.vae, studio.grid(), 2.0, 0.0, "cover", video(left), video(right))[0]
        clip = studio.film(latent, world.caption(scene), 7000 + i, FOLLOWING)
        found["exact"].append(torch.equal(clip[:9], left) and torch.equal(clip[-8:], right))
        seams += [quality.seam_score(clip, 9), quality.seam_score(clip, len(clip) - 8)]
        found["kept"].append(kept(clip[9:-8], scene))
        (fade,) = quality.measure(clip.split(8), [(8, len(clip) - 8)]).dissolves
        found["dissolve"].append(fade.found)
    return {"clips exact": share(found["exact"]), "seam median": middle(seams), "seam 95 %": most(seams),
            "object kept": share(found["kept"]), "dissolves": share(found["dissolve"])}  # fmt: skip


def loop(studio: Studio, count: int) -> dict:
    wraps, moving, twice, found = [], [], [], []
    for i, scene in enumerate(scenes(count, 304, 17, motions=("spin", *MOVING["motions"]))):
        clip = studio.film(
            studio.node("Loop", studio.vae, studio.grid(), 1.0, 0.0, "cover")[0], world.caption(scene), i
        )
        steps = quality.frame_distances(torch.cat([clip, clip[:1]]))
        wraps.append(quality.wrap_score(clip))
        moving.append(steps.mean().item() > quality.FLOOR)
        twice.append(shown_twice(steps))
        found.append(kept(clip, scene))
    return {"wrap median": middle(wraps), "wrap 95 %": most(wraps), "duplicate frames": share(twice),
            "moves": share(moving), "object kept": share(found)}  # fmt: skip


def shown_twice(steps: Tensor) -> bool:
    """Whether a loop's last frame is its first once more. steps: from frame to frame around it, the last back to its
    beginning; a loop that goes on takes a step there, too."""
    return bool(steps[-1] < 0.25 * steps[:-1].median())


def restyle(studio: Studio, count: int, strengths=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0)) -> dict:
    likeness, recoloured, tracks = (defaultdict(list) for _ in range(3))
    rng = random.Random(9)
    for i, scene in enumerate(scenes(count, 305, 17, motions=MOVING["motions"])):
        source, thing = footage(scene, 17), scene.things[0]
        other = replace(thing, colour=rng.choice([c for c in world.COLOURS if c != thing.colour]))
        wanted = replace(scene, things=(other,))
        axis = 0 if thing.motion in ("left", "right") else 1
        for strength in strengths:
            latent = studio.node("Restyle", studio.vae, studio.grid(), strength, "cover", video=video(source))[0]
            clip = studio.film(latent, world.caption(wanted), 8000 + i)
            likeness[strength].append(-10 * (clip - source).square().mean().log10().item())
            recoloured[strength].append(compare(look(clip), wanted)["colour"])
            paths = track(source, scene.background, thing.colour), track(clip, scene.background, other.colour)
            tracks[strength].append(correlation(paths[0][:, axis], paths[1][:, axis]) >= 0.8)
    both = {s: share([c and t for c, t in zip(recoloured[s], tracks[s], strict=True)]) for s in strengths}
    best = max(both, key=both.get)
    likeness = [mean(likeness[s]) for s in strengths]
    return {"best strength": best, "new colour": share(recoloured[best]), "track kept": share(tracks[best]),
            "likeness dB": [round(x, 1) for x in likeness],
            "falls with strength": all(a > b for a, b in zip(likeness, likeness[1:], strict=False))}  # fmt: skip


def correlation(a: Tensor, b: Tensor) -> float:
    if a.std() < 1e-6 or b.std() < 1e-6 or b.isnan().any():
        return 0.0
    return torch.corrcoef(torch.stack([a, b]))[0, 1].item()


def paint(studio: Studio, count: int, outside: bool) -> dict:
    exact, seams, found = [], [], []
    rng = random.Random(10)
    for i, scene in enumerate(scenes(count, 306, 17)):
        source = footage(scene, 17)
        if outside:
            box, told = (16, 0, 80, 64), scene
            settings = {"left": 16, "top": 0, "right": 16, "bottom": 0}
        else:
            other = replace(scene.things[0], colour=rng.choice([*world.COLOURS]), shape=rng.choice([*world.SHAPES]))
            box, told = (8, 8, 56, 56), replace(scene, things=(other,))
            settings = {"left": 0, "top": 0, "right": 0, "bottom": 0}
        latent = studio.node(
            "MaskRegion", studio.vae, studio.grid(), 0.125, 0.125, 0.75, 0.75, 0.0, 0.0, 2, *settings.values(), "cover",
            video=video(source),
        )[0]  # fmt: skip
        clip = studio.film(latent, world.caption(told), 9000 + i)
        left, top, right, bottom = box
        if outside:
            exact.append(torch.equal(clip[:, :, left:right], source))
            seams += [border_seam(clip, 2, left), border_seam(clip, 2, right)]
        else:
            same = (clip == source).all(-1)
            same[:, top:bottom, left:right] = True
            exact.append(bool(same.all()))
            inside = clip[:, top:bottom], clip[:, :, left:right]
            seams += [border_seam(inside[0], 2, x) for x in (left, right)]
            seams += [border_seam(inside[1], 1, y) for y in (top, bottom)]
        found.append(kept(clip, told))
    return {"known pixels exact": share(exact), "border seam median": middle(seams), "border seam 95 %": most(seams),
            "as prompted": share(found)}  # fmt: skip


def border_seam(clip: Tensor, axis: int, at: int, neighbours: int = 3) -> float:
    """The step across a border in the picture ÷ the median of the steps beside it, neither less than FLOOR.

    clip [F, height, width, 3]; axis 1: between rows at - 1 and at; 2: between columns.
    """
    near = clip.narrow(axis, at - 1 - neighbours, 2 * neighbours + 2)
    steps = near.diff(dim=axis).square().mean([d for d in range(4) if d != axis]).sqrt()
    usual = torch.cat([steps[:neighbours], steps[neighbours + 1 :]]).median()
    return (steps[neighbours].clamp(min=quality.FLOOR) / usual.clamp(min=quality.FLOOR)).item()


def two_cards(count: int) -> list[tuple[world.Scene, world.Scene]]:
    """A scene of two seconds, and one that goes on from where it ends: with another motion, which has room there."""
    found, rng = [], random.Random(11)
    for scene in scenes(count, 307, 33):
        thing = scene.things[0]
        x, y, *_ = world.trajectory(scene, 0, SIDE, SIDE, 17)[-1]
        reach, way = world.SHAPES[thing.shape][1] * thing.radius, world.QUICK if thing.quick else world.SLOW

        def fits(motion: str, x=x, y=y, reach=reach, way=way) -> bool:  # for a second, before it bounces
            dx, dy = world.DIRECTIONS.get(motion, (0, 0))
            return all(reach <= at + way * step <= 1 - reach for at, step in ((x, dx), (y, dy)) if step)

        motion = rng.choice([m for m in world.SIMPLE["motions"] if m != thing.motion and fits(m)] or ["still"])
        found.append((scene, replace(scene, things=(replace(thing, motion=motion, x=x, y=y),))))
    return found


def storyboard(studio: Studio, count: int) -> dict:
    held, objects = [], []
    for i, cards in enumerate(two_cards(count)):
        text = "\n".join(f"{2 * k}: {world.caption(card)}" for k, card in enumerate(cards))
        board = studio.node("Storyboard", studio.text, studio.vae, studio.grid(33), text, "", 0.0, "cover")
        clip = studio.shoot(board[2], board[0], board[1], 10000 + i)
        for card, part in zip(cards, (clip[:16], clip[16:]), strict=True):
            right = compare(look(part), card)
            held.append(right["all four"])
            objects.append(right["colour"] and right["shape"])
    return {"cards hold": share(held), "object kept": share(objects)}


def a_minute(studio: Studio, count: int) -> dict:
    seconds, drifts = [], []
    for i, scene in enumerate(scenes(count, 308, 17)):
        clip = studio.film(studio.grid(481), world.caption(scene), 11000 + i)
        seconds += [kept(clip[at : at + 8], scene) for at in range(0, 480, 8)]
        drifts.append(quality.drift(quality.measure(clip.split(8)))["colour"])
    return {
        "films": len(drifts),
        "object kept, seconds": share(seconds),
        "colour drift ΔE2000, worst": round(max(drifts), 2),
    }


def image(studio: Studio, count: int) -> dict:
    found = defaultdict(list)
    for i, scene in enumerate(scenes(count, 309, 17, motions=("still",))):
        right = compare(look(studio.film(studio.grid(1), world.caption(scene), 12000 + i)), scene)
        for key in ("background", "colour", "shape"):
            found[key].append(right[key])
    return {key: share(values) for key, values in found.items()}


def evaluate(pocket, count: int, only: list[str] | None = None) -> dict:
    """Every verb, `count` prompts each."""
    studio = Studio(pocket)
    verbs = {
        "image to video": image_to_video,
        "extend forward": lambda s, n: extend(s, n, "forward"),
        "extend backward": lambda s, n: extend(s, n, "backward"),
        "extend both ways": lambda s, n: extend(s, n, "both"),
        "connect": connect,
        "loop": loop,
        "restyle": restyle,
        "inpaint": lambda s, n: paint(s, n, False),
        "outpaint": lambda s, n: paint(s, n, True),
        "storyboard": storyboard,
        "a minute": a_minute,
        "image": image,
    }
    return {name: verb(studio, count) for name, verb in verbs.items() if not only or name in only}
