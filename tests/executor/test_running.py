"""The executor runs what is needed, once, in order, and tells how it goes; a dry run only plans."""

from spacetime_nodes.host.executor import Executor
from spacetime_nodes.nodes import runtime

from .conftest import CALLS, INT, SUM, api, classes, node, ran, run


def test_each_node_runs_once_after_what_it_needs():
    prompt = api(n9=("Show", {"value": ["3", 0]}), n8=("Show", {"value": ["3", 0]}), **SUM)
    shown, events = run(prompt, classes())
    assert shown == {"9": [5], "8": [5]}
    assert sorted(ran()) == ["Add", "Number", "Number", "Show", "Show"]
    names = [name for name, _ in events]
    assert names[0] == "execution_start" and names[-1] == "execution_success"
    assert [data["node"] for name, data in events if name == "executed"] == ["9", "8"]


def test_nodes_that_no_output_needs_dont_run():
    run(api(n4=("Number", {"value": 9}), n9=("Show", {"value": ["3", 0]}), **SUM), classes())
    assert {"value": 9} not in [arguments for _, arguments in CALLS]


def test_a_chain_of_thousands_of_nodes_doesnt_recurse():
    prompt = {"0": {"class_type": "Number", "inputs": {"value": 1}}}
    for i in range(1, 5000):
        prompt[str(i)] = {"class_type": "Add", "inputs": {"a": [str(i - 1), 0], "b": 0}}
    prompt["end"] = {"class_type": "Show", "inputs": {"value": ["4999", 0]}}
    assert run(prompt, classes())[0] == {"end": [1]}


def test_progress_is_told_with_the_node_it_belongs_to():
    def work():
        runtime.progress(4).update(2)
        return (1,)

    _, events = run(api(n1=("Work", {}), n2=("Show", {"value": ["1", 0]})), classes(Work=node({}, function=work)))
    (data,) = [data for name, data in events if name == "progress"]
    assert (data["node"], data["value"], data["max"]) == ("1", 2, 4)


def test_an_async_node_is_awaited():
    async def later():
        return (3,)

    shown, _ = run(api(n1=("Later", {}), n2=("Show", {"value": ["1", 0]})), classes(Later=node({}, function=later)))
    assert shown == {"2": [3]}


def test_hidden_inputs_are_the_prompt_the_graph_and_the_picture_info():
    seen = {}

    def look(p, d, e, u):
        seen.update(p=p, d=d, e=e, u=u)
        return {"ui": {"shown": [1]}}

    kinds = {"p": "PROMPT", "d": "DYNPROMPT", "e": "EXTRA_PNGINFO", "u": "UNIQUE_ID"}
    known = classes(Look=node({}, (), look, output=True, hidden=kinds))
    prompt = api(n7=("Look", {}))
    Executor(known).run(prompt, ["7"], {"extra_pnginfo": {"workflow": {"nodes": []}}})
    assert seen["p"] is prompt and seen["u"] == "7" and seen["e"] == {"workflow": {"nodes": []}}
    assert seen["d"].get_node("7") == prompt["7"]


def test_a_dry_run_executes_only_plans():
    def plan(self, size):
        return {"result": (size * 2,), "report": {"tokens": size * 2}}

    known = classes(
        Heavy=node({}, ("WEIGHTS",)),
        Grid=node({"size": INT}, DRY_RUN="plan", plan=plan),
        Next=node({"size": INT, "weights": ("WEIGHTS", {})}, DRY_RUN="plan",
                  plan=lambda self, size, weights: {"result": (size,), "report": {"got": (size, weights)}}),
    )  # fmt: skip
    prompt = api(
        n1=("Heavy", {}),
        n2=("Grid", {"size": 4}),
        n3=("Next", {"size": ["2", 0], "weights": ["1", 0]}),
        n4=("Show", {"value": ["3", 0]}),
    )
    assert Executor(known).plan(prompt, ["4"]) == {"2": {"tokens": 8}, "3": {"got": (8, None)}}
    assert ran() == []


def test_a_dry_run_leaves_out_a_node_whose_setting_only_the_run_can_tell():
    def plan(self, size):
        raise AssertionError

    known = classes(Measure=node({}, ("INT",)), Grid=node({"size": INT}, DRY_RUN="plan", plan=plan))
    prompt = api(n1=("Measure", {}), n2=("Grid", {"size": ["1", 0]}), n3=("Show", {"value": ["2", 0]}))
    assert Executor(known).plan(prompt, ["3"]) == {}
