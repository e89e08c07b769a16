"""The graphs of workflows/ that need a downloaded model run with tiny ones of the same names, in the same places; and a
single file gives the video that the diffusers folder of the same weights gives."""

import json
import re

import pytest
import torch
from furnished import LOADERS, WAN_FILES, WORKFLOWS, furnish, graphs_of_families, settings
from spacetime_nodes.host.cli import main
from spacetime_nodes.media.read import open_video


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    furnish(base)
    return base


@pytest.fixture
def run(place, tmp_path, capsys):
    """`run(graph, **settings)` → the frames [F, height, width, 3] in 0..255 of its one video, and what was said."""

    def call(name, **changes):
        given = [*settings(name, **changes), f"--base={place}", f"--out={tmp_path}", "--json"]
        code = main(["run", str(WORKFLOWS / f"{name}.json"), *given])
        out, err = capsys.readouterr()
        assert code == 0, err
        (output,) = [one for one in json.loads(out.splitlines()[-1])["outputs"] if one["folder"] != "temp"]
        frames = torch.cat([torch.from_numpy(frame) for frame in open_video(output["path"]).frames()])
        return frames.float(), err

    return call


def test_every_family_has_its_three_graphs_Wan_two_that_follow_and_LTX_one_of_two_stages():
    verbs = ("text_to_video", "image_to_video", "extend")
    families = ("wan", "ltx", "hunyuan_video", "cogvideox")
    graphs = [f"{family}_{verb}" for family in families for verb in verbs]
    assert graphs_of_families() == sorted([*graphs, "ltx_two_stage", "wan_animate", "wan_control_video"])


@pytest.mark.parametrize("name", graphs_of_families())
def test_the_graph_runs_with_its_model(run, place, name):
    frames, _ = run(name)
    if name.endswith("extend"):
        source = torch.cat([torch.from_numpy(frame) for frame in open_video(place / "input" / "clip.mp4").frames()])
        assert len(frames) > len(source) and frames.shape[1] >= 32
    else:
        assert len(frames) in (9, 13) and frames.shape[1] >= 32  # what a second snaps to
        assert frames.shape[1] == 64 or not name.endswith("two_stage"), "twice the grid's size"


def test_the_plan_of_two_stages_counts_the_second_at_its_size(place, capsys):
    name = "ltx_two_stage"
    assert main(["plan", str(WORKFLOWS / f"{name}.json"), *settings(name), f"--base={place}"]) == 0
    small, large = capsys.readouterr().out.split("Second Sample")
    assert "First Sample" in small and "64×32, 9 frames" in small and "128×64, 9 frames" in large
    tokens = [int(re.search(r"tokens +(\d+)", part)[1]) for part in (small, large)]
    assert tokens == [4, 16]


@pytest.mark.parametrize("dit", WAN_FILES)
def test_a_single_file_gives_the_video_of_its_folder(run, dit):
    graph, (_, vae, _) = "wan_text_to_video", WAN_FILES[dit]
    names = {"SpacetimeLoadTextEncoder": "umt5_xxl_fp16.safetensors", "SpacetimeLoadVAE": f"{vae}.safetensors",
             "SpacetimeLoadDiT": f"{dit}.safetensors"}  # fmt: skip
    files, _ = run(graph, **{node: {LOADERS[node]: name} for node, name in names.items()})
    folder, _ = run(graph, **{node: {LOADERS[node]: f"{dit} folder"} for node in LOADERS})
    assert torch.equal(files, folder)
