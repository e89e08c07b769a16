"""What the command prints: results on stdout, everything else on stderr."""

import json
import os
import sys
import time
import traceback

from .errors import explain, one_line


class Console:
    """Progress as a bar where a person watches, as a line now and then where a log does."""

    def __init__(self):
        self.bar = None
        self.node = self.title = None
        self.told = 0.0

    def line(self, text: str):
        """One line on stderr that doesn't tear the bar."""
        try:
            if self.bar is not None:
                self.bar.write(text, file=sys.stderr)
            elif sys.stderr is not None:
                print(text, file=sys.stderr, flush=True)
        except (OSError, ValueError):  # stderr is closed or full: a run goes on without
            pass

    def notice(self, text: str):
        self.line(f"note: {one_line(text, 2000)}")

    def progress(self, node: str, title: str, value: int, total: int):
        if node != self.node:
            self.close()
            self.node, self.title, self.told = node, title, 0.0
            if sys.stderr is not None and sys.stderr.isatty():
                from tqdm import tqdm

                self.bar = tqdm(total=total, desc=title, dynamic_ncols=True, leave=True, file=sys.stderr)
        if self.bar is not None:
            self.bar.total = total
            self.bar.update(value - self.bar.n)
        elif value >= total or time.monotonic() - self.told > 5:
            self.told = time.monotonic()
            self.line(f"{title}: {value}/{total}")

    def close(self):
        if self.bar is not None:
            self.bar.close()
        self.bar = self.node = None


def report(error: BaseException, json_wanted: bool, debug: bool) -> int:
    """Tell what went wrong; the exit code."""
    failure = explain(error)
    if debug:
        traceback.print_exception(error)
    Console().line(f"spacetime: {failure.line}")
    if json_wanted:
        write_out(as_json({"ok": False, "error": failure.facts()}))
    return failure.exit_code


def write_out(text: str) -> bool:
    """Print a result to stdout. False if nobody can get it; a reader that has gone away (`| head`) is no failure."""
    if sys.stdout is None:
        return True
    try:
        print(text, flush=True)
        return True
    except BrokenPipeError:
        _silence()
        return True
    except (OSError, ValueError) as error:
        _silence()
        Console().line(f"spacetime: can't write to stdout: {getattr(error, 'strerror', None) or error}")
        return False


def _silence():
    """Python flushes stdout once more at exit, and would complain again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def as_json(content: dict) -> str:
    return json.dumps(content, default=str)


def forgive_encodings():
    """A terminal that has no '×' gets an escape, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
