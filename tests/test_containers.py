"""In a container its cgroup, of either version, says what memory there is and what of it is free."""

import pytest
from spacetime_nodes.host import server
from spacetime_nodes.model_loaders import memory
from spacetime_nodes.spacetime import cost

MACHINE = 64 * 10**9
FILES = {
    1: ("memory/", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    2: ("", "memory.max", "memory.current", ""),
}


@pytest.fixture
def container(tmp_path, monkeypatch):
    """`container(limit=…, used=…)`: this process is in one, on a machine of 64 GB of which 40 are free."""
    monkeypatch.setattr(cost, "_physical", lambda: MACHINE)
    monkeypatch.setattr(cost, "PROC", tmp_path / "proc")
    monkeypatch.setattr(cost, "CGROUP", tmp_path / "cgroup")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {MACHINE // 1024} kB\nMemAvailable: 39062500 kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text("")

    def make(limit, used=0, files=0, shared=0, version=2, group="/", member=None):
        """files: bytes of pages that cache files; shared: of shared memory; both are part of `used`. group: which has
        the limit; member: which this process is in."""
        mount, most, usage, prefix = FILES[version]
        told = f"9:cpuset:/\n4:memory:{member or group}\n0::/\n" if version == 1 else f"0::{member or group}\n"
        (tmp_path / "proc" / "self" / "cgroup").write_text(told)
        folder = tmp_path / "cgroup" / mount / group.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / most).write_text(f"{limit}\n")
        (folder / usage).write_text(f"{used}\n")
        stat = {"cache": files + shared, "file": files + shared, "active_file": files // 4}
        stat["inactive_file"] = files - files // 4
        lines = [f"{name} {count}" for name, count in stat.items()]
        (folder / "memory.stat").write_text("\n".join([*lines, *(f"total_{line}" for line in lines)]) + "\n")

    return make


@pytest.mark.parametrize("version", FILES)
def test_its_limit_is_the_memory_there_is(container, version):
    container(8 * 10**9, 3 * 10**9, 10**9, 10**9, version)
    assert cost.machine_bytes() == 8 * 10**9
    assert cost.available_bytes() == 6 * 10**9, "files' pages are given back, shared memory's aren't"
    cost.refuse_if_impossible(7 * 10**9, "this")
    with pytest.raises(
        MemoryError, match="this needs about 9.0 GB of memory, this machine has 8.0 GB; make it smaller"
    ):
        cost.refuse_if_impossible(9 * 10**9, "this")
    assert server.machine()["system"]["ram_total"] == 8 * 10**9


def test_what_is_in_use_makes_nothing_impossible(container):
    container(8 * 10**9, 79 * 10**8)
    assert cost.available_bytes() == 10**8
    cost.refuse_if_impossible(7 * 10**9, "this")


@pytest.mark.parametrize("version", FILES)
@pytest.mark.parametrize("limit", [9223372036854771712, "max"])
def test_no_limit_leaves_the_machines(container, version, limit):
    container(limit, 10**9, version=version)
    assert cost.machine_bytes() == MACHINE and cost.available_bytes() == 40 * 10**9


@pytest.mark.parametrize("version", FILES)
def test_the_limit_may_be_that_of_a_group_above(container, version):
    container(30 * 10**9, 10**9, version=version, member="/slice/scope")
    container(8 * 10**9, 10**9, version=version, group="/slice", member="/slice/scope")
    assert cost.machine_bytes() == 8 * 10**9 and cost.available_bytes() == 7 * 10**9


def test_one_that_does_not_see_the_groups_above_it(container):
    """Docker's version 1: the process is told the path outside, which isn't there inside."""
    container(8 * 10**9, 10**9, version=1, member="/docker/0123456789ab")
    assert cost.machine_bytes() == 8 * 10**9 and cost.available_bytes() == 7 * 10**9


def test_more_than_its_limit_in_use_is_nothing_free(container):
    container(10**9, 2 * 10**9)
    assert cost.available_bytes() == 0


def test_where_there_is_no_linux_all_there_is_counts_as_free(monkeypatch, tmp_path):
    monkeypatch.setattr(cost, "_physical", lambda: MACHINE)
    monkeypatch.setattr(cost, "PROC", tmp_path)
    assert cost.machine_bytes() == cost.available_bytes() == MACHINE
    monkeypatch.setattr(cost, "_physical", lambda: None)
    assert cost.machine_bytes() is None and cost.available_bytes() is None
    cost.refuse_if_impossible(10**15, "this")


def test_the_plan_is_the_containers_and_memory_auto_goes_by_what_is_free_now(nodes, host, container):
    """Others fill 4 GB all but a little: what the plan says it will be is what the run then takes."""
    container(4 * 10**9, 3_990_000_000)
    (dit,) = nodes["SpacetimeLoadDiT"]().run("pocket (built in)", "auto", "cpu")
    (vae,) = nodes["SpacetimeLoadVAE"]().run("pocket (built in)", "auto", "cpu")

    def planned():
        latent = {"shape": [1, 16, 1, 8, 8], "fps": 8.0}
        return nodes["SpacetimePlan"]().plan(dit, vae, latent, 2, 4.0)["report"]["plan"]

    assert planned().room == 4 * 10**9 and planned().fits
    assert planned().notes == (
        "memory auto will be disk offload with 10 MB free for the DiT, as now: 4 MB of its 21 MB at a time",
    )
    assert memory.free_bytes(dit.place[1]) == 10**7
    dit.adapter  # noqa: B018 - loads
    assert host.notices[-1].endswith("10 MB are free on cpu; disk offload: 4 MB of them at a time")
    assert planned().notes == (), "what is loaded stays as it is"
    assert planned().within(10**12, "there").notes == ()
