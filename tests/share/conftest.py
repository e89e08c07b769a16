"""Graphs and files that carry them, for `spacetime export` and `spacetime check`."""

import json
from pathlib import Path

import pytest
import spacetime_nodes
from spacetime_nodes.host.cli import main
from spacetime_nodes.model_loaders.folders import POCKET

WORKFLOWS = Path(spacetime_nodes.__file__).parent / "workflows"
GRAPHS = sorted(path.stem for path in WORKFLOWS.glob("*.json") if POCKET in path.read_text())  # models that are here
LOAD = {"dtype": "auto", "device": "cpu"}
SAVE = {"filename_prefix": "x", "format": "mp4 (H.264)", "quality": 80}
PICTURES = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "图"}},
}
DRAWN = {
    "version": 0.4,
    "nodes": [
        {"id": 1, "type": "LoadImage", "inputs": [], "widgets_values": ["a.png", "image"]},
        {
            "id": 2,
            "type": "SaveImage",
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
            "widgets_values": ["图"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
}


@pytest.fixture
def spacetime(tmp_path, capsys):
    """Run in this process with tmp_path/base: exit code, stdout, lines of stderr."""
    (tmp_path / "base").mkdir()

    def call(*arguments):
        code = main([*map(str, arguments), "--base", str(tmp_path / "base")])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err.splitlines()

    return call


@pytest.fixture
def file(tmp_path):
    """Write a file: JSON, text or bytes."""

    def write(content, name="graph.json"):
        path = tmp_path / name
        if isinstance(content, (dict, list)):
            content = json.dumps(content, ensure_ascii=False)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def picture(tmp_path):
    """Put a picture into the input folder."""

    def put(name="a.png"):
        from PIL import Image

        (tmp_path / "base" / "input").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "base" / "input" / name)

    return put


def saved(folder, format, **graph):
    """A one-colour clip, or a picture, that carries a graph."""
    import torch
    from spacetime_nodes.media.write import save_numbered

    count = 1 if format == "png" else 2
    options = {} if format == "png" else {"format": format}
    frames = [torch.zeros(1, 16, 16, 3) for _ in range(count)]
    return save_numbered(
        folder, "clip", frames, width=16, height=16, fps=8, frame_count=count, metadata=graph, **options
    )


CARRIERS = ("png", "mp4 (H.264)", "webm (VP9)")
