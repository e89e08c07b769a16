"""Clips to be saved and read: colour bars, frames that tell their number; and what was made of them."""

import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from spacetime_nodes.media.formats import FORMATS
from spacetime_nodes.media.read import open_video
from spacetime_nodes.media.sniff import MediaError
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.nodes import media as shelf
from spacetime_nodes.nodes.runtime import HOST, Host

MOVING = [name for name in FORMATS if name != "png sequence"]
WORKFLOW = {"nodes": [{"id": 1, "title": "a brace } and { another, {{ é 日本"}], "links": []}
PROMPT = {"7": {"class_type": "SpacetimeSample", "inputs": {"seed": 41, "text": 'quote " and \\ {'}}}
BARS = torch.tensor(
    [[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1], [0.5, 0.5, 0.5]], dtype=torch.float32
)


def bars(width=128, height=64, frames=9, fps=Fraction(8)) -> StreamVideo:
    """Colour bars above a sliding grey block."""

    def stream():
        for index in range(frames):
            picture = BARS.repeat_interleave(-(-width // 8), 0)[:width].expand(1, height, width, 3).clone()
            picture[:, -10:, index * 2 : index * 2 + 10] = 0.25
            yield picture

    return StreamVideo(stream, width=width, height=height, frame_count=frames, fps=fps)


@pytest.fixture
def notices(tmp_path):
    said = []
    token = HOST.set(Host(base=tmp_path, on_notice=said.append))
    yield said
    HOST.reset(token)


def save(video, prefix="spacetime/clip", format="mp4 (H.264)", quality=80, **hidden) -> Path:
    from spacetime_nodes.nodes.runtime import output_dir

    image = shelf.SpacetimeSaveVideo().run(video, prefix, format, quality, **hidden)["ui"]["images"][0]
    return output_dir() / image["subfolder"] / image["filename"]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def run_python(code: str, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True, **options
    )


NOISE = """
import sys, resource, torch
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.nodes.media import SpacetimeSaveVideo
from spacetime_nodes.nodes.runtime import HOST, Host
from pathlib import Path
base, format, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
HOST.set(Host(base=base))
torch.manual_seed(0)
noise = torch.rand(4, 1, 128, 128, 3)
def stream():
    for index in range(count):
        yield noise[index % 4]
video = StreamVideo(stream, width=128, height=128, frame_count=count, fps=24)
save = lambda: SpacetimeSaveVideo().run(video, "clip", format, 90, extra_pnginfo={"workflow": {}})
"""


def counter(frames=24, width=64, height=48, fps=Fraction(24)) -> StreamVideo:
    """Frame k is grey of brightness 10·k, so a picture tells its number."""

    def stream():
        for index in range(frames):
            yield torch.full((1, height, width, 3), index * 10 / 255)

    return StreamVideo(stream, width=width, height=height, frame_count=frames, fps=fps)


def numbers(chunks) -> list[int]:
    return [
        round(float(torch.as_tensor(chunk).float().mean()) * (1 if chunk.dtype == np.uint8 else 255) / 10)
        for chunk in chunks
    ]


def saved(tmp_path, format="mp4 (H.264)", video=None, **options) -> Path:
    path = tmp_path / f"clip{FORMATS[format].suffix}"
    (video or counter()).save_to(path, format, quality=95, **options)
    return path


def refused(path) -> str:
    """The one line that says why a file isn't read."""
    with pytest.raises((MediaError, FileNotFoundError)) as error:
        for _ in open_video(path).frames():
            pass
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value)
