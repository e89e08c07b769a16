"""Nodes that become graphs while they run."""

from spacetime_nodes.host.executor import Executor

from .conftest import CALLS, INT, api, classes, node, ran, run


def repeat(times):
    """Expands into a chain of Add nodes."""

    def expand(start, me):
        graph, last = {}, None
        for i in range(times):
            graph[f"{me}.{i}"] = {"class_type": "Add", "inputs": {"a": [last, 0] if last else start, "b": 1}}
            last = f"{me}.{i}"
        return {"expand": graph, "result": ([last, 0],)}

    return node({"start": INT}, function=expand, hidden={"me": "UNIQUE_ID"})


def test_a_node_may_expand_into_a_graph():
    known = classes(Repeat=repeat(3))
    prompt = api(n1=("Number", {"value": 5}), n2=("Repeat", {"start": ["1", 0]}), n3=("Show", {"value": ["2", 0]}))
    shown, events = run(prompt, known)
    assert shown == {"3": [8]}
    inner = [data for name, data in events if name == "executing" and data["node"].startswith("2.")]
    assert len(inner) == 3 and all(data["display_node"] == "2" for data in inner), (
        "shown on the node that the user sees"
    )


def test_an_expansion_is_cached_as_a_whole():
    known = classes(Repeat=repeat(3))
    keeper = Executor(known, keep=True)
    prompt = api(n2=("Repeat", {"start": 5}), n3=("Show", {"value": ["2", 0]}))
    run(prompt, known, keeper)
    CALLS.clear()
    assert run(prompt, known, keeper)[0] == {"3": [8]}
    assert ran() == []


def test_expansions_nest_and_map_over_lists():
    def inner(start, me):
        return {"expand": {f"{me}/x{start}": {"class_type": "Repeat", "inputs": {"start": start}}},
                "result": ([f"{me}/x{start}", 0],)}  # fmt: skip

    known = classes(
        Many=node({}, function=lambda: ([1, 20],), OUTPUT_IS_LIST=(True,)),
        Repeat=repeat(2),
        Outer=node({"start": INT}, function=inner, hidden={"me": "UNIQUE_ID"}),
    )
    prompt = api(n1=("Many", {}), n2=("Outer", {"start": ["1", 0]}), n3=("Show", {"value": ["2", 0]}))
    assert run(prompt, known)[0] == {"3": [3, 22]}


def test_output_nodes_inside_an_expansion_run():
    def expand(value, me):
        return {"expand": {f"{me}.s": {"class_type": "Show", "inputs": {"value": value}}}, "result": (value,)}

    known = classes(Tap=node({"value": INT}, function=expand, hidden={"me": "UNIQUE_ID"}))
    prompt = api(n1=("Tap", {"value": 4}), n2=("Show", {"value": ["1", 0]}))
    assert run(prompt, known)[0] == {"1.s": [4], "2": [4]}
