"""Which device `auto` is, with torch and before it is loaded."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from spacetime_nodes.model_loaders import devices, memory

BUILDS = """__version__ = '2.13.0'
cuda: Optional[str] = {cuda}
git_version = 'cf30153c'
hip: Optional[str] = {hip}
xpu: Optional[str] = {xpu}
"""


@pytest.fixture
def before_torch(monkeypatch, tmp_path):
    """`before_torch(built for, what the machine has)`: torch is installed, not loaded."""

    def set_up(builds, has):
        (tmp_path / "version.py").write_text(
            BUILDS.format(**{name: repr("1.2") if name in builds else None for name in ("cuda", "hip", "xpu")})
        )
        spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
        monkeypatch.setattr(devices, "find_spec", lambda name: spec if name == "torch" else None)
        devices._torch_builds.cache_clear()
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(devices.shutil, "which", lambda name: f"/usr/bin/{name}" if name in has else None)
        exists = Path.exists
        monkeypatch.setattr(Path, "exists", lambda path: str(path) in has if "/dev/" in str(path) else exists(path))
        (tmp_path / "vendor").write_text("0x8086\n" if "intel" in has else "0x1002\n")
        monkeypatch.setattr(devices, "_cards", lambda fact: [tmp_path / fact])
        monkeypatch.delitem(sys.modules, "torch")

    yield set_up
    devices._torch_builds.cache_clear()


@pytest.mark.parametrize(
    ("builds", "has", "gpu"),
    [
        (["cuda"], ["nvidia-smi"], True),
        (["cuda"], ["/dev/nvidiactl"], True),
        (["cuda"], ["/dev/kfd", "intel"], False),
        ([], ["nvidia-smi", "/dev/nvidiactl", "/dev/kfd", "intel"], False),
        (["hip"], ["/dev/kfd"], True),
        (["hip"], ["nvidia-smi"], False),
        (["xpu"], ["intel"], True),
        (["xpu"], ["nvidia-smi"], False),
    ],
)
def test_before_torch_is_loaded_its_build_and_the_drivers_tell(before_torch, builds, has, gpu):
    before_torch(builds, has)
    assert devices.has_gpu() is gpu
    assert devices.on_cpu("auto") is not gpu and devices.on_cpu("cpu") and not devices.on_cpu("cuda")
    assert devices.value_bytes("auto", "auto") == (2 if gpu else 4)
    assert devices.value_bytes("auto", "auto", precise=True) == devices.value_bytes("float32", "auto") == 4


def test_apples_gpu_and_a_cpu_have_no_memory_of_their_own(before_torch, monkeypatch):
    before_torch(["cuda"], ["nvidia-smi"])
    assert [devices.one_memory(one) for one in ("auto", "cuda", "xpu", "mps", "cpu")] == [
        False,
        False,
        False,
        True,
        True,
    ]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert devices.one_memory("auto")


def test_no_torch_at_all_is_no_gpu(before_torch, monkeypatch):
    before_torch([], ["nvidia-smi"])
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    assert not devices.has_gpu() and devices.first_gpu() is None


def test_auto_is_the_first_gpu_that_torch_can_use(monkeypatch):
    there = {"cuda": False, "xpu": True, "mps": True}
    for module, name in ((torch.cuda, "cuda"), (torch.xpu, "xpu"), (torch.backends.mps, "mps")):
        monkeypatch.setattr(module, "is_available", lambda name=name: there[name])
    assert devices.there() == ["xpu", "mps", "cpu"]
    assert devices.pick_device("auto") == devices.first_gpu() == torch.device("xpu")
    assert devices.pick_device("mps").type == "mps" and devices.pick_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="device 'cuda' isn't on this machine; here: xpu, mps, cpu"):
        devices.pick_device("cuda")
    there["xpu"] = False
    assert devices.pick_device("auto").type == "mps" and devices.first_gpu() is None, "its memory is the computer's"


def test_a_gpus_free_memory_is_the_drivers_and_what_torch_keeps_of_it(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (500, 2000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    facts = SimpleNamespace(total_memory=2000, name="one")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: facts)
    assert devices.free_bytes(gpu) == 700 and devices.total_bytes(gpu) == 2000
    for other in ("cpu", "mps"):
        assert devices.free_bytes(torch.device(other)) is devices.total_bytes(torch.device(other)) is None


def test_random_numbers_of_its_own():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with devices.own_random(torch.device("cpu")):
        torch.rand(7)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("kind", ["cpu", "cuda", "npu"])
def test_in_comfyui_auto_is_where_comfyui_computes(monkeypatch, kind):
    """--cpu beside a GPU, and kinds of GPUs that only ComfyUI knows."""
    chosen = SimpleNamespace(type=kind)
    management = SimpleNamespace(get_torch_device=lambda: chosen, get_total_memory=lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "folder_paths", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    assert devices.pick_device("auto") is chosen and devices.pick_device("cuda").type == "cuda"
    assert devices.on_cpu("auto") is (kind == "cpu")
    assert devices.value_bytes("auto", "auto") == (4 if kind == "cpu" else 2)
    if kind != "cpu":
        assert memory.free_bytes(chosen) == 900
