"""A real ComfyUI for the tests, which COMFYUI_PATH names: its folder, with main.py in it.

It runs on a folder of its own, whose custom_nodes holds this package and nothing else; the ComfyUI named is only read.
COMFYUI_PYTHON is the Python that has what it requires (default: ours), COMFYUI_ARGS its options (default: --cpu).
"""

import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from talk import Talk

PACKAGE = Path(__file__).parents[1]
PATIENCE = float(os.environ.get("COMFYUI_PATIENCE", 180))  # seconds until it must answer


def folder() -> Path:
    """ComfyUI's, or the test is skipped."""
    named = os.environ.get("COMFYUI_PATH")
    if not named:
        pytest.skip("no ComfyUI: name its folder in COMFYUI_PATH")
    path = Path(named).expanduser().resolve()
    assert (path / "main.py").is_file(), f"COMFYUI_PATH names {path}, which holds no main.py"
    return path


class ComfyUI(Talk):
    """A running one. `base` holds its models/ input/ output/ temp/ user/ custom_nodes/."""

    def __init__(self, base: Path):
        self.base = base
        (base / "custom_nodes").mkdir(parents=True)
        (base / "custom_nodes" / "spacetime").symlink_to(PACKAGE, target_is_directory=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        options = ["--base-directory", base, "--port", self.port, "--disable-api-nodes", "--verbose", "DEBUG"]
        options += ["--database-url", f"sqlite:///{base / 'comfyui.db'}"]
        options += shlex.split(os.environ.get("COMFYUI_ARGS", "--cpu"))
        command = [os.environ.get("COMFYUI_PYTHON", sys.executable), folder() / "main.py", *options]
        self.log = base / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([str(one) for one in command], cwd=base, stdout=log, stderr=log)
        try:
            self._answers()
        except BaseException:
            self.close()
            raise

    def _answers(self):
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                self.facts = self.get("/system_stats")["system"]
                return
            except OSError:
                assert self.process.poll() is None, f"ComfyUI ended:\n{self.said()[-3000:]}"
                assert time.monotonic() < ends, f"ComfyUI doesn't answer:\n{self.said()[-3000:]}"
                time.sleep(0.2)

    def close(self):
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def queue(self, prompt: dict, client_id: str = "test") -> str:
        return self.post("/prompt", {"prompt": prompt, "client_id": client_id})["prompt_id"]

    def over(self, job_id: str, seconds: float = 600) -> dict:
        """What the history holds, once the job is over."""
        return self.until(lambda: self.get(f"/history/{job_id}").get(job_id), seconds)

    def run(self, prompt: dict) -> dict:
        """What its output nodes show, by node id; the prompt must succeed."""
        entry = self.over(self.queue(prompt))
        event, told = entry["status"]["messages"][-1]
        assert event == "execution_success", told.get("exception_message", event)
        return entry["outputs"]

    def path(self, shown: dict) -> Path:
        """Where a file lies that a node shows."""
        return self.base / shown["type"] / shown["subfolder"] / shown["filename"]
