"""The plan says before a run what the run then takes: tokens, arithmetic, memory, time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import spacetime_nodes
import torch
from headers import write_header
from hypothesis import given, settings
from hypothesis import strategies as st
from spacetime_nodes.host.cli import main
from spacetime_nodes.model_loaders.outlook import Wish, sampled
from spacetime_nodes.nodes import calibration
from spacetime_nodes.spacetime.views import views
from spacetime_nodes.spacetime.windows import choose, stretches

ROOT = Path(spacetime_nodes.__file__).parent
WORKFLOWS = sorted(path for path in (ROOT / "workflows").glob("*.json") if "pocket (built in)" in path.read_text())
HEAVY = ("torch", "diffusers", "transformers", "av", "numpy")


@pytest.fixture
def told(tmp_path, capsys):
    """`told(…)`: `spacetime plan …` in this process: exit code, stdout, stderr."""

    def call(*arguments):
        code = main(["plan", *map(str, arguments), "--base", str(tmp_path)])
        return code, *capsys.readouterr()

    return call


# what it says is so


@pytest.mark.parametrize("size", [(64, 64, 17), (96, 64, 33), (128, 128, 81)])
def test_tokens_and_passes_are_those_the_model_then_sees(nodes, pocket, size):
    canvas = nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "custom", 0, *size[:2], 0.0, 8.0, size[2])["result"][
        0
    ]
    prompts = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle", "")
    seen = []
    hook = pocket.dit.adapter.transformer.blocks[0].register_forward_hook(lambda b, i, x: seen.append(x.shape[1]))
    try:
        nodes["SpacetimeSample"]().run(pocket.dit, *prompts, canvas, 0, 2, 4.0, preview=False)
    finally:
        hook.remove()
    way = sampled(pocket.dit, Wish(tuple(canvas["samples"].shape), 8.0, 2, 4.0))
    assert max(seen) == way.in_pass and len(seen) == way.steps * way.views * way.predictions


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(1, 40)),
    trained=st.tuples(st.integers(3, 20), st.integers(4, 20), st.integers(4, 20)),
    mode=st.sampled_from(["auto", "whole", "autoregressive", "overlapping"]),
    ring=st.booleans(),
    shared=st.integers(0, 1),
)
def test_the_windows_it_counts_are_the_views_that_are_made(shape, trained, mode, ring, shared):
    windows = choose(shape, trained, (1, 1, 1), True, mode, 0, shared)
    parts = windows.parts(shape, ring)
    lengths = [shape[0]] if ring else [s.last - s.first for s in stretches(windows, shape[0], [False] * shape[0])]
    assert len(parts) == len(lengths)
    for (count, size), length in zip(parts, lengths, strict=True):
        made = views(windows, (length, *shape[1:]), ring, 3, torch.device("cpu"))
        assert len(made) == count
        assert {(len(v.frames), len(v.rows), len(v.columns)) for v in made} == {size}


@pytest.mark.parametrize("stage", ["text encoder", "sampling", "decoding"])
def test_memory_is_within_15_percent_of_what_a_run_takes(stage):
    command = [sys.executable, "-m", "benchmarks.plan", "--sizes", "96x96x33", "--stages", stage]
    command += ["--repeats", "3" if stage == "text encoder" else "1"]  # under a megabyte; that of a page or two differs
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_needs_headers_only(host, base, nodes):
    """14 billion parameters that are a hole in the disk; and nothing heavy is imported."""
    from diffusers import WanTransformer3DModel

    folder = base / "models" / "diffusion_models" / "big"
    config = json.loads((ROOT / "model_loaders/configs/wan-2.1-t2v-14b/transformer/config.json").read_text())
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in WanTransformer3DModel(**config).state_dict().items()}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": "WanTransformer3DModel", **config}))
    write_header(folder / "diffusion_pytorch_model.safetensors", shapes)
    code = f"""
import json, sys
from pathlib import Path
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as nodes, runtime
runtime.HOST.set(runtime.Host(base=Path(sys.argv[1])))
dit = nodes["SpacetimeLoadDiT"]().run("big", "bfloat16", "cpu", memory="fits")[0]
vae = nodes["SpacetimeLoadVAE"]().run("pocket (built in)")[0]
latent = {{"shape": [1, 16, 21, 60, 104], "fps": 16.0}}
print(json.dumps(nodes["SpacetimePlan"]().plan(dit, vae, latent, 50, 5.0, 24.0)["report"]["plan"].facts()))
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code, str(base)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts, heavy = done.stdout.splitlines()
    facts = json.loads(facts)
    assert heavy == "[]"
    assert facts["tokens"] == 32760 and facts["passes_per_step"] == 2
    assert facts["memory"]["sampling"]["weights"] == pytest.approx(2 * 14.3e9, rel=0.01)
    linear = 2 * 2 * 11.95e9 * 32760
    assert linear < facts["flops_per_step"] < 2.6 * linear and facts["flops"] == 50 * facts["flops_per_step"]
    assert facts["fits"] is False


def test_the_node_shows_the_same_in_a_graph_and_before_it(nodes, pocket, host):
    grid = nodes["SpacetimeGrid"]()
    asked = pocket.dit, pocket.vae, "1:1", 64, 0, 0, 0.0, 8.0, 17
    node = nodes["SpacetimePlan"]()
    before = node.plan(*asked[:2], grid.plan(*asked)["result"][0], 20, 4.0, 0.0, pocket.text_encoder)["report"]["plan"]
    there = node.run(*asked[:2], grid.run(*asked)["result"][0], 20, 4.0, 0.0, pocket.text_encoder)
    assert there["result"][0].splitlines() == before.lines() and there["ui"]["text"] == [there["result"][0]]
    assert {"tokens        80", "windows       none, seen whole"} < set(before.lines())


# time


def test_a_run_leaves_its_speed_for_later_plans(graph, told, tmp_path, capsys):
    code, out, _ = told(graph)
    assert code == 0 and "hasn't run here yet" in out
    assert main(["run", str(graph), "--base", str(tmp_path)]) == 0
    capsys.readouterr()
    (kept,) = (tmp_path / "user" / "spacetime").iterdir()
    assert kept.name == "calibration.json" and len(json.loads(kept.read_text())["seconds_per_tflop"]) == 1
    code, out, _ = told(graph)
    assert code == 0 and "of sampling, by earlier runs here" in out
    few, many = (json.loads(told(graph, "--json", "--set", f"make.steps={n}")[1])["plans"][0] for n in (2, 40))
    assert many["sampling_seconds"] == pytest.approx(20 * few["sampling_seconds"])


@pytest.mark.parametrize(
    "text", ["", "[", "null", "[]", '{"seconds_per_tflop": []}', '{"seconds_per_tflop": {"a": [[0, 1], [1, -1], "x"]}}',
             '{"seconds_per_tflop": {"a": [[1, NaN], [1e999, 1], [true]]}}', "\x00\xff", "[" * 100000],
)  # fmt: skip
def test_a_broken_file_counts_as_none_and_is_mended(host, base, text):
    path = base / "user" / "spacetime" / "calibration.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="latin-1")
    assert calibration.recall("a", 100) is None
    calibration.remember("a", 100, 2.5)
    assert calibration.recall("a", 100) == 2.5 and list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_no_error(host, base):
    (base / "user").write_text("a file where the folder should be")
    calibration.remember("a", 100, 2.5)
    assert calibration.recall("a", 100) is None


def test_runs_of_about_as_many_tokens_count(host):
    for tokens, seconds in ((100, 9.0), (110, 8.0), (120, 1.0), (5000, 3.0)):
        calibration.remember("a", tokens, seconds)
    assert calibration.recall("a", 105) == 8.0 and calibration.recall("a", 50_000) == 3.0
    for number in range(100):
        calibration.remember("a", 100, 1.0 + number)
    kept = json.loads(calibration.place().read_text())["seconds_per_tflop"]["a"]
    assert len(kept) == calibration.KEPT and kept[-1] == [100, 100.0]


# the command


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_workflow_has_a_plan(path, told):
    code, out, err = told(path, "--json")
    plans = json.loads(out)["plans"]
    assert code == 0, err
    assert plans and all(one["tokens"] > 0 and one["flops"] > 0 and one["peak_memory"] > 0 for one in plans)
    code, out, _ = told(path)
    assert code == 0 and out.count("peak memory") == len(plans)


def test_the_video_takes_about_the_disk_it_says(told, tmp_path, capsys):
    path = ROOT / "workflows" / "text_to_video.json"
    (plan,) = json.loads(told(path, "--json")[1])["plans"]
    assert main(["run", str(path), "--json", "--base", str(tmp_path)]) == 0
    (saved,) = json.loads(capsys.readouterr().out)["outputs"]
    assert 0.5 < plan["disk"]["video"] / Path(saved["path"]).stat().st_size < 2


def test_a_minute(told):
    minute = "--seconds", "60", "--fps", "30", "--tokens-per-frame", "256"
    code, out, _ = told(*minute)
    assert code == 0 and "460,800 tokens" in out
    code, out, _ = told(*minute, "--size", "1920x1080", "--json")
    answer = json.loads(out)
    tokens = {one["way"]: one["tokens"] for one in answer["tokens"]}
    assert answer["frames"] == 1800 and tokens["256 tokens a frame"] == 460_800
    assert tokens["LTX-Video"] == 60 * 34 * 226


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "there is nothing to plan"),
        (["--size", "1920x1080"], "needs --seconds"),
        (["--seconds", "60"], "--size or --tokens-per-frame"),
        (["--size", "big", "--seconds", "6"], "1920x1080 would be right"),
        (["--seconds", "nan"], "a number above 0 would be right"),
        (["GRAPH", "--seconds", "60"], "without a FILE"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(told, graph, arguments, says):
    code, out, err = told(*[str(graph) if one == "GRAPH" else one for one in arguments])
    assert code == 2 and out == "" and err.count("\n") == 1 and says in err


def test_memory_can_be_another_machines(told, graph):
    code, out, _ = told(graph, "--memory", "0.61")
    assert code == 0 and "610 MB (as you say): doesn't fit" in out
    code, out, _ = told(graph, "--memory", "24")
    assert code == 0 and "24.0 GB (as you say): fits" in out


def test_the_command_stays_without_torch(graph, tmp_path):
    code = (
        "import sys; from spacetime_nodes.host.cli import main; code = main(sys.argv[1:]);"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", str(graph)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0 and done.stderr.strip() == "[]"
