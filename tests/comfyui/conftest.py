"""One real ComfyUI for all tests here: `pytest -m comfyui`, with COMFYUI_PATH in the environment."""

import json
import shutil

import pytest
from furnished import furnish
from real_comfyui import ComfyUI, folder
from spacetime_nodes.host.cli import main
from spacetime_nodes.media.read import open_video
from spacetime_nodes.model_loaders.folders import POCKET_FOLDER


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory):
    folder()
    base = tmp_path_factory.mktemp("comfyui")
    shutil.copytree(POCKET_FOLDER, base / "models" / "diffusion_models" / "copied")
    furnish(base)
    server = ComfyUI(base)
    yield server
    server.close()


@pytest.fixture
def run(tmp_path, capsys):
    """`spacetime run`: the files that it says it saved. A graph may be a file or a prompt."""

    def call(graph, *arguments):
        if isinstance(graph, dict):
            (tmp_path / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
            graph = tmp_path / "graph.json"
        code = main([str(one) for one in ("run", graph, "--json", *arguments)])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)["outputs"]

    return call


@pytest.fixture
def pixels():
    """Every pixel of a saved video or picture, as bytes, frame by frame."""

    def read(path):
        if path.suffix == ".png":
            import numpy as np
            from PIL import Image

            with Image.open(path) as picture:
                return [np.asarray(picture).tobytes()]
        return [frame.tobytes() for frame in open_video(path).frames()]

    return read
