"""Where the weights stay, and that it is told before: disk offload; who lets go of them and when."""

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import original_layout as old
import pytest
import torch
from dits import sampled
from spacetime_nodes.model_loaders import fingerprints, memory, offload
from spacetime_nodes.model_loaders.checkpoint import read_json
from spacetime_nodes.model_loaders.folders import POCKET, POCKET_FOLDER
from spacetime_nodes.model_loaders.single_file import CONFIGS, locate

CPU = torch.device("cpu")
WAN = CONFIGS / "wan-2.1-t2v-1.3b" / "transformer" / "config.json"


# where they stay


def test_disk_offload_makes_the_same_video_and_takes_its_files_along(nodes, host, pocket):
    plain = sampled(nodes, pocket.dit, pocket.text_encoder)
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, memory="disk offload")
    assert (sampled(nodes, dit, pocket.text_encoder) - plain).abs().max() <= 1e-6
    (folder,) = (host.base / "temp").iterdir()
    assert len(list(folder.rglob("*.safetensors"))) == 9  # 8 blocks and the rest
    del dit
    gc.collect()
    assert not folder.exists()


def test_large_weights_go_with_the_last_who_needs_them(nodes, host, pocket, monkeypatch):
    """At once: the adapter, the module and diffusers' hooks refer to each other, so nothing else frees them."""
    monkeypatch.setattr(memory, "LARGE", 0)
    for loader in (nodes["SpacetimeLoadDiT"](), nodes["SpacetimeLoadTextEncoder"](), nodes["SpacetimeLoadVAE"]()):
        (one,) = loader.run(POCKET)
        module = weakref.ref(one.adapter.transformer if hasattr(type(one), "adapter") else one.module)
        if hasattr(type(one), "adapter"):
            sampled(nodes, one, pocket.text_encoder)
        assert module() is not None
        gc.disable()
        try:
            del one
            assert module() is None, loader
        finally:
            gc.enable()


def test_on_a_cpu_block_offload_says_that_it_saves_nothing(nodes, host, pocket):
    plain = sampled(nodes, pocket.dit, pocket.text_encoder)
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, device="cpu", memory="block offload")
    assert torch.equal(sampled(nodes, dit, pocket.text_encoder), plain)
    assert host.notices == ["block offload: a cpu has no memory of its own; only disk offload saves any there"]


def test_auto_offloads_where_the_weights_do_not_fit_and_says_so(nodes, host, pocket, monkeypatch):
    plain = sampled(nodes, pocket.dit, pocket.text_encoder)
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, device="cpu")
    assert torch.equal(sampled(nodes, dit, pocket.text_encoder), plain) and not host.notices
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10_000_000)
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, device="cpu")
    assert (sampled(nodes, dit, pocket.text_encoder) - plain).abs().max() <= 1e-6
    (said,) = host.notices
    assert said.startswith("memory: the DiT's weights take 21 MB") and "10 MB are free on cpu; disk offload: " in said


def test_auto_chooses_anew_for_a_video_that_needs_more(nodes, host, pocket, monkeypatch):
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, device="cpu")
    dit.ready(1000)
    first = weakref.ref(dit.adapter.transformer)
    dit.ready(2000)
    assert dit.adapter.transformer is first()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2500)
    dit.ready(3000)
    dit.adapter  # noqa: B018 - loads
    assert first() is None and "disk offload" in host.notices[-1]


def test_auto_takes_the_fastest_that_fits():
    sizes = {
        "fits": offload.Footprint(28, 28),
        "block offload": offload.Footprint(28, 3, 28),
        "leaf offload": offload.Footprint(28, 1, 28),
        "disk offload": offload.Footprint(28, 2, 1, 28),
    }

    def chosen(needed, free, computer=64, one_memory=False):
        return offload.choose(sizes, needed, free, computer, one_memory)

    assert chosen(10, 40) == "fits"
    assert chosen(10, 37) == "block offload"
    assert chosen(10, 12) == "leaf offload"
    assert chosen(10, 24, computer=20) == "disk offload"
    assert chosen(10, 5) == "disk offload"
    assert (chosen(2, 30, one_memory=True), chosen(3, 30, one_memory=True)) == ("fits", "disk offload")


@pytest.mark.parametrize("dtype, size", [("float32", "21 MB"), ("bfloat16", "10 MB")])
def test_a_disk_that_is_too_full_is_one_line(nodes, host, monkeypatch, dtype, size):
    from spacetime_nodes.model_loaders import moves

    monkeypatch.setattr(moves.shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, dtype, memory="disk offload")
    with pytest.raises(OSError, match=f"disk offload writes {size} into .*temp, where 0 kB are free"):
        dit.adapter  # noqa: B018


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files stands for a full disk")
def test_a_disk_that_fills_up_while_it_is_written_is_one_line_and_nothing_stays(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.model_loaders.folders import POCKET_FOLDER
import torch, diffusers

dit = DiT(POCKET_FOLDER / "transformer", memory="disk offload", scratch=Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    dit.adapter
except OSError as error:
    print(error, [path.name for path in Path(sys.argv[1]).iterdir()], end="")
"""
    for limit in (8192, 1 << 20):
        run = subprocess.run([sys.executable, "-c", code, tmp_path, str(limit)], capture_output=True, text=True)
        assert run.stdout == (
            f"disk offload writes 21 MB into {tmp_path}, which failed (File too large (os error 27)); make room there "
            "or choose another memory than 'disk offload' []"
        ), run.stderr


PEAK = """
import sys, torch
from pathlib import Path
from spacetime_nodes.model_loaders.dit import DiT
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as nodes

def figure(name):
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

def sample(dit, width):
    text = [[torch.zeros(1, 8, width), {}]]
    latent = {"samples": torch.zeros(1, 16, 1, 8, 8)}
    return nodes["SpacetimeSample"]().run(dit, text, text, latent, 0, 2, 4.0, preview=False)[0]["samples"]

sample(DiT(Path(sys.argv[3])), 64)  # all libraries are there
before = figure("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
x = sample(DiT(Path(sys.argv[1]), memory=sys.argv[2], scratch=Path(sys.argv[1])), 32)
print(figure("VmHWM") - before, float(x.abs().sum()))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")
def test_the_peak_of_the_dit_stage_is_far_below_the_weights(tmp_path):
    """Real memory of real processes: with all weights, once their size; with disk offload, a block's."""
    from diffusers import WanTransformer3DModel

    sizes = {"num_attention_heads": 8, "attention_head_dim": 64, "ffn_dim": 2048, "num_layers": 16, "text_dim": 32}
    config = {**read_json(WAN), **sizes}
    torch.manual_seed(0)
    transformer = WanTransformer3DModel.from_config(config)
    weight = sum(p.nbytes for p in transformer.parameters())
    transformer.save_pretrained(tmp_path)
    del transformer
    assert weight > 250e6

    def peak(way):
        command = [sys.executable, "-c", PEAK, str(tmp_path), way, str(POCKET_FOLDER / "transformer")]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return int(out[-2]), float(out[-1])

    (fits, plain), (disk, same) = peak("fits"), peak("disk offload")
    print(f"weights {weight / 1e6:.0f} MB; peak with all {fits / weight:.0%}, with disk offload {disk / weight:.0%}")
    assert 0.9 * weight < fits < 1.3 * weight, "loading never holds them twice"
    assert disk < 0.4 * weight
    assert abs(same - plain) <= 1e-6 * abs(plain)


# the text encoder


def test_a_text_encoder_is_released_when_it_has_read_and_reads_again(nodes, host, pocket):
    (encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(POCKET, after_encoding="release")
    module = weakref.ref(encoder.module)
    first, again = (nodes["SpacetimeEncodePrompt"]().run(encoder, "red circle", "") for _ in range(2))
    assert module() is None and torch.equal(first[0][0][0], again[0][0][0])
    (encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(POCKET, after_encoding="keep")
    module = weakref.ref(encoder.module)
    nodes["SpacetimeEncodePrompt"]().run(encoder, "red circle", "")
    assert module() is encoder.module


def test_auto_releases_a_text_encoder_that_takes_much_of_the_device(nodes, host, monkeypatch):
    (encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(POCKET)
    size = sum(p.nbytes for p in encoder.module.parameters())
    assert encoder.rest() == 0
    monkeypatch.setattr(memory, "total_bytes", lambda device: 3 * size)
    assert encoder.rest() == size and encoder.rest() == 0


# told before


@pytest.mark.parametrize("storage", offload.WEIGHTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_footprint_is_what_the_weights_then_take(nodes, host, dtype, storage):
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET, dtype, weights=storage)
    told, taken = dit.footprints("fits")[0].weights, 0
    for tensor in dit.adapter.transformer.parameters():
        taken += (
            sum(part.nbytes for part in (tensor._data, tensor._scale)) if hasattr(tensor, "_data") else tensor.nbytes
        )
    assert told == pytest.approx(taken, rel=0.05)


def test_the_footprint_of_a_published_file_with_each_choice(tmp_path):
    """14 billion parameters in half precision, from the header of a file that is a hole."""
    from headers import shapes, write_header

    with torch.device("meta"):
        from diffusers import WanTransformer3DModel

        state = WanTransformer3DModel.from_config(
            read_json(CONFIGS / "wan-2.1-t2v-14b/transformer/config.json")
        ).state_dict()
    write_header(tmp_path / "wan2.1_t2v_14B_bf16.safetensors", shapes(old.original(state, old.WAN)))
    source = locate(tmp_path / "wan2.1_t2v_14B_bf16.safetensors", fingerprints.DIT)
    whole = offload.footprint(source, device="cuda")
    assert whole.weights == whole.device == pytest.approx(28.6e9, rel=0.01) and whole.computer == whole.disk == 0
    block = offload.footprint(source, device="cuda", memory="block offload")
    assert block.device < 0.07 * whole.weights and block.computer == whole.weights
    leaf = offload.footprint(source, device="cuda", memory="leaf offload")
    assert leaf.device < 0.012 * whole.weights  # its largest layer
    disk = offload.footprint(source, device="cpu", memory="disk offload")
    assert disk.device < 0.05 * disk.weights and disk.disk == disk.weights == pytest.approx(2 * whole.weights, rel=0.01)
    assert offload.footprint(source, device="cuda", weights="fp8").weights < 0.52 * whole.weights


def test_a_dry_run_says_what_the_choice_takes(nodes, host, pocket):
    plans = [nodes["SpacetimeLoadDiT"]().plan(model_name=POCKET, device="cpu", memory=way) for way in offload.MEMORY]
    told = {plan["report"]["memory"]: plan["report"] for plan in plans}
    assert "auto (all on the device, or disk offload with 4 MB at a time)" in told
    assert told["fits"]["weights"] == "21 MB" and told["fits"]["at a time"] == "" == told["fits"]["on disk"]
    assert told["disk offload"]["at a time"] == "4 MB of them" and told["disk offload"]["on disk"] == "21 MB"
    grids = []
    for plan in plans[:2] + plans[-1:]:
        asked = ("1:1", 64, 0, 0, 0.0, 8.0, 9, 1)
        grids.append(nodes["SpacetimeGrid"]().plan(plan["result"][0], pocket.vae, *asked)["report"]["weights_bytes"])
    assert grids[0] == grids[1] > grids[2] + 10e6
    encoder = nodes["SpacetimeLoadTextEncoder"]().plan(text_encoder_name=POCKET)["report"]
    assert encoder["after encoding"] == "auto" and encoder["weights_bytes"] > 100_000
