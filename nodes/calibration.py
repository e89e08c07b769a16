"""How fast this machine has been: what every run leaves behind for the plans of later ones.

A small file in the user's folder. One that is broken, foreign or can't be written counts as none: no run fails for it.
"""

import json
import math
import os
import time
from pathlib import Path
from statistics import median

from . import runtime

KEPT = 12  # runs of a model
ALIKE = 2.0  # passes of up to so many times the tokens go at the same speed


class Pace:
    """How long a run's steps take. The first one does what later ones needn't, so it counts as they do."""

    def __init__(self):
        self.began, self.first, self.last = time.monotonic(), None, None

    def step(self, index: int, total: int):
        self.last = (index, time.monotonic(), total)
        self.first = self.first or self.last

    @property
    def seconds(self) -> float:
        """Of all steps; 0 where there were none."""
        if self.last is None:
            return 0.0
        (before, since, _), (done, now, total) = self.first, self.last
        return (now - since) / (done - before) * total if done > before else now - self.began


def place() -> Path | None:
    folder = runtime.user_dir()
    return folder and folder / "spacetime" / "calibration.json"


def remember(model: str, tokens: int, seconds_per_tflop: float):
    """After a run: `tokens` were seen in a pass, and a TFLOP took so long."""
    path = place()
    if path is None or not usable([tokens, seconds_per_tflop]):
        return
    models = _read(path)
    models[model] = [*models.pop(model, []), [tokens, float(f"{seconds_per_tflop:.4g}")]][-KEPT:]
    try:
        _write_whole(path, json.dumps({"seconds_per_tflop": models}, indent=1))
    except OSError:  # a folder that is read-only, or a full disk
        pass


def recall(model: str, tokens: int) -> float | None:
    """Seconds that a TFLOP takes in passes of about so many tokens; None where the model has never run here."""
    path = place()
    runs = _read(path).get(model) if path else None
    if not runs:
        return None

    def far(run):
        return abs(math.log(run[0] / tokens))

    nearest = min(map(far, runs))
    return median(run[1] for run in runs if far(run) <= nearest + math.log(ALIKE) / 2)


def usable(run) -> bool:
    return isinstance(run, list) and len(run) == 2 and all(
        isinstance(number, (int, float)) and math.isfinite(number) and number > 0 for number in run
    )  # fmt: skip


def _read(path: Path) -> dict[str, list]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))["seconds_per_tflop"]
        models = {model: [run for run in runs if usable(run)] for model, runs in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {model: runs for model, runs in models.items() if runs}


def _write_whole(path: Path, text: str):
    """The old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    import tempfile

    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
