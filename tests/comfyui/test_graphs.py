"""Every graph of workflows/ gives in ComfyUI the frames that `spacetime run` gives, bit for bit."""

from pathlib import Path

import pytest
from furnished import WORKFLOWS, graphs_of_families, settings

pytestmark = pytest.mark.comfyui
FAMILIES = graphs_of_families()  # with tiny models of the names that they ask for


@pytest.mark.parametrize("name", sorted(path.stem for path in WORKFLOWS.glob("*.json")))
def test_the_frames_are_the_same_bit_for_bit(comfyui, run, pixels, tmp_path, name):
    for one in ("here", "there"):
        (tmp_path / one).mkdir()
    graph, small = WORKFLOWS / f"{name}.json", settings(name) if name in FAMILIES else ()
    here = by_node(run(graph, "--base", comfyui.base, "--out", tmp_path / "here", *small))
    there = by_node(run(graph, "--base", tmp_path / "there", "--server", comfyui.url, *small))
    assert here and [one["node"] for one in here] == [one["node"] for one in there]
    for ours, theirs in zip(here, there, strict=True):
        frames = [pixels(Path(one["path"])) for one in (ours, theirs)]
        assert len(frames[0]) == len(frames[1]) > 0 and frames[0] == frames[1], ours["title"]


def by_node(saved):
    """Which of several branches comes first is the host's affair."""
    return sorted(saved, key=lambda one: one["node"])
