"""Which file is this? Told from its first bytes and its length, before anything reads it as a video."""

import os
import stat
from pathlib import Path

MAX_SIDE = 16384
MAX_PIXELS = 8192 * 8192
READABLE = "mp4, mov, mkv, webm, avi, ts, gif, png, webp or jpeg"
IMAGES = ("gif", "png", "webp", "jpeg")


class MediaError(ValueError):
    """The file can't be read as a video; the message says why."""


def local_file(path: str | os.PathLike) -> Path:
    """The path of a regular local file, or one line on why it is none."""
    text = os.fspath(path)
    if "\0" in text:
        raise MediaError("a file name can't hold a NUL character")
    if "://" in text or text.startswith(("concat:", "data:", "subfile,", "pipe:", "|")) and not os.path.exists(text):
        raise MediaError(f"{text[:120]!r} is an address, not a file; download it and give the file's path")
    try:
        mode = os.stat(text).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"there is no file {text[:300]}") from error
    except OSError as error:
        raise MediaError(f"can't open {text[:300]}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise MediaError(f"{text} is a {'folder' if stat.S_ISDIR(mode) else 'device'}, not a video file")
    return Path(text).absolute()


def sniff(path: Path) -> str:
    """The container by its first bytes, whatever the file is called."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise MediaError(f"can't open {path}: {error.strerror}") from error
    if not head:
        raise MediaError(f"{path.name} is empty (0 bytes); download or copy it again")
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WEBP"):
        return {b"AVI ": "avi", b"WEBP": "webp"}[head[8:12]]
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if head[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if head[0] == 0x47 and len(head) > 376 and head[188] == 0x47 and head[376] == 0x47:
        return "mpegts"
    found = "no video bytes"
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    for start, name in (
        (b"#extm3u", "a playlist (m3u8)"),
        (b"ffconcat", "an ffconcat list"),
        (b"<!doctype html", "a web page"),
        (b"<html", "a web page"),
        (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    ):
        if text.startswith(start):
            found = name
    raise MediaError(f"{path.name} holds {found}; {READABLE} would be right")


def cut_short(path: Path, kind: str) -> bool:
    """The container announces more bytes than the file has."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        if kind == "avi" or kind == "webp":
            return int.from_bytes(file.read(8)[4:8], "little") + 8 > size
        if kind == "matroska":
            header = file.read(64)
            start = 4 + _vint(header, 4)[1] + _vint(header, 4)[0]
            if header[start : start + 4] != b"\x18\x53\x80\x67":
                return False
            length, width = _vint(header, start + 4)
            return length != (1 << 7 * width) - 1 and start + 4 + width + length > size  # all ones: length unknown
        if kind == "mov":
            position = 0
            while position + 8 <= size:
                file.seek(position)
                box = file.read(16)
                length = int.from_bytes(box[:4], "big")
                length = int.from_bytes(box[8:16], "big") if length == 1 else length or size - position
                if length < 8:
                    return False
                position += length
            return position > size
    return False


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """An EBML variable-length integer: (value, bytes it takes)."""
    width = 9 - data[at].bit_length() if at < len(data) and data[at] else 1
    return int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1), width


def check_size(path: Path, width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise MediaError(f"{path.name} has no picture size; the file is damaged")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise MediaError(
            f"{path.name} claims {width}×{height} pixels; "
            f"at most {MAX_SIDE} a side and {MAX_PIXELS // 2**20} megapixels are read"
        )
