"""A local video or image file → frames and facts, as a stream.

Files come from strangers: the container is told from its first bytes and never guessed by libav, which would follow a
playlist or a URL; only the `file` protocol is open; sizes are checked before a picture is decoded.
"""

import bisect
import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from . import color
from .sniff import IMAGES, MAX_PIXELS, READABLE, MediaError, check_size, cut_short, local_file, sniff

PAUSE = Fraction(1, 20)  # seconds by which sound may lag its timestamps, which are rounded, before it counts as a pause
# PyAV 19 forgives tags that aren't UTF-8 by itself and no longer has the option
FORGIVING = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}


@dataclass(frozen=True)
class Facts:
    """What a file holds, measured, not what its header promises."""

    width: int  # as shown: after rotation, and of pixels that aren't square made square
    height: int
    fps: Fraction  # the constant rate, or the average of a variable one
    frame_count: int  # on the constant grid of `fps`
    duration: Fraction  # seconds
    rotation: int  # degrees counter-clockwise, already applied to frames and size
    has_audio: bool
    hdr: bool  # PQ or HLG; frames come tone-mapped to BT.709
    variable: bool  # the source's frames are unevenly spaced: some are repeated or left out to make them even
    container: str


def open_video(path: str | os.PathLike) -> "VideoFile":
    """Check and measure a file: nothing, half a download, sound only, a playlist or a bomb is one clear line here."""
    path = local_file(path)
    kind = sniff(path)
    reader = _ImageReader(path, kind) if kind in IMAGES else _StreamReader(path, kind)
    return VideoFile(path, reader)


class VideoFile:
    """An opened file: `facts`, and `frames()` as often as wanted."""

    def __init__(self, path: Path, reader: "_StreamReader | _ImageReader"):
        self.path = path
        self.reader = reader
        times, tick = reader.times, reader.tick
        self.still = isinstance(reader, _ImageReader) and len(times) == 1
        last = max(reader.last_duration, Fraction(0))
        fps, variable = _rate(times, tick, reader.rates, last)
        duration = times[-1] + (last or 1 / fps) if variable or len(times) == 1 else len(times) / fps
        self.tolerance = min(float(max(tick, Fraction(1, 1000))) * 1.01, float(0.49 / fps))
        self.facts = Facts(
            width=reader.width,
            height=reader.height,
            fps=fps,
            frame_count=grid_count(duration, fps) if variable else len(times),
            duration=duration,
            rotation=reader.rotation,
            has_audio=reader.has_audio,
            hdr=reader.hdr,
            variable=variable,
            container=reader.container,
        )

    def count_at(self, fps: Fraction) -> int:
        """How many frames the file has on the grid of another rate: a picture is one at any."""
        if self.still:
            return 1
        return self.facts.frame_count if fps == self.facts.fps else grid_count(self.facts.duration, fps)

    def frames(self, fps: Fraction | None = None, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        """uint8 [1, height, width, 3] for the frames `first`…`last` of an even grid of `fps` (None: the file's own).

        At each grid time stands the picture a player would show then, so uneven footage comes out even.
        """
        fps = Fraction(fps or self.facts.fps)
        last = self.count_at(fps) if last is None else min(last, self.count_at(fps))
        if first >= last:
            return
        times = [float(time) for time in self.reader.times]
        wanted = [
            max(bisect.bisect_right(times, float(index / fps) + self.tolerance) - 1, 0) for index in range(first, last)
        ]
        position = 0
        for source, picture in self.reader.pictures(wanted[0]):
            while position < len(wanted) and wanted[position] <= source:
                yield picture[None]
                position += 1
            if position == len(wanted):
                return
        raise MediaError(
            f"{self.path.name} is damaged: it ends after {first + position} of {last} frames; download or copy it again"
        )


def grid_count(duration: Fraction, fps: Fraction) -> int:
    """Grid times inside the video; one that only the last quarter of an interval reaches is rounding, not footage."""
    return max(math.ceil(duration * fps - Fraction(1, 4)), 1)


def _rate(times: list[Fraction], tick: Fraction, named: list, last: Fraction) -> tuple[Fraction, bool]:
    """The simplest rate whose even grid fits every timestamp, else the average one; and whether it is the latter."""
    named = [Fraction(rate) for rate in named if rate]
    if len(times) < 2 or times[-1] <= 0:
        return (named or [1 / last if last else Fraction(1)])[0], False
    tolerance = float(max(tick, Fraction(1, 1000))) * 1.01
    plain = [rate for rate in named if rate.denominator <= 1001]
    mean = (len(times) - 1) / times[-1]
    for rate in (*plain, *_simple_rates(mean), mean.limit_denominator(1001)):
        if rate > 0 and all(abs(float(time) - index / float(rate)) <= tolerance for index, time in enumerate(times)):
            return rate, False
    shortest = min(b - a for a, b in itertools.pairwise(times))  # frames on an even grid, some held for longer
    if shortest > 4 * tolerance:
        for rate in (*plain, *_simple_rates(1 / shortest)):
            if all(abs(float(time) - round(time * rate) / float(rate)) <= tolerance for time in times):
                return rate, True
    return (len(times) / (times[-1] + (last or 1 / mean))).limit_denominator(1001), True


def _simple_rates(rate: Fraction) -> tuple[Fraction, Fraction]:
    """The nearest whole rate, and the nearest of NTSC's kind (24000/1001)."""
    return Fraction(max(round(rate), 1)), Fraction(max(round(rate * Fraction(1001, 1000)), 1) * 1000, 1001)


# containers of streams, by libav


@contextmanager
def open_container(path: Path, kind: str) -> Iterator[av.container.InputContainer]:
    """libav on exactly this file, as exactly this format."""
    try:
        container = av.open(f"file:{path}", format=kind, options={"protocol_whitelist": "file"}, **FORGIVING)
    except av.FFmpegError as error:
        cut = "is cut short" if cut_short(path, kind) else f"can't be read as {kind} ({error.strerror})"
        raise MediaError(f"{path.name} {cut}; download or copy it again, {READABLE} would be right") from error
    with container:
        yield container


class _StreamReader:
    def __init__(self, path: Path, kind: str):
        self.path, self.kind = path, kind
        if cut_short(path, kind):
            raise MediaError(f"{path.name} is cut short: fewer bytes than it announces; download or copy it again")
        with self._open() as (container, stream):
            context = stream.codec_context
            check_size(path, context.width, context.height)
            self.container = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}.get(kind, kind)
            self.has_audio = len(container.streams.audio) > 0
            self.hdr = color.is_hdr(context)
            self.transfer = int(context.color_trc) if self.hdr else None
            self.tick = stream.time_base
            self.rates = [stream.average_rate, stream.guessed_rate]
            shape = _pixel_shape(stream)
            check_size(path, round(context.width * shape), context.height)
            ticks, durations = self._timestamps(container, stream)
            if not ticks:
                raise MediaError(f"{path.name} has a video track without frames")
            order = sorted(range(len(ticks)), key=ticks.__getitem__)
            self.first_tick = ticks[order[0]]
            self.times = [(ticks[i] - self.first_tick) * self.tick for i in order]
            self.last_duration = durations[order[-1]] * self.tick
        self.rotation, self.width, self.height = 0, 0, 0
        for _, frame in self._decoded(0):
            self.rotation = getattr(frame, "rotation", 0) % 360
            size = (max(1, round(frame.width * shape)), frame.height)
            self.width, self.height = size[::-1] if self.rotation % 180 else size
            return
        raise MediaError(f"{path.name} holds no frame that can be decoded; download or copy it again")

    @contextmanager
    def _open(self):
        with open_container(self.path, self.kind) as container:
            streams = [s for s in container.streams.video if not _is_cover(s)]
            if not streams:
                sound = "sound but no picture" if container.streams.audio else "no video"
                raise MediaError(f"{self.path.name} holds {sound}; a file with a video track would be right")
            streams[0].codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            yield container, streams[0]

    def _timestamps(self, container, stream) -> tuple[list[int], list[int]]:
        """Of every packet, without decoding: presentation time and duration in ticks."""
        ticks, durations = [], []
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    tick = packet.pts if packet.pts is not None else packet.dts
                    ticks.append(tick if tick is not None else (ticks[-1] + durations[-1] if ticks else 0))
                    durations.append(packet.duration or 0)
        except av.FFmpegError as error:
            raise MediaError(f"{self.path.name} is damaged ({error.strerror}); download or copy it again") from error
        return ticks, durations

    def _decoded(self, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(index, frame) from the key frame before `first` on."""
        with self._open() as (container, stream):
            stream.thread_type = "AUTO"
            if first > 0:
                container.seek(self.first_tick + int(self.times[first] / self.tick), stream=stream)
            index = -1
            try:
                for frame in container.decode(stream):
                    if frame.pts is not None:
                        time = (frame.pts - self.first_tick) * frame.time_base
                        index = max(bisect.bisect_left(self.times, time - self.tick / 2), index + 1)
                    else:
                        index += 1
                    yield min(index, len(self.times) - 1), frame
            except av.FFmpegError as error:
                raise MediaError(
                    f"{self.path.name} is damaged after frame {index + 1} ({error.strerror}); download or copy it again"
                ) from error

    def pictures(self, first: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        for index, frame in self._decoded(first):
            if index >= first:
                picture = np.rot90(color.to_rgb(frame, self.transfer), self.rotation // 90)
                yield index, _fit(np.ascontiguousarray(picture), self.width, self.height)

    def audio(self) -> dict | None:
        """ComfyUI's audio: {"waveform": [1, channels, samples], "sample_rate"}, from the first picture on.

        Sound that begins later, or pauses, is silent until then.
        """
        import torch

        if not self.has_audio:
            return None
        chunks, there, begin = [], 0, self.first_tick * self.tick
        with open_container(self.path, self.kind) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", layout="mono" if stream.channels == 1 else "stereo")
            end = round((self.times[-1] + self.last_duration) * stream.rate)  # no timestamp makes silence beyond it
            try:
                for frame in container.decode(stream):
                    time = there if frame.time is None else round((Fraction(frame.time) - begin) * stream.rate)
                    for part in resampler.resample(frame):
                        samples, late = part.to_ndarray(), min(time, end) - there
                        if late < 0 and not there:
                            samples = samples[:, -late:]
                        elif late > (PAUSE * stream.rate if there else 0):
                            samples = np.pad(samples, ((0, 0), (late, 0)))
                        chunks.append(samples)
                        there += samples.shape[1]
                        time += part.samples
            except av.FFmpegError as error:
                raise MediaError(f"the sound of {self.path.name} is damaged ({error.strerror})") from error
            if not there:
                return None
            waveform = torch.from_numpy(np.concatenate(chunks, axis=1))[None]
            return {"waveform": waveform, "sample_rate": stream.rate}


def _pixel_shape(stream) -> Fraction:
    """Width of a pixel in its heights; anamorphic footage has others than squares. What no player believes is 1."""
    shape = Fraction(stream.sample_aspect_ratio or 1)
    return shape if Fraction(1, 4) <= shape <= 4 else Fraction(1)


def _is_cover(stream) -> bool:
    """A still beside sound: album art."""
    disposition = getattr(stream, "disposition", None)
    return bool(disposition is not None and "attached_pic" in str(disposition).lower())


def _fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """To the size that is shown: some streams change theirs midway, and some have pixels that aren't square."""
    if picture.shape[:2] == (height, width):
        return picture
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(width=width, height=height, interpolation="BICUBIC").to_ndarray()


# images and animated images, by Pillow, which knows their disposal, blending and EXIF


class _ImageReader:
    rotation, has_audio, hdr = 0, False, False
    rates: tuple = ()

    def __init__(self, path: Path, kind: str):
        self.path, self.container = path, kind
        self.tick = Fraction(1, 100) if kind == "gif" else Fraction(1, 1000)
        if cut_short(path, kind):
            raise MediaError(f"{path.name} is cut short: fewer bytes than it announces; download or copy it again")
        durations = []
        for picture, duration in self._decoded():
            if not durations:
                self.height, self.width = picture.shape[:2]
            durations.append(duration)
        self.times = [Fraction(0), *itertools.accumulate(durations[:-1])]
        self.last_duration = durations[-1]

    def _decoded(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        from PIL import Image, ImageOps, ImageSequence

        try:
            with Image.open(self.path, formats=[self.container.upper()]) as image:
                check_size(self.path, *image.size)
                for frame in ImageSequence.Iterator(image):
                    frame.load()  # a webp knows its delay only then
                    duration = Fraction(frame.info.get("duration") or 100) / 1000  # browsers show a delay of 0 as 0.1 s
                    frame = ImageOps.exif_transpose(frame)
                    if frame.mode in ("RGBA", "LA", "PA") or "transparency" in frame.info:
                        frame = frame.convert("RGBA")
                        frame = Image.alpha_composite(Image.new("RGBA", frame.size, "black"), frame)
                    yield np.array(frame.convert("RGB")), duration
        except MediaError:
            raise
        except (Image.DecompressionBombError, MemoryError) as error:
            raise MediaError(f"{self.path.name} is too large to decode ({error})") from error
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise MediaError(
                f"{self.path.name} is cut short or damaged ({str(error).splitlines()[0]}); download or copy it again"
            ) from error

    def pictures(self, first: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        for index, (picture, _) in enumerate(self._decoded()):
            if index >= first:
                yield index, _fit(np.ascontiguousarray(picture), self.width, self.height)

    def audio(self) -> None:
        return None
