"""What would make a plan fit; what `auto` will choose, what goes to the disk, what has memory of its own."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from headers import shapes, write_header
from spacetime_nodes.model_loaders import advice, offload
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.model_loaders.folders import CONFIGS
from spacetime_nodes.model_loaders.offload import Footprint
from spacetime_nodes.model_loaders.outlook import Free, Wish, _chosen, altered, outlook
from spacetime_nodes.model_loaders.text_encoder import TextEncoder
from spacetime_nodes.model_loaders.vae import VAE
from spacetime_nodes.spacetime import cost
from spacetime_nodes.spacetime.cost import readable
from tiny_files import make


def wish(pocket, nodes, width, height, frames):
    grid = nodes["SpacetimeGrid"]().plan(pocket.dit, pocket.vae, "custom", 0, width, height, 0.0, 8.0, frames)
    return Wish(tuple(grid["report"]["shape"]), 8.0, 2, 4.0)


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


def test_a_vae_that_works_whole_is_planned_in_tiles_where_it_would_not_fit():
    for device in ("cpu", "cuda"):
        vae = VAE(CONFIGS / "hunyuan-video-t2v" / "vae", device=device)
        size = 320, 320, 1
        whole, tiled = (vae.decoding_bytes(*size, tiled) for tiled in (False, True))
        assert tiled < 0.7 * whole
        assert [vae.planned_bytes(*size, room) for room in (whole, whole - 1)] == [whole, tiled]
