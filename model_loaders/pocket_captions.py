"""The pocket world in words: what a scene is made of, and the captions that describe it.

`training/world.py` draws these scenes and trains on these captions; `pocket_grammar.py` reads short prompts as scenes.
"""

import random
from dataclasses import dataclass

COLOURS = {
    "red": (0.90, 0.10, 0.10),
    "green": (0.10, 0.70, 0.20),
    "blue": (0.15, 0.35, 1.00),
    "yellow": (0.98, 0.90, 0.10),
    "purple": (0.62, 0.20, 0.80),
    "orange": (1.00, 0.52, 0.00),
    "cyan": (0.10, 0.85, 0.90),
    "white": (0.98, 0.98, 0.98),
}
BACKGROUNDS = {
    "black": (0.04, 0.04, 0.04),
    "gray": (0.45, 0.45, 0.45),
    "navy": (0.05, 0.07, 0.30),
    "beige": (0.85, 0.77, 0.62),
}
MOTIONS = ("still", "left", "right", "up", "down", "spin", "grow", "shrink")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
CAMERAS = ("still", "left", "right", "up", "down")
SIZES = {"small": (0.11, 0.13), "medium": (0.15, 0.18), "large": (0.21, 0.24)}


@dataclass(frozen=True)
class Thing:
    """One shape. Position is that of its centre at t = 0, radius its nominal one there, both in short sides.

    angle: how far it is turned at t = 0, in radians, clockwise from upright. Sampled scenes have it upright: to learn
    every shape at every angle takes longer than a laptop has.
    """

    shape: str
    colour: str
    motion: str = "still"
    quick: bool = False
    radius: float = 0.165
    x: float = 0.5
    y: float = 0.5
    angle: float = 0.0

    @property
    def size(self) -> str:
        return min(SIZES, key=lambda name: abs(sum(SIZES[name]) / 2 - self.radius))


@dataclass(frozen=True)
class Scene:
    """Everything visible: a background, one or two things (the first in front) and the camera's motion."""

    background: str
    things: tuple[Thing, ...]
    camera: str = "still"
    dapple: tuple[float, float] = (0.0, 0.0)  # phase of the background's pattern, in periods


WORDS = {
    "left": ("moving left", "moving to the left", "sliding left", "drifting left", "going left", "travelling left"),
    "right": ("moving right", "moving to the right", "sliding right", "drifting right", "going right",
              "travelling right"),
    "up": ("moving up", "moving upward", "rising", "sliding up", "drifting up", "going up"),
    "down": ("moving down", "moving downward", "falling", "sliding down", "drifting down", "going down"),
    "spin": ("spinning", "rotating", "turning around", "spinning in place"),
    "grow": ("growing", "getting bigger", "expanding"),
    "shrink": ("shrinking", "getting smaller", "contracting"),
    "still": ("standing still", "not moving", "at rest", "staying still"),
}  # fmt: skip
VERBS = {
    "left": ("moves left", "moves to the left", "slides left", "drifts to the left"),
    "right": ("moves right", "moves to the right", "slides right", "drifts to the right"),
    "up": ("moves up", "rises", "slides upward", "drifts up"),
    "down": ("moves down", "falls", "slides downward", "drifts down"),
    "spin": ("spins", "rotates", "turns around its center"),
    "grow": ("grows", "gets bigger", "expands"),
    "shrink": ("shrinks", "gets smaller", "contracts"),
    "still": ("stands still", "does not move", "stays at rest"),
}
SLOWLY, QUICKLY = ("slowly", "gently"), ("quickly", "fast")
PAN_WORDS = ("camera panning {}", "the camera pans {}", "camera moving {}")
SYNONYMS = {"circle": ("circle", "disc", "ball"), "square": ("square", "box"), "star": ("star",)}
SYNONYMS["triangle"] = ("triangle",)


def caption(scene: Scene, rng: random.Random | None = None, style: str = "plain") -> str:
    """Describes a scene.

    style: "plain" is the canonical caption and says everything that is judged; "short" drops what a hurried person
    would; "long" is a full sentence; "mixed" draws one of the three, paraphrased.
    """
    rng = rng or random.Random(0)
    if style == "mixed":
        style = rng.choice(("plain", "short", "long", "long", "plain"))
        paraphrase = rng.random() < 0.6
    else:
        paraphrase = style == "long"
    pick = rng.choice if paraphrase else lambda options: options[0]
    on = f"{pick(('on a', 'on a', 'against a', 'over a'))} {scene.background} background"
    moves = scene.camera != "still"
    camera = pick(PAN_WORDS).format(scene.camera)

    if style == "long":
        parts = []
        for t in scene.things:
            words = f"{_adjectives(t, rng, True)} {pick(SYNONYMS[t.shape])} {_motion(t, pick, VERBS, rng, True)}"
            parts.append(("an " if words[0] in "aeiou" else "a ") + words)
        text = f" {pick(('and', 'while', 'and'))} ".join(parts)
        if not moves:
            camera = pick(("the camera stays still", "the camera does not move", "still camera"))
        tail = pick((f"{on}, {camera}", f"{on}. {camera[0].upper()}{camera[1:]}"))
        text = f"{text} {tail}"
        return text[0].upper() + text[1:] + "."

    speed = style == "plain"
    parts = []
    for t in scene.things:
        silent = style == "short" and t.motion == "still"
        motion = "" if silent else " " + _motion(t, pick, WORDS, rng, speed and (not paraphrase or rng.random() < 0.6))
        sized = style == "plain" and (not paraphrase or rng.random() < 0.5)
        parts.append(f"{_adjectives(t, rng, sized)} {pick(SYNONYMS[t.shape])}{motion}")
    text = " and ".join(parts)
    if style == "plain" or rng.random() < 0.3:
        text = f"{text} {on}"
    return f"{text}, {camera}" if moves else text


def _adjectives(thing: Thing, rng: random.Random, sized: bool) -> str:
    # growing and shrinking things have one size to start from, so the word would say nothing
    named = sized and thing.size != "medium" and thing.motion not in ("grow", "shrink")
    return f"{thing.size} {thing.colour}" if named else thing.colour


def _motion(thing: Thing, pick, words: dict, rng: random.Random, speed: bool) -> str:
    text = pick(words[thing.motion])
    if speed and (thing.motion in DIRECTIONS or thing.motion == "spin"):
        text = f"{text} {pick(QUICKLY if thing.quick else SLOWLY)}"
    return text
