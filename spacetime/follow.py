"""What a video follows without holding any of it: the course of another one, drawn as poses, depth or edges, and
pictures of what should appear in it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from .grid import cell_of, frames_of
from .names import CONTROL, FACE, REFERENCES
from .pixels import GRAY, Shown, drawn


@dataclass(frozen=True)
class Followed:
    """What is followed on a canvas of T latent frames, F frames.

    frames: chunks [1, height, width, 3] in 0..1 of the control video, blank where there is none; cells(scale=1): the
    same as raw latents [1, C, T, H / scale, W / scale], encoded when first asked for; where [T]: in which of them there
    is any of it. All None: no video is followed. faces: chunks of a face video, each of its own size, a black pixel
    where there is none; None: there is none anywhere.
    references: pictures [1, height, width, 3] in 0..1, each of its own size. size: (height, width) of the canvas.
    strength: how closely all of it is followed. encode: chunks → raw latents [1, C, 1, H, W].
    """

    size: tuple[int, int]
    encode: Callable[[Iterable[Tensor]], Iterator[Tensor]]
    frames: Callable[[], Iterator[Tensor]] | None = None
    cells: Callable[..., Tensor] | None = None
    where: Tensor | None = None
    faces: Callable[..., Iterator[Tensor]] | None = None
    references: tuple[Tensor, ...] = ()
    strength: float = 1.0

    def part(self, first: int, last: int) -> "Followed":
        """For latent frames `first` to `last` - 1 alone, as cells."""
        if self.cells is None:
            return self
        cells = lambda scale=1: self.cells(scale)[:, :, first:last]  # noqa: E731
        faces = self.faces and partial(self.faces, first, last)
        return replace(self, frames=None, cells=cells, where=self.where[first:last], faces=faces)


@dataclass(frozen=True)
class Control:
    """Under CONTROL in a LATENT: control videos at their places on a canvas of so many latent frames [T, H, W]."""

    shape: tuple[int, int, int]
    shown: tuple[Shown, ...]
    strength: float = 1.0


def followed_on(latent: dict, blank: float = GRAY) -> Followed | None:
    """None where the latent follows nothing. blank: how bright a control video is where there is none. Raises
    ValueError where its canvas is no longer that of its control."""
    control, references, encoder = latent.get(CONTROL), latent.get(REFERENCES, ()), latent.get("encoder")
    if control is None and not references:
        return None
    if latent.get("ring"):
        raise ValueError("a loop made anew follows no control video and no reference images; give Loop a clip to close")
    latent_frames, *cells = shape = tuple(latent["samples"].shape[-3:])
    size = tuple(side * encoder.space_factor for side in cells)
    if control is None:
        return Followed(size, encoder.stream, references=references)
    if shape != control.shape:
        was, now = ("×".join(map(str, one)) for one in (control.shape, shape))
        raise ValueError(
            f"the control video lies on a canvas of {was} latent cells, this one has {now}: wire Control Video last, "
            "right before Sample"
        )
    count, where = frames_of(latent_frames, encoder.time_factor), torch.zeros(latent_frames, dtype=torch.bool)
    for one in control.shown:
        last = one.first + one.source.frame_count - 1
        where[cell_of(one.first, encoder.time_factor) : cell_of(last, encoder.time_factor) + 1] = True

    def frames() -> Iterator[Tensor]:
        return drawn(control.shown, count, size, blank)

    def faces(first: int = 0, last: int = latent_frames) -> Iterator[Tensor]:
        factor = encoder.time_factor
        return islice(drawn(latent[FACE], count, (1, 1), 0.0), first * factor, frames_of(last, factor))

    @lru_cache(1)
    def encoded(scale: int = 1) -> Tensor:
        return torch.cat(list(encoder.stream(smaller(frame, scale) for frame in frames())), dim=2)

    shown = frames, encoded, where, faces if FACE in latent else None
    return Followed(size, encoder.stream, *shown, references, control.strength)


def smaller(picture: Tensor, scale: int) -> Tensor:
    """[N, height, width, 3] → [N, height / scale, width / scale, 3], of means."""
    return picture if scale == 1 else avg_pool2d(picture.movedim(-1, 1), scale).movedim(1, -1)
