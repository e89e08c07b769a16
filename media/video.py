"""VIDEO: objects with the methods of ComfyUI's VideoInput that hold no frames, only the way to them."""

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from . import sound

if TYPE_CHECKING:
    import torch


@dataclass
class VideoComponents:
    """What ComfyUI's class of this name holds, where ComfyUI isn't."""

    images: "torch.Tensor"  # [F, height, width, 3]
    frame_rate: Fraction
    audio: dict | None = None
    metadata: dict | None = None


def components_class() -> type:
    if "comfy_api" not in sys.modules:
        return VideoComponents
    from comfy_api.util import VideoComponents as theirs

    return theirs


class StreamVideo:
    """A video that is made while it is read: `frames()` starts it anew, in chunks float [n, height, width, 3] of 0–1.

    Saving pulls one chunk at a time; only `get_components` gathers them all, because a graph asked for them. `audio`
    may be a function, too, that is called when the sound is first asked for.
    """

    def __init__(
        self,
        frames: "Callable[[], Iterator[torch.Tensor]]",
        *,
        width: int,
        height: int,
        frame_count: int,
        fps: Fraction | float,
        audio: dict | Callable[[], dict | None] | None = None,
        metadata: dict | None = None,
    ):
        self.frames = frames
        self.width = width
        self.height = height
        self.frame_count = frame_count
        self.fps = Fraction(fps).limit_denominator(1001)
        self.audio = audio
        self.metadata = metadata

    def get_dimensions(self) -> tuple[int, int]:
        return self.width, self.height

    def get_frame_count(self) -> int:
        return self.frame_count

    def get_frame_rate(self) -> Fraction:
        return self.fps

    def get_duration(self) -> float:
        return float(self.frame_count / self.fps)

    def get_bit_depth(self) -> int:
        return 8

    def get_color_space(self) -> str:
        return "sRGB"

    def get_active_trim_window(self) -> tuple[float, float]:
        return 0.0, 0.0

    def get_container_format(self) -> str:
        return "mov,mp4,m4a,3gp,3g2,mj2"

    def get_audio(self) -> dict | None:
        if callable(self.audio):
            self.audio = self.audio()
        return self.audio

    def get_components(self):
        import torch

        images = torch.empty(self.frame_count, self.height, self.width, 3)
        filled = 0
        for chunk in self.frames():
            count = min(len(chunk), self.frame_count - filled)
            images[filled : filled + count] = chunk[:count]
            filled += count
        return components_class()(images=images[:filled], audio=self.get_audio(), frame_rate=self.fps)

    def get_stream_source(self) -> io.BytesIO | str:
        buffer = io.BytesIO()
        self.save_to(buffer)
        buffer.seek(0)
        return buffer

    def save_to(
        self,
        path: str | os.PathLike | io.IOBase,
        format: str = "auto",
        codec: str = "auto",
        metadata: dict | None = None,
        bit_depth: int | None = None,
        crf: float | None = None,
        color_space: str | None = None,
        preset: str | None = None,
        *,
        quality: int = 80,
        on_frame: Callable[[int], None] | None = None,
        notice: Callable[[str], None] = warnings.warn,
    ) -> None:
        """Stream into a file. `format` and `codec` are ComfyUI's names, or one of ours ("webm (VP9)")."""
        from .write import write_video

        write_video(
            path,
            self.frames(),
            width=self.width,
            height=self.height,
            fps=self.fps,
            format=format_for(path, format, codec),
            quality=quality,
            crf=crf,
            metadata=metadata if metadata is not None else self.metadata,
            audio=self.get_audio(),
            on_frame=on_frame,
            notice=notice,
        )

    def as_trimmed(
        self, start_time: float | None = None, duration: float | None = None, strict_duration: bool = False
    ) -> "StreamVideo | None":
        """The part from `start_time` (negative: from the end) on, `duration` seconds long (0 or None: to the end)."""
        total = self.get_duration()
        start = start_time or 0.0
        start = max(total + start, 0.0) if start < 0 else start
        if strict_duration and duration and start + duration > total + 1e-6:
            return None
        first = min(round(start * self.fps), self.frame_count)
        last = min(first + round(duration * self.fps), self.frame_count) if duration else self.frame_count
        if last <= first:
            return None
        return StreamVideo(
            lambda: self.part(first, last),
            width=self.width,
            height=self.height,
            frame_count=last - first,
            fps=self.fps,
            audio=lambda: sound.cut(self.get_audio(), first / self.fps, last / self.fps),
            metadata=self.metadata,
        )

    def part(self, first: int, last: int) -> "Iterator[torch.Tensor]":
        """Frames `first` to `last` - 1."""
        position = 0
        for chunk in self.frames():
            begin, end = max(first - position, 0), min(last - position, len(chunk))
            if begin < end:
                yield chunk[begin:end]
            position += len(chunk)
            if position >= last:
                return

    def as_cropped(self, x: int = 0, y: int = 0, width: int = 0, height: int = 0) -> "StreamVideo":
        """A rectangle of the picture, kept inside it and even-sided as ComfyUI's is; an empty one is the whole."""
        x, y = min(max(x, 0), self.width - 1) // 2 * 2, min(max(y, 0), self.height - 1) // 2 * 2
        width, height = min(width, self.width - x) // 2 * 2, min(height, self.height - y) // 2 * 2
        if width <= 0 or height <= 0 or (width, height) == (self.width, self.height):
            return self
        return StreamVideo(
            lambda: (chunk[:, y : y + height, x : x + width] for chunk in self.frames()),
            width=width,
            height=height,
            frame_count=self.frame_count,
            fps=self.fps,
            audio=self.get_audio,
            metadata=self.metadata,
        )


def format_for(path, format: str, codec: str) -> str:
    """ComfyUI's (format, codec) and the file's suffix → one of our choices."""
    from .formats import FORMATS

    format, codec = (str(getattr(name, "value", name) or "auto").lower() for name in (format, codec))
    for choice in FORMATS:
        if format == choice.lower():
            return choice
    if format == "auto" and isinstance(path, (str, os.PathLike)):
        format = Path(path).suffix.lstrip(".").lower() or "auto"
    known = {
        ("auto", "auto"): "mp4 (H.264)",
        ("auto", "h264"): "mp4 (H.264)",
        ("mp4", "auto"): "mp4 (H.264)",
        ("mp4", "h264"): "mp4 (H.264)",
        ("webm", "auto"): "webm (VP9)",
        ("webm", "vp9"): "webm (VP9)",
        ("webm", "av1"): "webm (AV1)",
        ("gif", "auto"): "gif",
        ("webp", "auto"): "webp",
    }
    if (format, codec) not in known:
        raise ValueError(f"can't write {codec} video into {format}; one of {', '.join(FORMATS)} would be right")
    return known[format, codec]


class FileVideo(StreamVideo):
    """A video file as VIDEO: opened and measured at once, decoded when asked.

    Its frames stand on an even grid: `fps` if given, else the file's own rate; footage of variable rate is made even.
    """

    def __init__(self, path: str | os.PathLike, fps: Fraction | float | None = None):
        from .read import open_video

        self.file = open_video(path)
        self.facts = self.file.facts
        fps = Fraction(fps).limit_denominator(1001) if fps else self.facts.fps
        super().__init__(
            self._stream,
            width=self.facts.width,
            height=self.facts.height,
            frame_count=self.file.count_at(fps),
            fps=fps,
        )
        self.fps = fps

    def _stream(self, first: int = 0, last: int | None = None) -> "Iterator[torch.Tensor]":
        import torch

        for picture in self.file.frames(self.fps, first, last):
            yield torch.from_numpy(picture).float().div_(255)

    def get_audio(self) -> dict | None:
        if self.audio is None:
            self.audio = self.file.reader.audio()
        return self.audio

    def get_container_format(self) -> str:
        return self.facts.container

    def get_stream_source(self) -> str:
        return str(self.file.path)

    def part(self, first: int, last: int) -> "Iterator[torch.Tensor]":
        return self._stream(first, last)  # seeks, instead of decoding all that lies before


def as_stream(video) -> StreamVideo:
    """Any VIDEO → one of ours. ComfyUI's own are read through their file where they have one, else as they are."""
    if isinstance(video, StreamVideo):
        return video
    source = getattr(video, "get_stream_source", lambda: None)() if _is_whole_file(video) else None
    if isinstance(source, (str, os.PathLike)) and _we_read(source):
        return FileVideo(source)
    components = video.get_components()
    images = components.images
    return StreamVideo(
        lambda: (images[i : i + 1, ..., :3] for i in range(len(images))),
        width=images.shape[2],
        height=images.shape[1],
        frame_count=len(images),
        fps=components.frame_rate,
        audio=components.audio,
    )


def _we_read(source: str | os.PathLike) -> bool:
    """False for a container that only the video's owner reads."""
    from .sniff import MediaError, sniff

    try:
        sniff(Path(source))
    except MediaError:
        return False
    return True


def _is_whole_file(video) -> bool:
    """ComfyUI's VIDEO over a file, with no trim or crop set; anything else is asked for its frames."""
    if type(video).__name__ != "VideoFromFile":
        return False
    return not any(value for name, value in vars(video).items() if not name.endswith("__file"))
