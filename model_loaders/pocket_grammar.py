"""A short prompt read as a scene of the pocket world, and written out as the long caption its model was trained on.

No parser of English: known phrases fill slots, and a word that no slot takes is handed back, to be named.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from .pocket_captions import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    DIRECTIONS,
    MOTIONS,
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

MOST_THINGS = 2
NAMED = 10  # words left out that a notice names

SPARE = """a an the is are it its it's be being of in at to from there that which who has have one me show showing video
clip scene thing things shape shapes object objects color colour colored coloured background's""".split()
SPOKEN = {  # slot → value → what people say besides the captions' own words
    "colour": {"purple": ["violet"]},
    "ground": {"gray": ["grey"], "navy": ["navy blue"]},
    "size": {"small": ["tiny", "little"], "medium": ["medium sized"], "large": ["big", "huge"]},
    "shape": {"circle": ["disk"]},
    "quick": {False: ["slow"], True: ["quick", "rapidly"]},
    "motion": {
        "left": ["left", "leftward", "leftwards", "right to left", "moving from right to left"],
        "right": ["right", "rightward", "rightwards", "left to right", "moving from left to right"],
        "up": ["up", "upward", "upwards", "bottom to top", "rise"],
        "down": ["down", "downward", "downwards", "top to bottom", "fall"],
        "spin": ["spin", "rotate", "turning", "turns"],
        "grow": ["grow", "gets larger", "getting larger"],
        "shrink": ["shrink"],
        "still": ["still", "stays still", "standing", "static", "motionless", "stationary", "doesn't move"],
    },
    "moves": {True: ["move", "moves", "moving", "go", "goes", "going", "slide", "slides", "sliding", "drift", "drifts",
                     "drifting", "travels", "travelling", "flies", "flying", "bounces", "bouncing"]},
    "count": {2: ["two", "2", "a pair of"], 3: ["three", "3"], 4: ["four", "4", "several", "many"]},
    "all": {True: ["both", "all", "each"]},
    "camera": {True: ["camera"]},
    "pan": {True: ["pan", "pans", "panning"]},
    "backdrop": {True: ["background", "backdrop"]},
    "on": {True: ["on", "against", "over", "in front of"]},
    "break": {True: ["and", "while", "with", "beside", "as", ",", ".", ";", ":", "&", "+"]},
    "strange": {True: [f"{where} {side}" for where in ("on the", "at the", "to its", "from the")
                       for side in ("left", "right")]},
}  # fmt: skip


def _phrases() -> dict[tuple[str, ...], tuple[str, object]]:
    """Words of a phrase → its slot and value."""
    spoken = [(slot, value, words) for slot, table in SPOKEN.items() for value, words in table.items()]
    spoken += [("motion", motion, words) for table in (WORDS, VERBS) for motion, words in table.items()]
    spoken += [("shape", shape, [*names, *(f"{n}{'es' if n[-1] == 'x' else 's'}" for n in names)])
               for shape, names in SYNONYMS.items()]  # fmt: skip
    spoken += [("quick", False, SLOWLY), ("quick", True, QUICKLY)]
    spoken += [(slot, name, [name]) for slot, names in (("colour", COLOURS), ("ground", BACKGROUNDS), ("size", SIZES))
               for name in names]  # fmt: skip
    return {tuple(phrase.split()): (slot, value) for slot, value, words in spoken for phrase in words}


PLAIN = str.maketrans({"’": "'", "—": ",", "–": ",", "“": " ", "”": " ", "…": "."})
PHRASES = _phrases()
LONGEST = max(map(len, PHRASES))


@dataclass(frozen=True)
class Token:
    slot: str
    value: object
    text: str


Said = dict[str, Token]  # what a prompt says of one thing: slot → token, of colour shape size motion moves quick count


@dataclass
class Reading:
    """A prompt as far as it speaks of this world. camera "pan" goes in a direction that isn't said."""

    things: list[Said] = field(default_factory=list)
    ground: str | None = None
    camera: str | None = None
    counts: list[Token] = field(default_factory=list)  # of "two things", that say of how many and not of what
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, tokens: Iterable[Token]):
        self.left_out += [token.text for token in tokens]


def expand(prompt: str, seed: int = 0) -> tuple[str, list[str]]:
    """The long caption of what the prompt says, the rest drawn by the seed; and notes on what it couldn't take."""
    rng, reading = random.Random(seed), read(prompt)
    text = caption(fill(reading, rng), rng, "long")
    left_out = list(dict.fromkeys(reading.left_out))
    if not left_out:
        return text, []
    named = ", ".join(repr(words[:40]) for words in left_out[:NAMED]) + (" and more" if len(left_out) > NAMED else "")
    has = f"one or two things ({', '.join(SYNONYMS)}; {', '.join(COLOURS)}) on {', '.join(BACKGROUNDS)}"
    return text, [f"the pocket world has no place for {named}; it has {has}"]


# ---- reading ------------------------------------------------------------------------------------------------------


def read(prompt: str) -> Reading:
    reading = Reading()
    tokens = _without_ground(_without_camera(_tokens(prompt), reading), reading)
    reading.leave_out(token for token in tokens if token.slot == "strange")
    tokens = [token for token in tokens if token.slot != "strange"]
    for apart, segment in groupby(tokens, lambda token: token.slot in ("break", "on")):
        for said in [] if apart else _noun_phrases(list(segment), reading):
            _add(said, reading)
    _count(reading)
    return reading


def _tokens(prompt: str) -> list[Token]:
    """The longest known phrases, from left to right. Words that say nothing here are dropped."""
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)*|[,.;:&+]|[^\w\s!-~]+", prompt.lower().translate(PLAIN))
    tokens, at = [], 0
    while at < len(words):
        lengths = range(min(LONGEST, len(words) - at), 0, -1)
        length = next((n for n in lengths if tuple(words[at : at + n]) in PHRASES), 1)
        phrase = tuple(words[at : at + length])
        slot, value = PHRASES.get(phrase, ("strange", True))
        if phrase in PHRASES or phrase[0] not in SPARE:
            tokens.append(Token(slot, value, " ".join(phrase)))
        at += length
    return tokens


def _without_camera(tokens: list[Token], reading: Reading) -> list[Token]:
    """Takes out "the camera pans left", "pan left" and "still camera". It has one speed, so a word for that is lost."""
    rest, at = [], 0
    while at < len(tokens):
        clause = [tokens[at]]
        at += 1
        if clause[0].slot not in ("camera", "pan"):
            rest += clause
            continue
        while at < len(tokens) and clause[-1].slot != "motion" and _of_camera(tokens[at]):
            clause.append(tokens[at])
            at += 1
        if clause[-1].slot != "motion" and rest and _of_camera(rest[-1]) and " " not in rest[-1].text:
            clause.append(rest.pop())
        reading.leave_out(token for token in clause if token.slot == "quick")
        said = [token.value for token in clause if token.slot == "motion"]
        said += ["pan" for token in clause if token.slot == "pan"]
        reading.camera = next(iter(said), reading.camera)
    return rest


def _of_camera(token: Token) -> bool:
    return token.slot in ("camera", "pan", "quick", "moves") or (token.slot == "motion" and token.value in CAMERAS)


def _without_ground(tokens: list[Token], reading: Reading) -> list[Token]:
    """Takes out the background. Its colours are no thing's and theirs are none of its: such a word is strange."""
    rest = []
    for at, token in enumerate(tokens):
        before = tokens[at - 1].slot if at else "break"
        after = next((later.slot for later in tokens[at + 1 :] if later.slot not in ("size", "colour")), "break")
        if token.slot == "ground" and after != "shape" and reading.ground in (None, token.value):
            reading.ground = token.value
        elif token.slot == "ground":
            rest.append(Token("strange", True, token.text))
        elif token.slot == "colour" and after != "shape" and (before == "on" or after == "backdrop"):
            rest.append(Token("strange", True, f"{token.text} background"))
        elif token.slot != "backdrop":
            rest.append(token)
    return rest


def _noun_phrases(segment: list[Token], reading: Reading) -> list[Said]:
    """Cuts "red circle small blue square" in two: a second shape or colour is another thing's, with its adjectives."""
    phrases: list[Said] = [{}]
    for at, token in enumerate(segment):
        said = phrases[-1]
        leads_on = token.slot in ("size", "colour") and any(later.slot == "shape" for later in segment[at + 1 :])
        if (token.slot in ("shape", "colour") and token.slot in said) or (leads_on and "shape" in said):
            phrases.append({})
        _merge({token.slot: token}, phrases[-1], reading)
    return phrases


def _add(said: Said, reading: Reading):
    """To the last thing, where it says more of that one ("a ball, red, rising"); else as another thing."""
    things, named = reading.things, "colour" in said or "shape" in said
    if "count" in said and not named:
        reading.counts.append(said.pop("count"))
    if "all" in said and things and not named:
        for thing in things:
            _merge({slot: token for slot, token in said.items() if slot not in thing}, thing, reading)
    elif not things or (named and said.keys() & things[-1].keys() - {"moves"}):
        things.append(said)
    else:
        _merge(said, things[-1], reading)


def _merge(said: Said, thing: Said, reading: Reading):
    for slot, token in said.items():
        if thing.setdefault(slot, token).value != token.value:
            reading.leave_out([token])


def _count(reading: Reading):
    """As many things as are said, at most two: "two red circles" has a second like the first, "two things" any."""
    model = next((thing for thing in reading.things if "count" in thing), {})
    counts = reading.counts + [thing.pop("count") for thing in reading.things if "count" in thing]
    things = [thing for thing in reading.things if thing] or [{}]
    for one, other in [*zip(things, things[1:], strict=False), *zip(things[1:], things, strict=False)]:
        if "colour" in one and "shape" in other:  # "red and blue stars"
            one.setdefault("shape", other["shape"])
    wanted = max((count.value for count in counts), default=1)
    things += [dict(model) for _ in range(min(wanted, MOST_THINGS) - len(things))]
    reading.things = things[:MOST_THINGS]
    reading.leave_out(count for count in counts if count.value > MOST_THINGS)
    reading.left_out += [" ".join(token.text for token in thing.values()) for thing in things[MOST_THINGS:]]


# ---- filling in ---------------------------------------------------------------------------------------------------


def fill(reading: Reading, rng: random.Random) -> Scene:
    """A scene with all that was said. The rest is drawn as the world draws it; a camera not spoken of stays still."""
    camera = rng.choice(CAMERAS[1:]) if reading.camera == "pan" else reading.camera or "still"
    taken = {said["colour"].value for said in reading.things if "colour" in said}
    things = []
    for said in reading.things:
        free = [colour for colour in COLOURS if colour not in taken]
        things.append(_thing(said, free, camera, len(reading.things), rng))
        taken.add(things[-1].colour)
        reading.leave_out(_unsayable(said, things[-1].motion))
    return Scene(reading.ground or rng.choice(list(BACKGROUNDS)), tuple(things), camera)


def _thing(said: Said, colours: list[str], camera: str, count: int, rng: random.Random) -> Thing:
    def given(slot, choices):
        drawn = rng.choice(list(choices))  # drawn even when given, so that one more word leaves the others' draws alone
        return said[slot].value if slot in said else drawn

    shape = given("shape", SYNONYMS)
    colour = given("colour", colours)
    motion = given("motion", _motions(said, shape, camera))
    size = given("size", ("small", "medium") if count > 1 else SIZES)
    return Thing(shape, colour, motion, given("quick", (False, True)), sum(SIZES[size]) / 2)


def _motions(said: Said, shape: str, camera: str) -> list[str]:
    """What a thing may do: what is seen has one cause, and a spinning circle can't be told from a still one."""
    if "moves" in said or "quick" in said:
        return list(DIRECTIONS)
    motions = [motion for motion in MOTIONS if (motion, shape) != ("spin", "circle")]
    return motions if camera == "still" else [motion for motion in motions if motion not in DIRECTIONS]


def _unsayable(said: Said, motion: str) -> list[Token]:
    """Words of which the captions have none for this motion: a growing thing's size, a still one's speed."""
    slots = ["size"] * (motion in ("grow", "shrink")) + ["quick"] * (motion in ("still", "grow", "shrink"))
    return [said[slot] for slot in slots if slot in said]
