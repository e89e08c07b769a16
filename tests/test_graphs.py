"""Every graph of workflows/ runs as it is, and shows what its name says."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from spacetime_nodes.host.cli import main
from spacetime_nodes.media.read import open_video

WORKFLOWS = Path(__file__).parents[1] / "workflows"
GRAPHS = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
PROMISED = """any_aspect connect_clips expand_prompt extend_backward extend_forward film_of_shots first_last_frame
image_to_video inpaint_video large_image minute_long outpaint_video restyle_video seamless_loop storyboard
text_to_image text_to_video""".split()


def test_every_promised_graph_is_there_with_its_picture():
    assert set(PROMISED) <= set(GRAPHS)
    for name in GRAPHS:
        with Image.open(WORKFLOWS / f"{name}.jpg") as picture:
            assert picture.width >= 256 and picture.height >= 128, name


@pytest.fixture
def run(tmp_path, capsys):
    def call(name, *arguments):
        code = main(["run", str(WORKFLOWS / f"{name}.json"), "--json", "--base", str(tmp_path), *arguments])
        out, err = capsys.readouterr()
        answer = json.loads(out.splitlines()[-1])
        assert code == 0 and answer["ok"], err
        return [entry for entry in answer["outputs"] if entry.get("folder", "output") != "temp"]

    return call


# frames and size that each graph's video has
SHAPES = {
    "text_to_video": (17, 64, 64), "image_to_video": (17, 64, 64), "first_last_frame": (17, 64, 64),
    "extend_forward": (33, 64, 64), "extend_backward": (34, 64, 64), "connect_clips": (30, 64, 64),
    "restyle_video": (17, 64, 64), "inpaint_video": (17, 64, 64), "outpaint_video": (17, 96, 64),
    "storyboard": (49, 64, 64), "expand_prompt": (17, 64, 64), "seamless_loop": (16, 64, 64),
    "text_to_image": (1, 96, 96), "minute_long": (481, 64, 64), "film_of_shots": (51, 64, 64),
    "large_image": (1, 512, 512),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_graph_runs_as_it_is_and_moves(run, name):
    (output,) = run(name)
    video = open_video(output["path"])
    frames = torch.cat([torch.from_numpy(frame) for frame in video.frames()]).float() / 255
    assert (len(frames), frames.shape[2], frames.shape[1]) == SHAPES[name]
    assert frames.std((0, 1, 2)).max() > 0.02  # a thing on a ground, not one gray
    if len(frames) > 1:
        assert (frames[1:] - frames[:-1]).abs().amax((1, 2, 3)).median() > 0.02  # something goes on


def test_one_prompt_fills_three_aspects(run):
    facts = [open_video(output["path"]).facts for output in run("any_aspect")]
    assert sorted((one.width, one.height) for one in facts) == [(64, 64), (64, 112), (112, 64)]
