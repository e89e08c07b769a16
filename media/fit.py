"""Any video brought to a canvas's size and frame rate, still as a stream; what changed is said in words."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from .video import FileVideo, StreamVideo

if TYPE_CHECKING:
    import torch

FITS = ("cover", "contain", "stretch")


def fitted(video: StreamVideo, width: int, height: int, fps: float | None, fit: str) -> tuple[StreamVideo, list[str]]:
    """The video at width × height and `fps` (None: its own), and what was done to it.

    fit: "cover" fills the frame and crops, "contain" shows all of it on a blurred copy of itself, "stretch" bends it.
    Frames that already fit are passed on bit for bit.
    """
    if fit not in FITS:
        raise ValueError(f"fit {fit!r} can't be; one of {', '.join(FITS)}")
    said, source = [], video
    rate = Fraction(fps).limit_denominator(1001) if fps else video.fps
    if rate != video.fps:
        if not (type(video) is FileVideo and video.file.still):
            said.append(f"{float(video.fps):g} frames per second → {float(rate):g}")
        video = _at_rate(video, rate)
    if (video.width, video.height) != (width, height):
        said.append(f"{source.width}×{source.height} → {width}×{height} ({fit})")
        inner = video
        video = StreamVideo(
            lambda: (resized(chunk, width, height, fit) for chunk in inner.frames()),
            width=width,
            height=height,
            frame_count=inner.frame_count,
            fps=rate,
            audio=source.get_audio,
        )
    return video, said


def resized(frames: "torch.Tensor", width: int, height: int, fit: str, behind: bool = True) -> "torch.Tensor":
    """[n, h, w, c] in 0..1 → [n, height, width, c], antialiased. behind: what "contain" leaves empty is the blurred
    copy, else 0."""
    h, w = frames.shape[1:3]
    wide, high = Fraction(width, w), Fraction(height, h)
    if fit == "stretch" or wide == high:
        return _scaled(frames, width, height)
    if fit == "cover":
        scale = max(wide, high)
        big = _scaled(frames, math.ceil(w * scale), math.ceil(h * scale))
        top, left = (big.shape[1] - height) // 2, (big.shape[2] - width) // 2
        return big[:, top : top + height, left : left + width]
    scale = min(wide, high)
    small = _scaled(frames, max(1, round(w * scale)), max(1, round(h * scale)))
    back = frames.new_zeros(len(frames), height, width, frames.shape[3])
    if behind:
        back = _scaled(_scaled(resized(frames, width, height, "cover"), 4, 4), width, height)
    top, left = (height - small.shape[1]) // 2, (width - small.shape[2]) // 2
    back[:, top : top + small.shape[1], left : left + small.shape[2]] = small
    return back


def bordered(video: StreamVideo, left: int, top: int, right: int, bottom: int) -> StreamVideo:
    """The video with so many pixels of its own edges drawn out on each side."""
    from torch.nn.functional import pad

    def grown(chunk):
        return pad(chunk.permute(0, 3, 1, 2), [left, right, top, bottom], mode="replicate").permute(0, 2, 3, 1)

    return StreamVideo(
        lambda: (grown(chunk) for chunk in video.frames()),
        width=video.width + left + right,
        height=video.height + top + bottom,
        frame_count=video.frame_count,
        fps=video.fps,
        audio=video.get_audio,
    )


def _scaled(frames: "torch.Tensor", width: int, height: int) -> "torch.Tensor":
    from torch.nn.functional import interpolate

    if frames.shape[1:3] == (height, width):
        return frames.clone()
    planes = frames.permute(0, 3, 1, 2)
    planes = interpolate(planes, size=(height, width), mode="bicubic", antialias=True)
    return planes.clamp(0, 1).permute(0, 2, 3, 1)


def _at_rate(video: StreamVideo, rate: Fraction) -> StreamVideo:
    """At each time of the new grid stands the frame a player would show then."""
    if type(video) is FileVideo:
        return FileVideo(video.file.path, fps=rate)
    from .read import grid_count

    count = grid_count(video.frame_count / Fraction(video.fps), rate)

    def frames() -> "Iterator[torch.Tensor]":
        index = 0
        for position, frame in enumerate(frame for chunk in video.frames() for frame in chunk):
            while index < count and min(int(index / rate * video.fps), video.frame_count - 1) <= position:
                yield frame[None]
                index += 1

    return StreamVideo(
        frames, width=video.width, height=video.height, frame_count=count, fps=rate, audio=video.get_audio
    )
