"""Figures over time as a picture: curves in rows, with a few lines of text beside them."""

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

PAPER, INK, FAINT, MARK, BAD = "#16181d", "#d8dce4", "#4a505c", "#f2b84b", "#ff6b6b"
SCALE = 2  # drawn so much larger, then reduced: Pillow's lines aren't antialiased
BESIDE, LETTERS = 340, 50  # the text's width, in pixels and in letters


@dataclass(frozen=True)
class Curve:
    """values: one a frame, or one a step between frames. least: the span that is magnified no further."""

    name: str
    values: list[float]
    colour: str
    least: float
    from_zero: bool = True


def plot(
    curves: list[Curve], cuts: list[int], frames: int, lines: list[tuple[str, bool]], width: int = 960, row: int = 92
) -> "Image":
    """A Pillow image. cuts: frames before which an upright line stands. lines: what is said, and whether it is bad."""
    from PIL import Image, ImageDraw

    parts = [(part, bad) for text, bad in lines for part in wrap(text, LETTERS, subsequent_indent="    ")]
    height = max(row * len(curves) + 16, 18 * len(parts) + 24)
    image = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
    draw = ImageDraw.Draw(image)
    for index, curve in enumerate(curves):
        box = [16, 16 + index * row, width - BESIDE, 16 + index * row + row - 30]
        _panel(draw, [side * SCALE for side in box], curve, cuts, frames, numbered=index == 0)
    for index, (text, bad) in enumerate(parts):
        place = (width - BESIDE + 28) * SCALE, (12 + 18 * index) * SCALE
        draw.text(place, text, BAD if bad else INK, _font(13 * SCALE))
    return image.resize((width, height), Image.LANCZOS)


def _panel(draw, box: list[int], curve: Curve, cuts: list[int], frames: int, numbered: bool):
    left, top, right, bottom = box
    shift = (frames - len(curve.values)) / 2  # steps lie between frames
    low = 0.0 if curve.from_zero else min(curve.values, default=0.0)
    high = max(curve.values, default=0.0)
    span, wide = max(high - low, curve.least), max(frames - 1, 1)

    def x(frame: float) -> float:
        return left + (right - left) * frame / wide

    draw.rectangle(box, outline=FAINT, width=SCALE)
    for cut in cuts:
        draw.line([(x(cut - 0.5), top), (x(cut - 0.5), bottom)], MARK, SCALE)
        if numbered:
            draw.text((x(cut - 0.5) - 4 * SCALE, top - 13 * SCALE), str(cut), MARK, _font(10 * SCALE))
    points = [(x(i + shift), bottom - (bottom - top) * 0.92 * (v - low) / span) for i, v in enumerate(curve.values)]
    if len(points) > 1:
        draw.line(points, curve.colour, 2 * SCALE, joint="curve")
    draw.text((left, bottom + 3 * SCALE), f"{curve.name}, {low:.3g} to {high:.3g}", curve.colour, _font(11 * SCALE))


def _font(size: int):
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError):  # Pillow 10.0, or built without FreeType: one small font
        return ImageFont.load_default()
