"""The plan says before a run what the run then takes: tokens, arithmetic, memory, time; and what would make it fit."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import spacetime_nodes
import torch
from headers import shapes, write_header
from hypothesis import given, settings
from hypothesis import strategies as st
from spacetime_nodes.host.cli import main
from spacetime_nodes.model_loaders import advice, offload
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.model_loaders.folders import CONFIGS
from spacetime_nodes.model_loaders.offload import Footprint
from spacetime_nodes.model_loaders.outlook import Free, Wish, _chosen, altered, outlook, sampled
from spacetime_nodes.model_loaders.text_encoder import TextEncoder
from spacetime_nodes.model_loaders.vae import VAE
from spacetime_nodes.nodes import calibration
from spacetime_nodes.spacetime import cost
from spacetime_nodes.spacetime.cost import readable
from spacetime_nodes.spacetime.views import views
from spacetime_nodes.spacetime.windows import choose, stretches
from tiny_files import make

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


def wish(pocket, nodes, width, height, frames, steps=2, guidance=4.0):
    grid = nodes["SpacetimeGrid"]().plan(pocket.dit, pocket.vae, "custom", 0, width, height, 0.0, 8.0, frames)
    return Wish(tuple(grid["report"]["shape"]), 8.0, steps, guidance)


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
    way = sampled(pocket.dit, wish(pocket, nodes, *size))
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


# what would fit


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    """`wan(**choices)`: Wan 1.3B, its VAE and UMT5-XXL on a GPU, from headers of the published sizes."""
    from transformers import UMT5Config, UMT5EncoderModel

    folder = tmp_path_factory.mktemp("wan")
    parts = {"transformer": ("wan-2.1-t2v-1.3b", DiT), "vae": ("wan-2.1-vae", VAE)}
    parts["text_encoder"] = "umt5-xxl", TextEncoder
    for part, (name, _) in parts.items():
        config = json.loads((CONFIGS / name / part / "config.json").read_text())
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(config))
        with torch.device("meta"):
            module = UMT5EncoderModel(UMT5Config(**config)) if part == "text_encoder" else make(config)
        state = {key: one for key, one in module.state_dict().items() if key != "encoder.embed_tokens.weight"}  # tied
        write_header(folder / part / f"{stem}.safetensors", shapes(state))

    def loaded(reads_on="cuda", dtype="auto", **choices):
        dit, vae = DiT(folder / "transformer", dtype, "cuda", **choices), VAE(folder / "vae", "auto", "cuda")
        return dit, vae, TextEncoder(folder / "text_encoder", dtype, reads_on)

    return loaded


SMALL, LARGE = (Wish((1, 16, 21, *cells), 16.0, 20, 5.0) for cells in ((60, 60), (60, 104)))  # 480×480, 832×480


def advised(models, asked, room, computer=None):
    plan = outlook(*models, asked, room=room, computer=computer)
    return [one.removesuffix(" would fit") for one in plan.advice]


def test_a_text_encoder_that_alone_does_not_fit_is_what_the_advice_is_about(wan):
    on_cpu = outlook(*wan("cpu"), SMALL, room=10**10)
    assert on_cpu.fits and outlook(*wan(), SMALL, room=10**10).fits is False
    assert advised(wan(), SMALL, 10**10) == ["device cpu for the text encoder"]
    assert advised(wan(dtype="float32"), SMALL, 14 * 10**9) == [
        "device cpu for the text encoder", "dtype bfloat16 for the text encoder",
    ]  # fmt: skip
    dit, vae, encoder = (altered(one, device="cpu") for one in wan())
    assert advised((dit, vae, encoder), SMALL, 14 * 10**9) == ["dtype bfloat16 for the text encoder"]
    assert advised((dit, vae, encoder), SMALL, 10**10) == ["no size fits with these models: choose smaller ones"]


def test_it_moves_to_a_computer_that_has_the_memory(wan):
    """On a CPU dtype auto is float32, twice as much."""
    assert advised(wan(), SMALL, 10**10, 25 * 10**9) == ["device cpu for the text encoder"]
    assert advised(wan(), SMALL, 10**10, 16 * 10**9) == ["device cpu and dtype bfloat16 for the text encoder"]
    assert advised(wan(), SMALL, 10**10, 8 * 10**9) == ["no size fits with these models: choose smaller ones"]


def test_the_vae_moves_or_works_in_tiles_before_the_video_shrinks(wan):
    assert advised(wan("cpu"), LARGE, 10**10)[:2] == ["device cpu for the VAE", "tiling on for the VAE"]
    both = advised(wan(), LARGE, 10**10)
    assert both[:2] == [
        "device cpu for the text encoder and the VAE", "device cpu for the text encoder and tiling on for the VAE",
    ]  # fmt: skip
    assert len(both) == 4 and all(one.startswith("device cpu for the text encoder and ") for one in both)


@pytest.mark.parametrize("room", [3, 6, 8, 10, 14, 18, 24])
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_no_change_that_is_advised_could_be_left_out(wan, room, dtype):
    run = advice.Run(*wan(dtype=dtype, memory="fits"), LARGE)

    def planned(run):
        return outlook(run.dit, run.vae, run.text_encoder, run.wish, room=room * 10**9)

    for changes in advice.advice(run, planned(run), planned) if planned(run).fits is False else ():
        assert planned(advice.with_changes(run, changes)).fits, advice.told(changes)
        for one in changes:
            others = [other for other in changes if other is not one]
            assert planned(advice.with_changes(run, others)).fits is False, advice.told(changes)


def test_what_it_advises_would_fit(nodes, pocket):
    asked, room = wish(pocket, nodes, 512, 512, 161), 760_000_000
    plan = outlook(pocket.dit, pocket.vae, pocket.text_encoder, asked, room=room, where="here")
    assert plan.fits is False and plan.advice
    (smaller,) = [one for one in plan.advice if "×" in one]
    width, height = map(int, smaller.split()[0].split("×"))
    other = wish(pocket, nodes, width, height, 161)
    assert outlook(pocket.dit, pocket.vae, pocket.text_encoder, other, room=room, where="here").fits
    assert plan.within(10**12, "there").fits and plan.within(10**12, "there").advice == ()


def test_fewer_frames_are_advised_where_they_help(nodes, pocket):
    asked = replace(wish(pocket, nodes, 128, 128, 161), windows="whole")
    needs = outlook(pocket.dit, pocket.vae, None, asked, room=10**12, where="").peak.bytes
    room = 600_000_000 + needs * 2 // 3
    plan = outlook(pocket.dit, pocket.vae, None, asked, room=room, where="here")
    (fewer,) = [one for one in plan.advice if "frames" in one]
    frames = int(fewer.split()[0])
    assert 1 < frames < 161 and frames % 4 == 1
    shorter = replace(asked, shape=(*asked.shape[:2], (frames + 3) // 4, *asked.shape[3:]))
    assert outlook(pocket.dit, pocket.vae, None, shorter, room=room, where="here").fits
    assert any(one.startswith("windows auto") for one in plan.advice)


def test_what_memory_auto_will_choose_is_planned_and_said(nodes, pocket):
    """On a CPU the disk; on a GPU first the computer's memory."""
    asked = wish(pocket, nodes, 64, 64, 17)
    with_gpu = [
        nodes[name]().run("pocket (built in)", "auto", "cuda")[0] for name in ("SpacetimeLoadDiT", "SpacetimeLoadVAE")
    ]
    for dit, vae, way in ((pocket.dit, pocket.vae, "disk offload"), (*with_gpu, "block offload")):
        plenty = outlook(dit, vae, None, asked, room=10**12, where="")
        assert plenty.fits and plenty.notes == ()
        kept = outlook(altered(dit, memory=way), vae, None, asked, room=10**12, where="").stages[0]
        room = cost.LIBRARIES + kept.bytes + 1
        plan = outlook(dit, vae, None, asked, room=room, where="here")
        assert plan.stages[0] == kept and kept.weights < 0.5 * plenty.stages[0].weights
        part, whole = readable(kept.weights), readable(plenty.stages[0].weights)
        there = readable(room - cost.LIBRARIES)
        assert plan.notes == (
            f"memory auto will be {way} with {there} free for the DiT: {part} of its {whole} at a time",
        )
        assert not any("memory" in one for one in plan.advice), "it is taken as it is"
        assert plan.within(10**12, "there").notes == ()
        whole = outlook(altered(dit, memory="fits"), vae, None, asked, room=room, where="here")
        assert whole.fits is False and whole.notes == ()
    assert outlook(pocket.dit, pocket.vae, None, asked, room=None).notes == ()
    assert outlook(altered(pocket.dit, weights="int8 (quanto)"), pocket.vae, None, asked, room=1).notes == ()


def test_a_text_encoder_that_stays_leaves_less_for_the_dit(nodes, pocket):
    asked, room = wish(pocket, nodes, 64, 64, 17), 700_000_000
    stays, goes = (altered(pocket.text_encoder, afterwards=way) for way in ("keep", "release"))
    needs = outlook(pocket.dit, pocket.vae, goes, asked, room=room).stage("sampling").bytes
    for encoder, fits in ((goes, True), (stays, False)):
        encoder.__dict__.pop("held", None)  # its weights aren't loaded yet
        plan = outlook(pocket.dit, pocket.vae, encoder, asked, room=room, free=Free(needs + 1))
        assert (plan.notes == ()) is fits


def test_two_experts_are_loaded_one_after_another():
    """At 48 GB the first of A14B's fits, and the second finds what that leaves."""
    gb = 10**9
    whole = 28 * gb
    sizes = {
        "fits": Footprint(whole, whole),
        "block offload": Footprint(whole, 2 * gb, whole),
        "leaf offload": Footprint(whole, gb, whole),
        "disk offload": Footprint(whole, gb, gb, whole),
    }
    both = {way: [one, one] for way, one in sizes.items()}
    assert _chosen(both, 6 * gb, 48 * gb, None, False) == ["fits", "block offload"]
    assert _chosen(both, 6 * gb, 80 * gb, None, False) == ["fits", "fits"]
    assert _chosen(both, 6 * gb, 24 * gb, 40 * gb, False) == ["block offload", "disk offload"]


# the disk


def test_what_disk_offload_writes_is_told(nodes, pocket, host):
    (dit,) = nodes["SpacetimeLoadDiT"]().run("pocket (built in)", "auto", "cpu", "disk offload")
    asked = wish(pocket, nodes, 64, 64, 17)
    plan = outlook(dit, pocket.vae, None, asked, room=10**12)
    dit.adapter  # noqa: B018 - loads
    written = sum(path.stat().st_size for path in (host.base / "temp").rglob("*.safetensors"))
    assert plan.facts()["disk"]["offload"] == plan.offload == pytest.approx(written, rel=0.02)
    (line,) = [line for line in plan.lines() if line.startswith("disk")]
    assert line.endswith(f"of model files, {readable(plan.offload)} of disk offload") and plan.notes == ()
    plenty = outlook(pocket.dit, pocket.vae, None, asked, room=10**12)
    short = outlook(pocket.dit, pocket.vae, None, asked, room=cost.LIBRARIES + plan.stages[0].bytes + 1)
    assert plenty.offload == 0 and short.offload == plan.offload, "as auto chooses"
    assert not any("offload" in line for line in plenty.lines())


def test_a_disk_that_is_too_full_for_it_is_told_and_not_advised(nodes, pocket, host, monkeypatch):
    asked = wish(pocket, nodes, 64, 64, 17)
    fits, moved = (
        nodes["SpacetimeLoadDiT"]().run("pocket (built in)", "auto", "cpu", way)[0] for way in ("fits", "disk offload")
    )
    room = cost.LIBRARIES + outlook(moved, pocket.vae, None, asked).peak.bytes + 1
    assert "memory disk offload for the DiT would fit" in outlook(fits, pocket.vae, None, asked, room=room).advice
    monkeypatch.setattr(offload.shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    assert outlook(moved, pocket.vae, None, asked, room=room).notes == (
        f"disk offload writes 21 MB into {host.base / 'temp'}, where 5 MB are free: 16 MB more would be enough",
    )
    assert not any("disk" in one for one in outlook(fits, pocket.vae, None, asked, room=room).advice)


# what has memory of its own


def loaded(nodes, device, reads_on):
    names = "SpacetimeLoadDiT", "SpacetimeLoadVAE"
    dit, vae = (nodes[name]().run("pocket (built in)", "auto", device)[0] for name in names)
    return dit, vae, nodes["SpacetimeLoadTextEncoder"]().run("pocket (built in)", "auto", reads_on)[0]


def test_what_works_elsewhere_takes_nothing_of_the_gpu(nodes, pocket, host):
    asked = wish(pocket, nodes, 64, 64, 17)
    both, apart = (outlook(*loaded(nodes, "cuda", device), asked, room=10**10) for device in ("cuda", "cpu"))
    text = next(stage for stage in apart.stages if stage.name == "text encoder")
    assert text.weights > 0 and both.together - apart.together == text.weights // 2  # in half precision on a GPU
    assert [stage.elsewhere for stage in both.stages] == ["", "", ""] and text not in apart.here
    (line,) = [line for line in apart.lines() if line.endswith("in the computer's memory")]
    assert line.startswith("text encoder")
    (dit, _, encoder), (_, vae, _) = loaded(nodes, "cpu", "cuda"), loaded(nodes, "cuda", "cpu")
    assert [stage.elsewhere for stage in outlook(dit, vae, encoder, asked).stages] == ["on the GPU", "", "on the GPU"]


def test_a_vae_that_works_whole_is_planned_in_tiles_where_it_would_not_fit(tmp_path):
    from spacetime_nodes.model_loaders.folders import CONFIGS
    from spacetime_nodes.model_loaders.vae import VAE

    for device in ("cpu", "cuda"):
        vae = VAE(CONFIGS / "hunyuan-video-t2v" / "vae", device=device)
        size = 320, 320, 1
        whole, tiled = (vae.decoding_bytes(*size, tiled) for tiled in (False, True))
        assert tiled < 0.7 * whole
        assert [vae.planned_bytes(*size, room) for room in (whole, whole - 1)] == [whole, tiled]


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
