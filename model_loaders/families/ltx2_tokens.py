"""What LTX-2 is shown beside the cells of a canvas, as tokens of its own which say where they lie: a picture after the
first frame, as LTX2ConditionPipeline gives it, and a control video, as LTX2InContextPipeline does."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...spacetime.model import Beside
from ...spacetime.names import STRENGTH
from .ltx_keyframes import keyframes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Appended:
    """tokens [B, N, C]; share: of the canvas's noise, which is theirs; coordinates [B, 3, N, 2]: seconds, rows and
    columns of pixels from which to which each reaches."""

    tokens: "Tensor"
    share: "Tensor"
    coordinates: "Tensor"

    def carrying(self, tokens: "Tensor") -> "Appended":
        """Others in the same places, for as many prompts as go in one batch."""
        return replace(self, tokens=tokens.repeat(len(self.tokens) // len(tokens), 1, 1))


class Along:
    """A control video below full strength: its tokens [B, N, C] are known that far, and denoised for the rest, along
    with the sound. Where only parts of the canvas are seen, `appended` says how noisy they are instead."""

    def __init__(self, tokens: "Tensor", known: "Tensor", strength: "Tensor", scheduler):
        self.tokens, self.known, self.strength, self.scheduler = tokens, known, strength, scheduler
        self.said = {}  # branch → prediction

    def hear(self, branches, velocity):
        """velocity [B, N, C]: of all tokens, which these end."""
        own = velocity[:, -self.tokens.shape[1] :].float()
        self.said |= zip(branches, own.chunk(len(branches)), strict=True)

    def step(self, t, combine):
        def kept(x0):
            return x0 * (1 - self.strength) + self.known * self.strength

        velocity, self.said = combine(self.said, self.tokens, kept), {}
        self.tokens = self.scheduler.step(velocity, t, self.tokens, return_dict=False)[0]


def beside(known, factor: int, scale: int, generator) -> Beside | None:
    """channels: later pictures [B, C + 1, T, H, W], as `keyframes` has them; then, where a control video is followed,
    its cells [B, C, T, H, W], 1/scale of the canvas's a side, each where it begins there, and which these are
    [B, 1, T, H, W]; below full strength also the cells as noisy as they go in at first [B, C, T, H, W].
    """
    import torch

    pictures, followed = keyframes(known, factor), known.followed
    if followed is None or followed.cells is None:
        return pictures
    course, free = torch.zeros_like(known.cells), known.free if (known.free < 1).any() else None
    place = (..., slice(None, None, scale), slice(None, None, scale))
    small = followed.cells(scale).to(course)
    course[place], where = small, torch.zeros_like(known.free)
    where[place][:, :, followed.where] = 1
    blank = torch.zeros_like(torch.cat([course, where], dim=1))
    parts = [blank if pictures is None else pictures.channels, course, where]
    if followed.strength < 1:
        strength, begin = course.new_tensor(followed.strength), torch.zeros_like(course)
        noise = torch.randn(len(course), *small.shape[1:], generator=generator).to(course)
        begin[place] = noise * (1 - strength) + small * (1 - (1 - strength))
        parts.append(begin)
    free = free if pictures is None else pictures.free
    return Beside(torch.cat(parts, dim=1), {STRENGTH: followed.strength}, free)


def along(beside: Beside, count: int, scheduler) -> Along | None:
    """Its control video; None at full strength. count: channels of a latent."""
    _, _, course, where, begin = parts(beside.channels, count)
    if not begin.shape[1]:
        return None
    tokens, known = (cells.flatten(2).mT[:, places(where)] for cells in (begin, course))
    return Along(tokens, known, begin.new_tensor(beside.text[STRENGTH]), deepcopy(scheduler))


def appended(x, channels, grid, strength: float, level, fps: float, factor: int, scale: int) -> list[Appended]:
    """What goes after the tokens of x [B, C, T, H, W], a control video last. grid [B, 3, N, 2]: where x's own lie;
    level: how noisy x is; factor: frames in a cell."""
    from einops import rearrange

    pictures, which, course, where, begin = parts(channels, x.shape[1])
    found, clean = [], x.new_zeros(())
    own = which[0, :, :, 0, 0].flatten().nonzero()[:, 0]  # cells with a picture
    if len(own):
        tokens = rearrange(pictures[:, :, own], "b c t h w -> b (t h w) c")
        first = (own - 1) * factor + which[0, 0, own, 0, 0].long()
        found.append(Appended(tokens, clean, at_frames(grid, first, x.shape[3] * x.shape[4], fps)))
    if len(at := places(where)):
        tokens, share, reach = course.flatten(2).mT[:, at], clean, grid[:, :, at]
        if begin.shape[1]:
            tokens = (1 - level) * tokens + level * begin.flatten(2).mT[:, at]
            share = 1 - x.new_tensor(strength)
        reach[:, 1:, :, 1] += (scale - 1) * (reach[:, 1:, :, 1] - reach[:, 1:, :, 0])
        found.append(Appended(tokens, share, reach))
    return found


def joined(tokens, t, grid, extra: list[Appended]) -> tuple["Tensor", "Tensor", "Tensor"]:
    """tokens [B, N, C], t [1 or B, N] and grid [B, 3, N, 2] with what goes after them."""
    import torch

    times = [(t.amax() * one.share).expand(len(t), one.tokens.shape[1]) for one in extra]
    tokens = torch.cat([tokens, *(one.tokens for one in extra)], dim=1)
    return tokens, torch.cat([t, *times], dim=1), torch.cat([grid, *(one.coordinates for one in extra)], dim=2)


def at_frames(grid: "Tensor", first: "Tensor", count: int, fps: float) -> "Tensor":
    """Where pictures lie that last one frame each, from frame `first` on. count: tokens of a picture."""
    import torch

    found = grid[:, :, :count].repeat(1, 1, len(first), 1)
    begin = first.repeat_interleave(count).float()
    found[:, 0] = torch.stack([begin, begin + 1], dim=-1) / fps
    return found


def parts(channels: "Tensor", count: int) -> list["Tensor"]:
    """Those of `beside`; what isn't there has no channels."""
    return list(channels.tensor_split([count, count + 1, 2 * count + 1, 2 * count + 2], dim=1))


def places(where: "Tensor") -> "Tensor":
    """The cells that are marked in [B, 1 or 0, T, H, W], by their numbers in the order (t h w)."""
    return where[:1].flatten().nonzero()[:, 0]
