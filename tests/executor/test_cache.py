"""Results are kept between runs as long as they hold, and let go when nobody needs them."""

import gc
import weakref
from dataclasses import replace

from spacetime_nodes.host.executor import Executor

from .conftest import CALLS, INT, SUM, api, classes, node, ran, run


def test_a_second_run_computes_only_what_changed():
    known = classes()
    keeper = Executor(known, keep=True)
    prompt = api(n9=("Show", {"value": ["3", 0]}), **SUM)
    run(prompt, known, keeper)
    CALLS.clear()
    shown, events = run(prompt, known, keeper)
    assert ran() == [] and shown == {"9": [5]}
    assert "executed" in [name for name, _ in events], "a cached output still shows what it has"
    assert set(next(data["nodes"] for name, data in events if name == "execution_cached")) == {"1", "2", "3", "9"}
    prompt["2"]["inputs"]["value"] = 4
    assert run(prompt, known, keeper)[0] == {"9": [6]}
    assert ran() == ["Number", "Add", "Show"]


def test_the_cache_knows_ancestry_not_ids():
    known = classes()
    keeper = Executor(known, keep=True)
    run(api(n9=("Show", {"value": ["3", 0]}), **SUM), known, keeper)
    CALLS.clear()
    renamed = api(
        n21=("Number", {"value": 2, "video-preview": ""}),  # an input that the editor added means nothing
        n22=("Number", {"value": 3}),
        n23=("Add", {"a": ["21", 0], "b": ["22", 0]}),
        n29=("Show", {"value": ["23", 0]}),
    )
    assert run(renamed, known, keeper)[0] == {"29": [5]}
    assert ran() == []


def test_a_node_that_wants_its_id_is_cached_by_id():
    known = classes(Me=node({}, ("STRING",), lambda me: (me,), hidden={"me": "UNIQUE_ID"}))
    keeper = Executor(known, keep=True)
    prompt = api(n1=("Me", {}), n2=("Me", {}), n3=("Show", {"value": ["1", 0]}), n4=("Show", {"value": ["2", 0]}))
    assert run(prompt, known, keeper)[0] == {"3": ["1"], "4": ["2"]}


def test_is_changed_decides_about_the_world_outside():
    world = {"time": 1}
    clock = node({}, function=lambda: (world["time"],), IS_CHANGED=classmethod(lambda cls: world["time"]))
    broken = node({}, function=lambda: (7,), IS_CHANGED=classmethod(lambda cls: float("nan")))
    known = classes(Clock=clock, Always=broken)
    keeper = Executor(known, keep=True)
    prompt = api(n1=("Clock", {}), n2=("Show", {"value": ["1", 0]}))
    run(prompt, known, keeper)
    CALLS.clear()
    run(prompt, known, keeper)
    assert ran() == []
    world["time"] = 2
    assert run(prompt, known, keeper)[0] == {"2": [2]}
    always = api(n1=("Always", {}), n2=("Show", {"value": ["1", 0]}))
    run(always, known, keeper)
    CALLS.clear()
    run(always, known, keeper)
    assert ran() == ["Always", "Show"], "NaN means changed every time"


def test_results_of_graphs_no_longer_run_are_let_go():
    known = classes()
    keeper = Executor(known, keep=True)
    run(api(n9=("Show", {"value": ["3", 0]}), **SUM), known, keeper)
    run(api(n1=("Number", {"value": 50}), n2=("Show", {"value": ["1", 0]})), known, keeper)
    assert len(keeper.cache) == 2


class Big:
    """Stands for a large tensor."""


def test_the_last_graphs_results_are_gone_before_this_ones_first_node_runs():
    """So that a model that was changed for another doesn't stand beside it."""
    alive, seen = [], []

    def make(which):
        seen.append([one() is not None for one in alive])
        big = Big()
        alive.append(weakref.ref(big))
        return (big,)

    known = classes(
        Make=node({"which": INT}, ("BIG",), make), Use=node({"big": ("BIG", {})}, function=lambda big: (1,))
    )
    known["Make"].run, known["Use"].run = lambda self, which: make(which), lambda self, big: (1,)  # CALLS would hold it
    keeper = Executor(known, keep=True)
    for which in (1, 2, 2):
        prompt = api(n1=("Make", {"which": which}), n2=("Use", {"big": ["1", 0]}), n3=("Show", {"value": ["2", 0]}))
        run(prompt, known, replace(keeper))  # as a server's worker does
    assert seen == [[], [False]] and len(keeper.cache) == 3, "and what is still wanted is kept"


def test_a_single_run_lets_go_of_each_result_after_its_last_use():
    alive, seen = [], []

    def make():
        big = Big()
        alive.append(weakref.ref(big))
        return (big,)

    def shrink(big):
        return (1,)

    def look(value):
        gc.collect()
        seen.append(alive[0]() is not None)
        return (value,)

    known = classes(
        Make=node({}, ("BIG",), make),
        Shrink=node({"big": ("BIG", {})}, function=shrink),
        Look=node({"value": INT}, function=look),
    )
    prompt = api(
        n1=("Make", {}),
        n2=("Shrink", {"big": ["1", 0]}),
        n3=("Look", {"value": ["2", 0]}),
        n4=("Show", {"value": ["3", 0]}),
    )
    known["Shrink"].run = lambda self, big: (1,)  # CALLS would hold the value
    run(prompt, known)
    assert seen == [False]
    seen.clear(), alive.clear()
    run(prompt, known, keep=True)
    assert seen == [True], "a server keeps it for the next run"
