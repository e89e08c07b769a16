"""What a node asks of whoever runs it: progress, interruption, notices, folders.

Inside ComfyUI these are ComfyUI's own; anywhere else they come from a `Host` that the runner puts into `HOST`.
No torch here: the host and the dry run import this file.
"""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from ..spacetime.plan import duration

PREVIEWS = SHOWN, MEASURED = "ComfyUI_temp", "spacetime_inspect"  # how the files begin that are made to be looked at
DAY = 24 * 3600  # seconds
LANGUAGE_MODELS = "LLM"  # no kind of ComfyUI's own; node packs with language models share models/LLM


class Interrupted(Exception):
    """The user cancelled. (ComfyUI raises its own InterruptProcessingException instead.)"""


@dataclass
class Host:
    """A runner that is not ComfyUI. `base` holds models/ input/ output/ temp/ user/."""

    base: Path = field(default_factory=Path.cwd)
    output: Path | None = None  # overrides base/output
    on_progress: Callable | None = None  # (value, max, preview); preview = (format, PIL image, max_size) or None
    is_interrupted: Callable[[], bool] | None = None
    on_notice: Callable[[str], None] | None = None
    on_status: Callable[[str], None] | None = None  # where the running node is, a line that the next one replaces


HOST: ContextVar[Host] = ContextVar("spacetime_host")


def host() -> Host:
    return HOST.get(None) or Host()


def in_comfyui() -> bool:
    """ComfyUI has loaded itself; a mere `comfy` folder on the path isn't it."""
    return "folder_paths" in sys.modules and "comfy.model_management" in sys.modules


STATUS = "step "  # how a line about progress begins
OFTEN, SOON = 0.5, 1.0  # seconds between two such lines, and before the first


class Progress:
    """`update(value, preview)` tells the user how far we are and how long it still takes, and raises when the user has
    cancelled."""

    def __init__(self, total: int):
        self.total = total
        self.bar = None
        self.started = self.told = time.monotonic()
        self.first: tuple[float, float] | None = None  # the first step's end: it does what later ones needn't
        if in_comfyui():
            from comfy.utils import ProgressBar

            self.bar = ProgressBar(total)

    def update(self, value: int, preview: tuple | None = None):
        check_interrupted()
        if self.bar is not None:
            self.bar.update_absolute(value, self.total, preview)
        elif host().on_progress:
            host().on_progress(value, self.total, preview)
        self._tell(value, time.monotonic())

    def _tell(self, value: int, now: float):
        before, since = self.first or (0, self.started)
        self.first = self.first or (value, now)
        if value >= self.total and self.told > self.started:
            status(f"{STATUS}{value} of {self.total}, {duration(now - self.started)} in all")
        elif before < value < self.total and now - self.started > SOON and now - self.told > OFTEN:
            self.told = now
            left = (now - since) / (value - before) * (self.total - value)
            status(f"{STATUS}{value} of {self.total}, {duration(left)} left")


def progress(total: int) -> Progress:
    return Progress(total)


def check_interrupted():
    if in_comfyui():
        from comfy.model_management import throw_exception_if_processing_interrupted

        throw_exception_if_processing_interrupted()
    elif host().is_interrupted and host().is_interrupted():
        raise Interrupted("cancelled")


def notice(text: str):
    """One line the user should read."""
    if not in_comfyui() and host().on_notice:
        host().on_notice(text)
    else:
        logging.getLogger("spacetime").warning(text)
        show(text)


def status(text: str):
    if in_comfyui():
        show(text)
    elif host().on_status:
        host().on_status(text)


def show(text: str):
    """On the running node itself, where ComfyUI's editor can."""
    if not in_comfyui():
        return
    try:
        from comfy_execution.utils import get_executing_context
        from server import PromptServer
    except ImportError:  # an older ComfyUI
        return
    context = get_executing_context()
    if context is not None:
        PromptServer.instance.send_progress_text(text, context.node_id)


def shown(text: str, *outputs) -> dict:
    """A node's outputs, and a text that the editor shows on it."""
    show(text)
    return {"ui": {"text": [text]}, "result": outputs}


def input_dir() -> Path:
    return _comfy_folder("get_input_directory") or host().base / "input"


def file_in(folder: Path, name: str) -> Path:
    """The file of that name in a folder. Raises ValueError where the name leads out of it."""
    if "\0" in name:
        raise ValueError("a file name can't hold a NUL character")
    folder = folder.resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise ValueError(f"{name!r} leads out of {folder}; copy the file into it")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name!r} in {folder}; copy it there or name another")
    return path


def output_dir() -> Path:
    return _comfy_folder("get_output_directory") or host().output or host().base / "output"


def temp_dir() -> Path:
    return _comfy_folder("get_temp_directory") or host().base / "temp"


def clear_previews(temp: Path):
    """What our nodes showed more than a day ago goes; whatever else somebody keeps in a folder temp/ stays."""
    yesterday = time.time() - DAY
    for stem in PREVIEWS:
        for path in temp.glob(f"{stem}_[0-9][0-9][0-9][0-9][0-9]_.png"):
            with suppress(OSError):
                if path.stat().st_mtime < yesterday:
                    path.unlink()


def user_dir() -> Path | None:
    """Where this machine's user keeps settings; None where nobody runs us."""
    if in_comfyui():
        import folder_paths

        return Path(folder_paths.get_user_directory())
    return host().base / "user" if HOST.get(None) else None


SEQUENCE = "spacetime_sequence"  # a key of `ui`: the pictures of a sequence after the first, which is shown
OLDER_NAMES = {"diffusion_models": "unet", "text_encoders": "clip"}  # ComfyUI looks there too


def model_folders(kind: str) -> list[Path]:
    """The folders in which the user keeps models of one kind, such as "vae", or language models."""
    if in_comfyui():
        import folder_paths

        try:
            return [Path(folder) for folder in folder_paths.get_folder_paths(kind)]
        except KeyError:  # nobody has registered it yet
            return [Path(folder_paths.models_dir) / kind]
    models = host().base / "models"
    older = models / OLDER_NAMES.get(kind, kind)
    return [models / kind, *([older] if kind in OLDER_NAMES and older.is_dir() else [])]


def _comfy_folder(getter: str) -> Path | None:
    if not in_comfyui():
        return None
    import folder_paths

    return Path(getattr(folder_paths, getter)())
