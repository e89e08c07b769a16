"""Where a result goes: the name it gets, and that it appears there whole or not at all."""

import filecmp
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_NAME = 200  # bytes; file systems stop at 255, and the counter, the suffix and a temporary name need room
WINDOWS = os.name == "nt"
UNFINISHED: set[Path] = set()  # what this process is writing; state of the whole process, as the disk is


def fill_tokens(prefix: str, width: int, height: int, prompt: dict | None = None) -> str:
    """`%width%`, `%date:yyyy-MM-dd%`, `%year%`…, and `%node.input%` of the running graph, as in ComfyUI."""
    now = time.localtime()
    simple = {
        "width": width,
        "height": height,
        "date": time.strftime("%Y-%m-%d", now),
        "time": time.strftime("%H%M%S", now),
        "year": now.tm_year,
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }

    def value(match: re.Match) -> str:
        token = match[1]
        if token in simple:
            return str(simple[token])
        if token.startswith("date:"):
            return _format_date(token[5:], now)
        node, dot, name = token.rpartition(".")
        found = _node_input(prompt or {}, node, name) if dot else None
        return match[0] if found is None else _safe(str(found))

    return re.sub(r"%([^%]+)%", value, prefix)


def _format_date(pattern: str, now: time.struct_time) -> str:
    parts = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
    single = {"M": now.tm_mon, "d": now.tm_mday, "h": now.tm_hour, "m": now.tm_min, "s": now.tm_sec}
    return re.sub(
        "yyyy|yy|MM|dd|hh|mm|ss|[Mdhms]",
        lambda m: time.strftime(parts[m[0]], now) if m[0] in parts else str(single[m[0]]),
        pattern,
    )


def _node_input(prompt: dict, node: str, name: str):
    for entry in prompt.values():
        if node in (entry.get("class_type"), (entry.get("_meta") or {}).get("title")):
            value = entry.get("inputs", {}).get(name)
            if isinstance(value, (str, int, float)):
                return value
    return None


def _safe(text: str) -> str:
    return re.sub(r'[\x00-\x1f/\\?%*:|"<>]', "_", text)[:100]


def check_prefix(prefix: str, prompt: dict | None = None):
    """Refuse a name that couldn't be saved before anything is computed."""
    split_prefix(fill_tokens(prefix, 1, 1, prompt))


def split_prefix(prefix: str) -> tuple[str, str]:
    """`filename_prefix` → (subfolder, stem), refusing whatever would leave the output folder."""
    if not isinstance(prefix, str) or not prefix.strip(" /\\"):
        raise ValueError("filename_prefix is empty; a folder and a name like 'spacetime/clip' would be right")
    if re.search(r"[\x00-\x1f\x7f]", prefix):
        raise ValueError(f"filename_prefix {prefix!r} holds a line break or control character; leave it out")
    path = prefix.replace("\\", "/")
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise ValueError(f"filename_prefix {prefix!r} is an absolute path; give one inside the output folder")
    if WINDOWS and (bad := re.search(r'[<>:"|?*]', prefix)):
        raise ValueError(f"filename_prefix {prefix!r} holds {bad[0]!r}, which Windows allows in no name; leave it out")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise ValueError(f"filename_prefix {prefix!r} leads out of the output folder; leave out the '..'")
    longest = max(parts, key=lambda part: len(part.encode()))
    if len(longest.encode()) > MAX_NAME:
        raise ValueError(
            f"filename_prefix is too long: a name of {len(longest.encode())} bytes, at most {MAX_NAME} fit"
        )
    return "/".join(parts[:-1]), parts[-1]


@contextmanager
def explained(place: Path | str) -> Iterator[None]:
    """What the system or libav says while writing, as one line that says what to do."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise OSError(f"can't save to {place}: a file stands where a folder should be") from error
    except PermissionError as error:
        raise OSError(f"can't save to {place}: no permission to write there; choose another output folder") from error
    except OSError as error:  # libav's errors are OSErrors too
        if error.errno is None:
            raise
        raise OSError(
            f"can't save to {place}: {error.strerror}; nothing was left half written: "
            "make room or choose another folder, and run again"
        ) from error


@contextmanager
def whole(path: Path, folder: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` to write to. It is gone after any failure; publish it before leaving.

    The name is hidden and random, so neither the editor nor a second run ever sees half a file.
    """
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part")
    UNFINISHED.add(temporary)
    try:
        with explained(path):
            if folder:
                temporary.mkdir()
            else:
                # not tempfile: its files are 0600 whatever the umask
                os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
    finally:
        _remove(temporary)
        UNFINISHED.discard(temporary)


def abandon():
    """Remove what is half written, from outside of the threads that write it: the process ends without them."""
    for temporary in list(UNFINISHED):
        for _ in range(10):  # a writer may put its next file into the folder meanwhile
            with suppress(OSError):
                _remove(temporary)
                break


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            child.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> Path:
    """Give the finished file its own name; the next free number where another has it. The same file is kept once."""
    try:
        _publish_new(temporary, path)
        return path
    except FileExistsError:
        if path.is_file() and filecmp.cmp(temporary, path, shallow=False):
            return path
    numbered = re.fullmatch(r"(.+?)_\d+_?", path.stem)
    return publish_numbered(temporary, path.parent, numbered[1] if numbered else path.stem, path.suffix)


def publish_numbered(temporary: Path, folder: Path, stem: str, suffix: str) -> Path:
    """Give the finished file the next free name `stem_00001_.suffix`, never one that another run took meanwhile."""
    number = _next_number(folder, stem)
    while True:
        path = folder / f"{stem}_{number:05}_{suffix}"
        try:
            _publish_new(temporary, path)
            return path
        except FileExistsError:
            number += 1
        except OSError as error:
            raise OSError(
                f"can't save {path}: {error.strerror}; nothing was left half written: "
                "choose another folder, and run again"
            ) from error


def _next_number(folder: Path, stem: str) -> int:
    pattern = re.compile(re.escape(stem) + r"_(\d+)_?(\.|$)", re.IGNORECASE)  # case-blind, as Windows and macOS are
    numbers = [int(match[1]) for name in os.listdir(folder) if (match := pattern.match(name))]
    return max(numbers, default=0) + 1


def _publish_new(temporary: Path, path: Path) -> None:
    """Rename without ever replacing: link() fails where a name exists, rename() would not."""
    if temporary.is_dir():
        if path.exists():
            raise FileExistsError(path)
        try:
            os.rename(temporary, path)  # onto a folder that holds something this fails by itself
        except OSError as error:
            if path.exists():
                raise FileExistsError(path) from error
            raise
        return
    try:
        os.link(temporary, path)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # no hard links here (exFAT, some network drives): reserve the name, then replace it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            os.replace(temporary, path)
        except BaseException:
            path.unlink()
            raise
    else:
        temporary.unlink()
