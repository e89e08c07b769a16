"""One training run: its clock, its log and its checkpoints. A run that was cut off goes on where it last saved."""

import json
import time
from pathlib import Path

import torch

SAVE_EVERY = 120  # seconds


class Run:
    """Counts training time against a budget over all resumptions, logs a line now and then, saves every two minutes.

    parts: name → anything with `state_dict`/`load_state_dict`, or an `Average`.
    """

    def __init__(self, folder: Path, minutes: float, parts: dict, optimizers: list):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.budget, self.parts, self.optimizers = folder, minutes * 60, parts, optimizers
        self.step, self.seconds, self.sums, self.count = 0, 0.0, {}, 0
        self.checkpoint = folder / "checkpoint.pt"
        if self.checkpoint.exists():
            self._load()
        self.tick = self.saved = time.monotonic()

    @property
    def progress(self) -> float:
        """How much of the budget is spent, 0..1."""
        return min(1.0, self.seconds / self.budget)

    def going(self) -> bool:
        """Advances the clock; False when the budget is spent."""
        now = time.monotonic()
        self.seconds, self.tick = self.seconds + now - self.tick, now
        if now - self.saved > SAVE_EVERY or self.progress >= 1:
            self._save()
            self.saved = now
        return self.progress < 1

    def log(self, every: int = 50, **values: float) -> None:
        """Takes one step's figures; every so many steps their means become a line of `log.jsonl`."""
        self.step += 1
        self.count += 1
        for k, v in values.items():
            self.sums[k] = self.sums.get(k, 0.0) + v
        if self.step % every == 0:
            means = {k: round(v / self.count, 5) for k, v in self.sums.items()}
            line = json.dumps({"step": self.step, "minutes": round(self.seconds / 60, 2), **means})
            self.note(line)
            self.sums, self.count = {}, 0

    def note(self, line: str) -> None:
        print(line, flush=True)
        with open(self.folder / "log.jsonl", "a") as file:
            file.write(line + "\n")

    def _save(self) -> None:
        state = {name: getattr(p, "state", None) or p.state_dict() for name, p in self.parts.items()}
        state |= {"optimizers": [o.state_dict() for o in self.optimizers], "step": self.step, "seconds": self.seconds}
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            if hasattr(part, "load_state_dict"):
                part.load_state_dict(state[name])
            else:
                for k, v in state[name].items():
                    part.state[k].copy_(v)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        for part in self.parts.values():
            if hasattr(part, "steps"):
                part.steps = self.step
