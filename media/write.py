"""Frames → a file, one chunk at a time: no format ever holds the whole video in memory.

The same frames give the same bytes: thread counts are fixed, and neither time, machine nor a random id is written.
"""

import io
import json
import math
import os
import re
import shutil
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from . import color, names
from .formats import FORMATS, PNG, Format, codec_options

THREADS = 4  # x264's output depends on the number of threads, so it must not depend on the machine


def write_video(
    target: str | os.PathLike | io.IOBase,
    frames: Iterable,
    *,
    width: int,
    height: int,
    fps: Fraction,
    format: str = "mp4 (H.264)",
    quality: int = 80,
    crf: float | None = None,
    metadata: dict | None = None,
    audio: dict | None = None,
    on_frame: Callable[[int], None] | None = None,
    notice: Callable[[str], None] = warnings.warn,
) -> None:
    """Encode `frames` (chunks [n, height, width, 3], float 0–1 or uint8) into `target`, a path or a writable file.

    A path is written whole or left as it was. `crf` overrules `quality` where the codec has it.
    `metadata` maps names ("workflow", "prompt") to JSON values.
    """
    pictures = _pictures(frames, width, height, on_frame, notice)
    options = codec_options(format, quality) | ({} if crf is None else {"crf": f"{crf:g}"})
    settings = (pictures, width, height, fps, format, options, metadata or {}, audio, notice)
    if not isinstance(target, (str, os.PathLike)):
        _encode(target, *settings)
        return
    path = Path(target)
    with names.whole(path) as temporary:
        _encode(temporary, *settings)
        with names.explained(path):
            os.replace(temporary, path)


def save_numbered(
    folder: Path,
    stem: str,
    frames: Iterable,
    *,
    width: int,
    height: int,
    fps: Fraction,
    frame_count: int | None = None,
    format: str = "mp4 (H.264)",
    quality: int = 80,
    metadata: dict | None = None,
    audio: dict | None = None,
    on_frame: Callable[[int], None] | None = None,
    notice: Callable[[str], None] = warnings.warn,
) -> Path:
    """Like `write_video`, under the next free name `stem_00001_`. One frame is a PNG, a sequence a folder of them."""
    pictures = _pictures(frames, width, height, on_frame, notice)
    metadata = metadata or {}
    with names.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sequence = FORMATS[format] is FORMATS["png sequence"] and frame_count != 1
    suffix = PNG.suffix if frame_count == 1 else FORMATS[format].suffix
    with names.whole(folder / (stem + suffix), folder=sequence) as temporary:
        if sequence:
            for number, picture in enumerate(pictures, 1):
                write_png(temporary / f"{number:05}.png", picture, metadata, folder)
            if not any(temporary.iterdir()):
                raise ValueError("the video has no frames to save")
        elif frame_count == 1:
            write_png(temporary, next(pictures), metadata, folder)
        else:
            options = codec_options(format, quality)
            _encode(temporary, pictures, width, height, fps, format, options, metadata, audio, notice)
        return names.publish_numbered(temporary, folder, stem, suffix)


def to_uint8(chunk) -> tuple[np.ndarray, bool]:
    """Float 0–1 (torch or numpy) → uint8, halves rounded up; and whether there were NaN pixels, which become black."""
    if hasattr(chunk, "detach"):
        chunk = chunk.detach().cpu()
        chunk = chunk.numpy() if str(chunk.dtype) == "torch.uint8" else chunk.float().numpy()
    if chunk.dtype == np.uint8:
        return chunk, False
    scaled = chunk.astype(np.float32) * 255 + 0.5
    broken = bool(np.isnan(scaled).any())
    return np.nan_to_num(scaled, nan=0, posinf=255, neginf=0).clip(0, 255).astype(np.uint8), broken


def _pictures(frames, width, height, on_frame, notice) -> Iterator[np.ndarray]:
    """Chunks → uint8 pictures [height, width, 3], one by one."""
    count, warned = 0, False
    for chunk in frames:
        if chunk.ndim != 4 or tuple(chunk.shape[1:3]) != (height, width) or chunk.shape[3] not in (1, 3, 4):
            raise ValueError(f"frames of shape {tuple(chunk.shape)}; [n, {height}, {width}, 3] would be right")
        pictures, broken = to_uint8(chunk)
        if broken and not warned:
            warned = True
            notice(
                f"frame {count + 1} holds NaN pixels, saved as black: the VAE overflowed; load it with dtype float32"
            )
        if pictures.shape[3] == 1:
            pictures = pictures.repeat(3, axis=3)
        for picture in pictures[..., :3]:
            yield np.ascontiguousarray(picture)
            count += 1
            if on_frame:
                on_frame(count)


def _encode(target, pictures, width, height, fps, format, options, metadata, audio, notice) -> None:
    """Run one of the libav formats into a path or a file object."""
    form, place = FORMATS[format], target.parent if isinstance(target, Path) else "the buffer"
    if form.codec is None:
        raise ValueError("a png sequence is a folder; save it with the Spacetime Save Video node")
    fps = Fraction(fps).limit_denominator(1001)
    if fps <= 0:
        raise ValueError(f"{float(fps):g} frames per second; a positive rate like 24 would be right")
    first = next(pictures, None)
    if first is None:
        raise ValueError("the video has no frames to save")
    if audio is not None and not audio["waveform"].shape[-1]:  # a part of a video after its sound has ended
        audio = None
    if audio is not None and form.audio is None:
        notice(f"{format} carries no sound; mp4 or webm would keep it")
        audio = None
    if form.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # or it writes its banner to stderr
    muxing = {"fflags": "+bitexact"}
    if form.container == "mp4":
        muxing["movflags"] = "use_metadata_tags" + ("+faststart" if isinstance(target, Path) else "")
    if form.container == "webp":
        muxing["loop"] = "0"
    file = str(target) if isinstance(target, Path) else target

    with _encoding(place, format, width, height):
        container = av.open(file, "w", format=form.container, container_options=muxing)
    try:
        for key, value in metadata.items() if form.container in ("mp4", "webm") else ():
            container.metadata[key] = as_json(value)
        with _encoding(place, format, width, height):
            stream = _video_stream(container, width, height, fps, format, options, notice)
            sound = _Sound(container, form, audio) if audio is not None else None
        to_frame = _frame_maker(format, options, stream)
        last_pts = -1
        for index, picture in enumerate(_chain(first, pictures)):
            pts = _gif_time(index, fps, last_pts) if format == "gif" else index
            if pts is None:
                continue
            frame = to_frame(picture)
            frame.pts, frame.time_base = pts, stream.codec_context.time_base
            last_pts = pts
            with _encoding(place, format, width, height):
                container.mux(stream.encode(frame))
                if sound:
                    sound.encode_until((index + 1) / fps)
        with _encoding(place, format, width, height):
            container.mux(stream.encode(None))
            if sound:
                sound.finish()
            container.close()
    except BaseException:
        with _quiet():
            container.close()
        raise
    if isinstance(target, Path) and metadata:
        with names.explained(place):
            if format == "gif":
                _insert_gif_comment(target, metadata)
            elif format == "webp":
                _append_webp_exif(target, metadata)


def _chain(first, rest):
    yield first
    yield from rest


def _video_stream(container, width, height, fps, format, options, notice):
    form = FORMATS[format]
    pix_fmt = form.pix_fmt
    if form.codec == "libsvtav1" and min(width, height) < 32:  # SVT-AV1 4.0 waits for ever on a strip of 16×128
        raise ValueError(f"AV1 takes no side below 32 pixels, this is {width}×{height}; webm (VP9) would be right")
    if form.codec == "libx264" and (width % 2 or height % 2):
        # 4:2:0 H.264 can only crop by whole chroma samples, so an odd size needs 4:4:4 to keep every pixel
        pix_fmt = "yuv444p"
        notice(f"{width}×{height} is odd, so the mp4 is 4:4:4, which not all players show; even sizes play everywhere")
    try:
        stream = container.add_stream(form.codec, rate=fps, options={} if format == "gif" else options)
    except av.codec.codec.UnknownCodecError as error:
        raise ValueError(
            f"the installed PyAV can't encode {format} (no {form.codec}); `pip install -U av` brings it"
        ) from error
    stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
    context = stream.codec_context
    context.time_base = Fraction(1, 100) if format == "gif" else 1 / fps
    context.thread_count = THREADS
    if pix_fmt.startswith("yuv"):
        color.tag(context)
    return stream


def _frame_maker(format: str, options: dict, stream) -> Callable[[np.ndarray], av.VideoFrame]:
    if format == "gif":
        return _gif_palette(stream.width, stream.height, options["max_colors"])
    if format == "webp":
        return lambda picture: av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgra")
    return lambda picture: color.to_yuv(picture, stream.pix_fmt)


def _gif_palette(width: int, height: int, max_colors: str) -> Callable[[np.ndarray], av.VideoFrame]:
    """A palette of its own for every frame: one for the whole clip would need the whole clip first."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, 100))
    split = graph.add("split")
    palette = graph.add("palettegen", f"stats_mode=single:max_colors={max_colors}:reserve_transparent=0")
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=5")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    count = 0

    def paint(picture: np.ndarray) -> av.VideoFrame:
        nonlocal count
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base, count = count, Fraction(1, 100), count + 1
        graph.push(frame)  # by the graph, which must outlive its filters
        return graph.pull()

    return paint


def _gif_time(index: int, fps: Fraction, last: int) -> int | None:
    """Hundredths of a second. Browsers slow any delay below 2 down to 10, so faster frames are left out."""
    pts = round(index * 100 / fps)
    return pts if last < 0 or pts - last >= 2 else None


class _Sound:
    """ComfyUI's audio dict, encoded step by step beside the pictures so that the two lie interleaved."""

    def __init__(self, container, form: Format, audio: dict):
        waveform = audio["waveform"]
        waveform = np.asarray(waveform.detach().cpu().float() if hasattr(waveform, "detach") else waveform)
        self.samples = np.ascontiguousarray(waveform.reshape(-1, *waveform.shape[-2:])[0][:2], dtype=np.float32)
        self.rate = int(audio["sample_rate"])
        self.container = container
        self.layout = "mono" if self.samples.shape[0] == 1 else "stereo"
        self.stream = container.add_stream(form.audio, rate=48000, layout=self.layout)
        self.resampler = av.AudioResampler(format="fltp", layout=self.layout, rate=48000)
        self.position = 0

    def encode_until(self, seconds: Fraction) -> None:
        end = min(math.ceil(seconds * self.rate), self.samples.shape[1])
        if end <= self.position:
            return
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(self.samples[:, self.position : end]), format="fltp", layout=self.layout
        )
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self.position, Fraction(1, self.rate)
        self.position = end
        for resampled in self.resampler.resample(frame):
            self.container.mux(self.stream.encode(resampled))

    def finish(self) -> None:
        for resampled in self.resampler.resample(None):
            self.container.mux(self.stream.encode(resampled))
        self.container.mux(self.stream.encode(None))


# the graph inside the file


def as_json(value) -> str:
    """JSON for a metadata tag. Braces inside strings are escaped: the editor's webm reader counts them blindly."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda string: string[0].replace("{", "\\u007b").replace("}", "\\u007d"), text)


def write_png(path: Path, picture: np.ndarray, metadata: dict, folder: Path) -> None:
    """`folder`: what an error names; the file itself has a temporary name yet."""
    from PIL import Image, PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    for key, value in metadata.items():
        chunks.add_text(key, as_json(value))
    with names.explained(folder):
        Image.fromarray(picture).save(path, format="PNG", pnginfo=chunks, compress_level=4)


def _append_webp_exif(path: Path, metadata: dict) -> None:
    """EXIF strings "name:json" up to tag 0x010f, as ComfyUI writes them; libav's muxer has no place for EXIF."""
    texts = [f"{key}:{as_json(value)}".encode() + b"\0" for key, value in reversed(metadata.items())]
    start = 8 + 2 + 12 * len(texts) + 4
    entries, values = b"", b""
    for tag, text in zip(range(0x010F - len(texts) + 1, 0x0110), texts, strict=True):
        entries += struct.pack("<HHII", tag, 2, len(text), start + len(values))
        values += text
    exif = b"II*\0" + struct.pack("<IH", 8, len(texts)) + entries + bytes(4) + values
    with open(path, "r+b") as file:
        header = bytearray(file.read(30))
        if header[12:16] != b"VP8X":
            return
        file.seek(0, os.SEEK_END)
        file.write(b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2))
        header[4:8] = struct.pack("<I", file.tell() - 8)
        header[20] |= 0x08
        file.seek(0)
        file.write(header)


def _insert_gif_comment(path: Path, metadata: dict) -> None:
    """One comment holding {"workflow": …, "prompt": …}, for `spacetime run clip.gif`; the editor reads no gif.

    It stands before the first picture, where a reader finds it without walking through all of them.
    """
    text = json.dumps({key: json.loads(as_json(value)) for key, value in metadata.items()}).encode()
    blocks = b"".join(bytes([len(text[i : i + 255])]) + text[i : i + 255] for i in range(0, len(text), 255))
    with names.whole(path) as copy:
        with open(path, "rb") as source, open(copy, "wb") as sink:
            header = source.read(13)
            palette = source.read(3 << (header[10] & 7) + 1) if header[10] & 0x80 else b""
            sink.write(header + palette + b"\x21\xfe" + blocks + b"\0")
            shutil.copyfileobj(source, sink)
        os.replace(copy, path)


@contextmanager
def _encoding(place, format: str, width: int, height: int) -> Iterator[None]:
    """One line for what the system (a full disk) or the codec (a size it can't do) has against this file."""
    with names.explained(place):
        try:
            yield
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise ValueError(
                f"{format} can't hold a video of {width}×{height} ({error.strerror}); choose another format or size"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Closing after a failure fails too; the first error is the one to tell."""
    try:
        yield
    except (OSError, av.FFmpegError, ValueError):
        pass
