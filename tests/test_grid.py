"""The grid snaps to what model and VAE admit, says so, and refuses what can't be."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacetime_nodes.model_loaders import devices
from spacetime_nodes.nodes import grid as grid_node
from spacetime_nodes.spacetime import cost
from spacetime_nodes.spacetime.grid import ASPECTS, Admits, plan, snap, snap_frames

WAN = Admits(channels=16, time_factor=4, space_factor=8, patch=(1, 2, 2))
TI2V = Admits(channels=48, time_factor=4, space_factor=16, patch=(1, 2, 2))
LTX = Admits(channels=128, time_factor=8, space_factor=32, patch=(1, 1, 1))


@pytest.mark.parametrize(
    ("admits", "asked", "shape", "tokens"),
    [
        (WAN, {"aspect": "1:1", "size": 64, "frames": 17}, (1, 16, 5, 8, 8), 80),
        (WAN, {"aspect": "16:9", "size": 480, "seconds": 5, "fps": 16}, (1, 16, 21, 60, 106), 33390),  # 848×480×81
        (WAN, {"aspect": "custom", "width": 832, "height": 480, "frames": 81}, (1, 16, 21, 60, 104), 32760),
        (TI2V, {"aspect": "custom", "width": 1280, "height": 704, "frames": 121}, (1, 48, 31, 44, 80), 27280),
        (LTX, {"aspect": "custom", "width": 768, "height": 512, "frames": 97}, (1, 128, 13, 16, 24), 4992),
        (WAN, {"aspect": "9:16", "size": 64, "frames": 1, "batch_size": 3}, (3, 16, 1, 14, 8), 28),
    ],
)
def test_the_grids_people_use(admits, asked, shape, tokens):
    grid = plan(admits, **asked)
    assert (grid.shape, grid.tokens) == (shape, tokens)


@given(
    aspect=st.sampled_from([*ASPECTS, "custom"]),
    size=st.integers(1, 2000),
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    frames=st.integers(0, 400),
    seconds=st.floats(0, 20),
    fps=st.floats(0.1, 60),
    admits=st.sampled_from([WAN, TI2V, LTX]),
)
def test_every_grid_is_admissible_and_the_nearest_one(aspect, size, width, height, frames, seconds, fps, admits):
    asked = {"aspect": aspect, "size": size, "width": width, "height": height}
    try:
        grid = plan(admits, **asked, frames=frames, seconds=seconds, fps=fps)
    except ValueError as error:
        assert "positions" in str(error)
        return
    step_h, step_w = (admits.space_factor * side for side in admits.patch[1:])
    assert grid.height % step_h == grid.width % step_w == 0 < min(grid.height, grid.width)
    assert grid.frames % admits.time_factor == 1 and grid.frames >= 1
    if aspect == "custom" and min(width, height) >= max(step_h, step_w):
        assert abs(grid.width - width) * 2 <= step_w and abs(grid.height - height) * 2 <= step_h
    if frames:
        assert abs(grid.frames - frames) * 2 <= admits.time_factor
    again = plan(admits, aspect="custom", width=grid.width, height=grid.height, frames=grid.frames, fps=fps)
    assert again.shape == grid.shape and again.snapped == ()  # what it snapped to, it admits


def test_halves_go_up():
    assert [snap(value, 16) for value in (1, 8, 23, 24, 40)] == [16, 16, 16, 32, 48]
    assert [snap_frames(value, 4) for value in (1, 2, 3, 16, 17, 18, 19)] == [1, 1, 5, 17, 17, 17, 21]


def test_it_says_what_it_snapped():
    grid = plan(WAN, aspect="custom", width=100, height=70, frames=80)
    assert grid.snapped == ("100×70 → 96×64 (sides in steps of 16×16)", "80 frames → 81 (4k+1)")
    wide = plan(WAN, aspect="16:9", size=64, frames=17)
    assert wide.snapped == ("114×64 → 112×64 (sides in steps of 16×16)",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"aspect": "2:1", "size": 64},
        {"aspect": "1:1", "size": 0},
        {"aspect": "custom", "width": 0, "height": 64},
        {"aspect": "1:1", "size": -64},
        {"aspect": "1:1", "size": 64, "fps": 0},
        {"aspect": "1:1", "size": 64, "seconds": float("nan")},
        {"aspect": "1:1", "size": 64, "seconds": float("inf")},
        {"aspect": "1:1", "size": 64, "frames": -1},
        {"aspect": "1:1", "size": 64, "batch_size": 0},
        {"aspect": "1:1", "size": 64, "frames": 5000},
        {"aspect": "1:1", "size": 100_000},
    ],
)
def test_what_cannot_be_is_refused_in_one_line(wrong):
    with pytest.raises(ValueError) as error:
        plan(WAN, **wrong)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_a_grid_beyond_this_machine_is_refused_with_the_memory_it_would_take(nodes, pocket):
    for run in (nodes["SpacetimeGrid"]().run, nodes["SpacetimeGrid"]().plan):
        with pytest.raises(MemoryError, match=r"16384×16384×4089 needs about .* GB of memory, this machine has"):
            run(pocket.dit, pocket.vae, "custom", 64, 16384, 16384, 0.0, 8.0, 4089, 1)


def test_what_works_on_a_gpu_is_not_refused_for_this_machines_memory(nodes, pocket, monkeypatch):
    monkeypatch.setattr(cost, "machine_bytes", lambda: 10**6)
    asked = "1:1", 64, 0, 0, 2.0, 8.0, 0, 1
    with pytest.raises(MemoryError, match="this machine has"):
        nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, *asked)
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    monkeypatch.setattr(grid_node, "gpu_bytes", lambda: 10**8)
    assert pocket.dit.device == "auto" and nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, *asked)
    monkeypatch.setattr(grid_node, "gpu_bytes", lambda: 10**6)
    with pytest.raises(MemoryError, match="this machine has 1 MB and its GPU 1 MB; make it smaller"):
        nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, *asked)
    monkeypatch.setattr(grid_node, "gpu_bytes", lambda: 10**15)
    with pytest.raises(MemoryError, match="this machine has 1 MB; make"):  # where the canvas itself lies
        nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 640, *asked[2:])
    monkeypatch.setattr(grid_node, "gpu_bytes", lambda: None)  # nobody can tell
    assert nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, *asked)


def test_the_node_and_its_plan_agree(nodes, pocket, host):
    asked = ("16:9", 64, 0, 0, 2.0, 8.0, 0, 2)
    done = nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, *asked)
    planned = nodes["SpacetimeGrid"]().plan(pocket.dit, pocket.vae, *asked)
    assert list(done["result"][0]["samples"].shape) == planned["result"][0]["shape"] == [2, 16, 5, 8, 14]
    assert done["result"][1:] == planned["result"][1:] == (112, 64, 17)
    assert "140 tokens" in done["ui"]["text"][0] and "16 frames → 17" in done["ui"]["text"][0]
    assert host.notices == ["114×64 → 112×64 (sides in steps of 16×16)", "16 frames → 17 (4k+1)"]


def test_planning_imports_no_torch():
    code = """
import sys
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as nodes
(dit,) = nodes["SpacetimeLoadDiT"]().run("pocket (built in)")
(vae,) = nodes["SpacetimeLoadVAE"]().run("pocket (built in)")
print(nodes["SpacetimeGrid"]().plan(dit, vae, "1:1", 64, 0, 0, 2.0, 8.0, 0, 1)["report"]["tokens"])
print([name for name in ("torch", "diffusers", "numpy", "PIL", "av") if name in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    assert out[:2] == ["80", "[]"]


def test_a_vae_of_no_known_model_is_refused_by_its_channels(nodes, pocket):
    from dataclasses import replace

    from spacetime_nodes.model_loaders.advice import altered
    from spacetime_nodes.model_loaders.identify import UNKNOWN, Identity

    other = altered(pocket.vae, config=replace(pocket.vae.config, channels=48), identity=Identity(UNKNOWN))
    with pytest.raises(ValueError, match="16 channels, the VAE has 48"):
        nodes["SpacetimeGrid"]().run(pocket.dit, other, "1:1", 64, 0, 0, 2.0, 8.0, 0, 1)


def test_the_plan_says_what_the_run_will_take(nodes, pocket):
    """Weights as loaded, plus the larger of sampling and decoding, each within its stated factor of two or so."""
    report = nodes["SpacetimeGrid"]().plan(pocket.dit, pocket.vae, "1:1", 192, 0, 0, 0.0, 8.0, 9, 1)["report"]
    loaded = sum(p.nbytes for m in (pocket.dit.adapter.transformer, pocket.vae.module) for p in m.parameters())
    assert 0.4 * loaded <= report["weights_bytes"] <= 1.01 * loaded  # files may hold half the bits
    assert report["memory_bytes"] == report["weights_bytes"] + max(report["sampling_bytes"], report["decoding_bytes"])
    assert 40e6 < report["decoding_bytes"] < 250e6  # measured: 124 MB


def test_the_plan_finds_a_missing_weight_file(nodes, pocket, host):
    import shutil

    from spacetime_nodes.model_loaders.folders import POCKET_FOLDER

    folder = host.base / "models" / "vae" / "hollow"
    shutil.copytree(POCKET_FOLDER / "vae", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (vae,) = nodes["SpacetimeLoadVAE"]().run("hollow")
    with pytest.raises(ValueError, match="hollow holds no weights"):
        nodes["SpacetimeGrid"]().plan(pocket.dit, vae, "1:1", 64, 0, 0, 0.0, 8.0, 9, 1)


def test_a_plan_says_how_a_long_canvas_will_be_seen(nodes, pocket, host):
    def seen(frames):
        return nodes["SpacetimeGrid"]().plan(pocket.dit, pocket.vae, "1:1", 64, 0, 0, 0.0, 8.0, frames, 1)["report"]

    assert seen(33)["seen in"] == ""
    assert seen(481)["seen in"] == "17 windows of 9 latent frames, 2 shared, one after another"
    assert seen(481)["sampling_bytes"] < 3 * seen(33)["sampling_bytes"]  # not 13: one window at a time
