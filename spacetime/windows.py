"""A canvas longer or larger than the model was trained for, seen part by part; and a ring, seen past its seam.

In time there are two ways. Autoregressive: stretches are finished one after another, each knowing the last cells of
the one before. Overlapping: windows over the whole canvas take every step together and are blended where they overlap
(MultiDiffusion, Bar-Tal et al. 2023), as it is always done in space. Pure Python: plans need it without torch.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from .grid import AUTO_CONTEXT
from .names import FORWARD, WINDOWS

LENIENCE = 1.25  # a canvas so much larger than what a model was trained for still does best whole
REDRAWING = 0.1  # of the steps, for each size from the second on
RING_PAD = 2  # latent frames that a ring is seen past its seam on each side


@dataclass(frozen=True)
class Windows:
    """How a canvas [T, H, W] is seen. `length` latent frames at a time, `shared` of them with the last window; in space
    `tile` cells a side, `lap` of them shared. A canvas that is no larger is seen whole. staged: a larger picture is
    made small first. cuts: latent frames where a storyboard's next card begins; no stretch reaches past one.
    order: of names.FORWARD and BACKWARD, for models that see beside a stretch what is around it."""

    autoregressive: bool
    length: int
    shared: int
    tile: int
    lap: int
    staged: bool = False
    cuts: tuple[int, ...] = ()
    order: str = ""

    def sizes(self, shape: tuple[int, int, int], patch: tuple[int, int, int]) -> list[tuple[int, int]]:
        """(H, W) of each stage of a canvas [T, H, W]: each twice the last, the first one seen whole."""
        size, found = tuple(shape[1:]), [tuple(shape[1:])]
        while self.staged and max(size) > self.tile:
            size = tuple(max(round(n / 2 / side), 1) * side for n, side in zip(size, patch[1:], strict=True))
            found.insert(0, size)
        return found

    def stretches(self, count: int) -> int:
        """How many windows in time a canvas of `count` latent frames takes."""
        return 1 if count <= self.length else 1 + math.ceil((count - self.length) / (self.length - self.shared))

    def parts(self, shape: tuple[int, int, int], ring: bool = False) -> list[tuple[int, tuple[int, int, int]]]:
        """How many views of a canvas [T, H, W] the model is shown at a step, and how large [t, h, w] they are, of each
        stretch that is sampled after another; with nothing known, or in sections the first one."""
        count, rows, columns = shape
        tiles = len(window_starts(rows, self.tile, self.lap)) * len(window_starts(columns, self.tile, self.lap))
        size = min(rows, self.tile), min(columns, self.tile)
        if ring:
            views, length = self.around(count)
            return [(views * tiles, (length, *size))]
        found, first = [], bool(self.order) and count > 1
        for one in stretches(self, count, [first] + [False] * (count - 1)):
            length = one.last - one.first
            views = 1 if self.autoregressive else len(window_starts(length, self.length, self.shared))
            found.append((views * tiles, (length if self.autoregressive else min(length, self.length), *size)))
        return found

    def around(self, count: int) -> tuple[int, int]:
        """Of a ring of `count` latent frames: how many windows a step sees it in, and how long they are."""
        whole = count + 2 * min(RING_PAD, count)
        if whole <= max(self.length, math.ceil(self.length * LENIENCE)):
            return 1, whole
        length = min(self.length, whole)
        return math.ceil(count / (length - min(self.shared, self.length - 1))), length

    def tokens(self, shape: tuple[int, int, int], patch: tuple[int, int, int], intro: int = 0) -> int:
        """The most tokens of a canvas [T, H, W] that the model sees in one pass. intro: latent frames before each."""
        seen = intro + min(shape[0], self.length), min(shape[1], self.tile), min(shape[2], self.tile)
        return math.prod(math.ceil(size / side) for size, side in zip(seen, patch, strict=True))

    def described(self, shape: tuple[int, int, int]) -> str:
        """In words for the user; '' where the canvas [T, H, W] is seen whole."""
        count, rows, columns = shape
        said = []
        if self.order:
            if self.cuts or count > self.length:
                said.append(f"sections of up to {self.length} latent frames, one after another {self.order}")
        elif self.cuts:
            parts = len(list(stretches(self, count, [False] * count)))
            said.append(f"{parts} windows, each card's own, {self.shared} latent frames shared, one after another")
        elif count > self.length:
            order = "one after another" if self.autoregressive else "blended at every step"
            said.append(
                f"{self.stretches(count)} windows of {self.length} latent frames, {self.shared} shared, {order}"
            )
        if max(rows, columns) > self.tile:
            tiles = len(window_starts(rows, self.tile, self.lap)) * len(window_starts(columns, self.tile, self.lap))
            said.append(f"{tiles} tiles of {self.tile}×{self.tile} cells, {self.lap} shared, blended at every step")
            if self.staged:
                said.append("made small first and enlarged by twos")
        return "; ".join(said)


WHOLE = Windows(autoregressive=False, length=2**30, shared=1, tile=2**30, lap=1)


def choose(
    shape: tuple[int, int, int], trained: tuple[int, int, int], patch: tuple[int, int, int], per_token_time: bool,
    mode: str = "auto", length: int = 0, shared: int = 0, cuts: tuple[int, ...] = (), order: str = "",
) -> Windows:  # fmt: skip
    """Windows for a canvas [T, H, W] and a model trained up to `trained` [T, H, W].

    length, shared: latent frames; 0 chooses. auto: whole where it fits, else autoregressive where the model can know
    cells clean (per_token_time), else overlapping; large pictures in stages.
    cuts: where a storyboard's next card begins. One motion at a time is what a model has learnt; asked for two in one
    window it shows neither, or one all the time. order: in which the model finishes sections; "" where it sees none.
    Raises ValueError where the numbers can't be.
    """
    if mode not in WINDOWS:
        raise ValueError(f"windows {mode!r} can't be; one of {', '.join(WINDOWS)}")
    if order and mode == "overlapping":
        raise ValueError("this model makes a video section by section; windows auto or autoregressive would be right")
    if length and length < max(shared, 1) + 2:
        raise ValueError(f"windows of {length} latent frames can't share {max(shared, 1)}: each must add two at least")
    most = max(trained[0], 3)
    whole = mode == "whole" or (mode == "auto" and shape[0] <= most * LENIENCE and not length)
    length = shape[0] if whole else length or most
    shared = max(1, min(shared or AUTO_CONTEXT, length - 2))
    side = max(trained[1:])
    tile = max(shape[1:]) if mode == "whole" or max(shape[1:]) <= side * LENIENCE else side
    lap = max(tile // 4 // patch[1] * patch[1], patch[1])
    autoregressive = mode == "autoregressive" or (mode != "overlapping" and (per_token_time or bool(order)))
    cuts = cuts if autoregressive and mode != "whole" else ()
    return Windows(autoregressive, length, shared, tile, lap, staged=mode == "auto", cuts=cuts, order=order)


@dataclass(frozen=True)
class Stretch:
    """Latent frames `first` to `last` - 1, sampled together; those before `keep` only lead in and are thrown away."""

    first: int
    last: int
    keep: int


def stretches(windows: Windows, count: int, known: list[bool]) -> Iterator[Stretch]:
    """The stretches of a canvas of `count` latent frames in the order in which they are sampled.

    known: which latent frames have known cells. The first stretch begins at the first of them, and the others go on
    from there to the end, then to the beginning. In sections: which are known as a whole.
    """
    if windows.order:
        yield from sections(windows, count, known)
        return
    if (count <= windows.length and not windows.cuts) or not windows.autoregressive:
        yield Stretch(0, count, 0)
        return
    edges = [0, *windows.cuts, count]
    first_known = next((i for i, is_known in enumerate(known) if is_known), 0)
    begin = max(edge for edge in edges[:-1] if edge <= first_known)
    card_end = min(edge for edge in edges if edge > begin)
    room = windows.length - bool(windows.cuts)
    if first_known - begin >= room:
        begin = min(first_known, card_end - room)
    # what begins a window, a model takes for a frame of its own: amid a canvas an unknown cell is only a lead-in
    lead = int(bool(windows.cuts) and begin > 0 and not known[begin])
    end = min(begin - lead + windows.length, card_end)
    yield Stretch(begin - lead, end, begin)
    while end < count:
        first, card_end = max(end - windows.shared, begin), min(edge for edge in edges if edge > end)
        end = min(first + windows.length, card_end)
        if end == count and not windows.cuts:
            first = count - windows.length  # the last one is as long as the others and knows more
        yield Stretch(first, end, first)
    while begin > 0:
        last, card = begin + windows.shared, max(edge for edge in edges if edge < begin)
        first = max(0, last - windows.length, card - 1)
        keep = max(first + 1 if first else 0, card)
        yield Stretch(first, min(last, count), keep)
        begin = keep


def sections(windows: Windows, count: int, known: list[bool]) -> list[Stretch]:
    """What isn't known, run by run, each in even parts. Forward, where no later frame is seen beside a part, a run ends
    with the known frame that it leads to."""
    ahead, runs = windows.order == FORWARD, []
    for i in (i for i, is_known in enumerate(known) if not is_known):
        if runs and runs[-1][1] == i and i not in windows.cuts:
            runs[-1][1] = i + 1
        else:
            runs.append([i, i + 1])
    found = []
    for first, end in runs:
        end += ahead and end < count and known[end]
        parts = math.ceil((end - first) / windows.length)
        edges = [first + (end - first) * i // parts for i in range(parts + 1)]
        found += [Stretch(begin, last, begin) for begin, last in pairwise(edges)]
    return found if ahead else found[::-1]


def redrawing_steps(steps: int) -> int:
    """Of a picture's second size and those after it: two at least, as the last step of some schedules has no noise."""
    return max(2, int(steps * REDRAWING))


def window_starts(size: int, length: int, shared: int) -> list[int]:
    """Where windows of `length` begin so that they cover `size` and share at least `shared`; the last lies flush."""
    return [0] if size <= length else [*range(0, size - length, length - shared), size - length]
