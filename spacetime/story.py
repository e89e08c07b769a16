"""A storyboard: cards on one timeline, and how much each one's prompt counts at each moment."""

import re
from dataclasses import dataclass

CARD = re.compile(r"^\s*(?P<time>[-+]?\d+(?:[.,]\d+)?)\s*s?\s*[:|]\s*(?P<text>.*)$")
PICTURE = re.compile(r"\[\s*image\s*:?\s*(?P<name>[^\]]+?)\s*\]", re.IGNORECASE)


@dataclass(frozen=True)
class Card:
    """From `start` seconds on the video shows `prompt`. picture: the image it begins with, "1" for the first of a batch
    or a file's name; None = none."""

    start: float
    prompt: str
    picture: str | None = None


def read(text: str) -> list[Card]:
    """Cards from lines such as "1.5: a red circle moving right [image 1]". A line without a time goes on with the last.

    Raises ValueError where there is no card, the first doesn't begin at 0, or they aren't in order.
    """
    cards: list[Card] = []
    for line in filter(str.strip, text.splitlines()):
        match = CARD.match(line)
        if match is None:
            if not cards:
                raise ValueError(f"the first card {line.strip()[:40]!r} has no time; write it as 0: a red circle")
            cards[-1] = _with(cards[-1].start, f"{cards[-1].prompt} {line.strip()}", cards[-1].picture)
            continue
        cards.append(_with(float(match["time"].replace(",", ".")), match["text"].strip()))
    if not cards:
        raise ValueError("the storyboard has no cards; write one a line, as 0: a red circle moving right")
    if cards[0].start != 0:
        raise ValueError(f"the first card begins at {cards[0].start:g} s; it must begin at 0")
    for before, after in zip(cards, cards[1:], strict=False):
        if after.start <= before.start:
            raise ValueError(
                f"the card at {after.start:g} s comes after the one at {before.start:g} s; put them in order"
            )
    return cards


def _with(start: float, text: str, picture: str | None = None) -> Card:
    found = PICTURE.findall(text)
    if len(found) + (picture is not None) > 1:
        raise ValueError(f"the card at {start:g} s names {len(found)} images; one would be right")
    return Card(start, PICTURE.sub("", text).strip(), found[0] if found else picture)


def shares(starts: list[float], blend: float, times: list[float]) -> list[list[float]]:
    """How much each card counts [cards][T] at `times` [T] seconds, 1 in sum.

    Between two cards the one fades into the other over `blend` seconds around the later one's start; 0 cuts. No fade is
    longer than the shorter of the two cards.
    """
    edges = [*starts, float("inf")]
    found = [[1.0] * len(times)]
    for i, start in enumerate(starts[1:], start=1):
        width = min(blend, start - edges[i - 1], edges[i + 1] - start)
        rises = [min(max((t - start) / width + 0.5, 0.0), 1.0) if width else float(t >= start) for t in times]
        found.append([rise * before for rise, before in zip(rises, found[-1], strict=True)])
        found[-2] = [(1 - rise) * before for rise, before in zip(rises, found[-2], strict=True)]
    return found


def cuts(counts: list[list[float]]) -> list[int]:
    """Latent frames at which another card begins to count most. counts: [cards][T], of `shares`."""
    leads = [max(range(len(counts)), key=lambda card: counts[card][t]) for t in range(len(counts[0]))]
    return [t for t in range(1, len(leads)) if leads[t] != leads[t - 1]]
