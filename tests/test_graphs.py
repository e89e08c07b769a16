"""Every graph of workflows/ runs as it is, and shows what its name says."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from spacetime_nodes.host.cli import main
from spacetime_nodes.media.read import open_video
from spacetime_nodes.training.judge import look

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


# what the judge sees in these frames of it: ground, colour and shape of the one thing, and the way it goes (on a ring
# there is none: it comes back)
SHOWN = {
    "text_to_video": {(0, 17): "black yellow circle right"},
    "image_to_video": {(0, 17): "gray purple star left"},
    "first_last_frame": {(0, 17): "navy orange circle right"},
    "extend_forward": {(0, 17): "beige green square right", (17, 33): "beige green square right"},
    "extend_backward": {(0, 17): "beige green square right", (17, 34): "beige green square right"},
    "connect_clips": {(0, 9): "black red circle right", (21, 30): "black red circle up"},
    "restyle_video": {(0, 17): "black orange circle right"},
    "inpaint_video": {(0, 17): "gray yellow star still"},
    "outpaint_video": {(0, 17): "gray cyan square down"},
    "storyboard": {(0, 16): "black red circle right", (18, 32): "black red circle down"},
    "expand_prompt": {(0, 17): "beige blue triangle up"},
    "seamless_loop": {(0, 16): "navy yellow circle"},
    "text_to_image": {(0, 1): "navy red circle still"},
    "minute_long": {(0, 17): "navy green circle right"},
    "film_of_shots": {
        (0, 17): "black red circle right",
        (17, 34): "navy blue star up",
        (34, 51): "beige yellow square still",
    },
    "large_image": {(0, 1): "navy red circle still"},
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_graph_runs_as_it_is_and_shows_what_it_says(run, name):
    (output,) = run(name)
    video = open_video(output["path"])
    frames = torch.cat([torch.from_numpy(frame) for frame in video.frames()]).float() / 255
    assert (len(frames), frames.shape[2], frames.shape[1]) == SHAPES[name]
    assert frames.std((0, 1, 2)).max() > 0.02  # a thing on a ground, not one gray
    if len(frames) > 1:
        assert (frames[1:] - frames[:-1]).abs().amax((1, 2, 3)).median() > 0.02  # something goes on
    for (first, last), wanted in SHOWN[name].items():
        report = look(frames[first:last])
        (thing,) = report.things
        assert f"{report.background} {thing.colour} {thing.shape} {thing.drift}".startswith(wanted)


def test_one_prompt_fills_three_aspects(run):
    facts = [open_video(output["path"]).facts for output in run("any_aspect")]
    assert sorted((one.width, one.height) for one in facts) == [(64, 64), (64, 112), (112, 64)]
