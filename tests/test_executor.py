"""The executor keeps ComfyUI's promises, with plain-Python nodes and the real graph."""

import gc
import weakref

import pytest
from spacetime_nodes.host.calls import ExecutionBlocker
from spacetime_nodes.host.executor import Executor, NodeError
from spacetime_nodes.host.validation import compatible, validate
from spacetime_nodes.nodes import runtime

CALLS = []  # (class, arguments) of every node that ran, cleared for each test


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def node(inputs, returns=("INT",), function=None, output=False, optional=None, hidden=None, **more):
    """A small V1 node class; `function(self, **inputs)` gives its result."""

    def run(self, **arguments):
        CALLS.append((type(self).__name__, arguments))
        return function(**arguments) if function else (1,) * len(returns)

    types = {"required": inputs, "optional": optional or {}, "hidden": hidden or {}}
    body = {"INPUT_TYPES": classmethod(lambda cls: types), "RETURN_TYPES": returns, "FUNCTION": "run", "run": run}
    return type("Node", (), {**body, "OUTPUT_NODE": output, "CATEGORY": "test", **more})


INT = ("INT", {"default": 0, "min": -100, "max": 100})
LAZY = ("INT", {"lazy": True})
SHOW = node({"value": ("*", {})}, (), lambda value: {"ui": {"shown": [value]}}, output=True)


def classes(**more):
    made = {
        "Number": node({"value": INT}, function=lambda value: (value,)),
        "Add": node({"a": INT, "b": INT}, function=lambda a, b: (a + b,)),
        "Show": SHOW,
        **more,
    }
    for name, one in made.items():
        one.__name__ = name
    return made


def api(**nodes):
    """id=("Class", {inputs}), ids without the leading n."""
    return {name[1:]: {"class_type": kind, "inputs": dict(inputs)} for name, (kind, inputs) in nodes.items()}


def run(prompt, known, executor=None, **options):
    checked = validate(prompt, known)
    assert checked.complaint is None, checked.complaint
    events = []
    executor = executor or Executor(known, **options)
    executor.on_event = lambda name, data: events.append((name, data))
    ui = executor.run(prompt, checked.outputs)
    return {node_id: shown.get("shown") for node_id, shown in ui.items()}, events


def ran():
    return [name for name, _ in CALLS]


SUM = dict(n1=("Number", {"value": 2}), n2=("Number", {"value": 3}), n3=("Add", {"a": ["1", 0], "b": ["2", 0]}))


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


# results kept between runs


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


# lists


def test_a_list_output_is_mapped_over_its_consumers():
    known = classes(Many=node({}, function=lambda: ([1, 2, 3],), OUTPUT_IS_LIST=(True,)))
    prompt = api(n1=("Many", {}), n2=("Add", {"a": ["1", 0], "b": 10}), n3=("Show", {"value": ["2", 0]}))
    assert run(prompt, known)[0] == {"3": [11, 12, 13]}


def test_the_shorter_list_repeats_its_last_element():
    known = classes(
        Many=node({}, function=lambda: ([1, 2, 3],), OUTPUT_IS_LIST=(True,)),
        Two=node({}, function=lambda: ([10, 20],), OUTPUT_IS_LIST=(True,)),
    )
    prompt = api(
        n1=("Many", {}), n2=("Two", {}), n3=("Add", {"a": ["1", 0], "b": ["2", 0]}), n4=("Show", {"value": ["3", 0]})
    )
    assert run(prompt, known)[0] == {"4": [11, 22, 23]}


def test_input_is_list_gets_everything_as_lists():
    known = classes(
        Many=node({}, function=lambda: ([1, 2, 3],), OUTPUT_IS_LIST=(True,)),
        Sum=node({"all": INT, "by": INT}, function=lambda all, by: (sum(all) * by[0],), INPUT_IS_LIST=True),
    )
    prompt = api(n1=("Many", {}), n2=("Sum", {"all": ["1", 0], "by": 2}), n3=("Show", {"value": ["2", 0]}))
    assert run(prompt, known)[0] == {"3": [12]}
    assert ("Sum", {"all": [1, 2, 3], "by": [2]}) in CALLS


def test_an_empty_list_means_nothing_to_do():
    known = classes(None_=node({}, function=lambda: ([],), OUTPUT_IS_LIST=(True,)))
    shown, _ = run(api(n1=("None_", {}), n2=("Show", {"value": ["1", 0]})), known)
    assert shown == {} and ran() == ["None_"]
    partly = api(n1=("None_", {}), n2=("Add", {"a": ["1", 0], "b": 5}), n3=("Show", {"value": ["2", 0]}))
    assert run(partly, known)[0] == {}


def test_a_wrapped_list_is_a_value_not_a_link():
    known = classes(Length=node({"of": ("LIST", {})}, function=lambda of: (len(of),)))
    prompt = api(n1=("Length", {"of": {"__value__": ["1", 0, 5]}}), n2=("Show", {"value": ["1", 0]}))
    assert run(prompt, known)[0] == {"2": [3]}


# lazy inputs


def switch(first="yes"):
    def wants(self, on, yes=None, no=None):
        chosen = ("yes", yes) if on else ("no", no)
        return [chosen[0]] if chosen[1] is None else []

    inputs = {"on": ("BOOLEAN", {}), "yes": LAZY, "no": LAZY}
    return node(inputs, function=lambda on, yes=None, no=None: (yes if on else no,), check_lazy_status=wants)


@pytest.mark.parametrize("on", [True, False])
def test_a_lazy_input_is_computed_only_when_asked_for(on):
    known = classes(Switch=switch())
    prompt = api(
        n1=("Number", {"value": 1}),
        n2=("Number", {"value": 2}),
        n3=("Switch", {"on": on, "yes": ["1", 0], "no": ["2", 0]}),
        n4=("Show", {"value": ["3", 0]}),
    )
    assert run(prompt, known)[0] == {"4": [1 if on else 2]}
    assert ran().count("Number") == 1


def test_a_lazy_input_that_others_use_too_outlives_the_lazy_node():
    known = classes(Switch=switch())
    prompt = api(
        n1=("Number", {"value": 1}),
        n2=("Number", {"value": 2}),
        n3=("Switch", {"on": True, "yes": ["1", 0], "no": ["2", 0]}),
        n4=("Show", {"value": ["3", 0]}),
        n5=("Add", {"a": ["1", 0], "b": ["2", 0]}),
        n6=("Show", {"value": ["5", 0]}),
    )
    assert run(prompt, known)[0] == {"4": [1], "6": [3]}


# nodes that become graphs


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


# blocked, failed, interrupted


def test_a_blocked_output_keeps_its_users_from_running_and_no_one_else():
    known = classes(Gate=node({}, ("INT", "INT"), lambda: (ExecutionBlocker("too dark"), 7)))
    prompt = api(
        n1=("Gate", {}),
        n2=("Add", {"a": ["1", 0], "b": 1}),
        n3=("Show", {"value": ["2", 0]}),
        n4=("Show", {"value": ["1", 1]}),
    )
    shown, events = run(prompt, known)
    assert shown == {"4": [7]}
    told = [(data["node"], data["message"]) for name, data in events if name == "execution_blocked"]
    assert told == [("2", "too dark")], "said once, where it first blocks"


def test_a_failing_node_is_named_with_its_cause():
    def fail():
        raise ValueError("no such luck")

    known = classes(Fail=node({}, function=fail))
    events = []
    with pytest.raises(NodeError) as caught:
        Executor(known, on_event=lambda name, data: events.append((name, data))).run(
            api(n1=("Fail", {}), n2=("Show", {"value": ["1", 0]})), ["2"]
        )
    assert (caught.value.node_id, caught.value.class_type) == ("1", "Fail")
    assert isinstance(caught.value.cause, ValueError)
    name, data = events[-1]
    assert name == "execution_error" and data["exception_message"] == "no such luck" and data["node_id"] == "1"


@pytest.mark.parametrize("result", [None, 5, ()])
def test_a_node_that_returns_no_tuple_is_told_so(result):
    known = classes(Odd=node({}, ("INT",), lambda: result))
    if result == ():
        assert run(api(n1=("Odd", {}), n2=("Show", {"value": ["1", 0]})), known)[0] == {"2": [None]}
        return
    with pytest.raises(NodeError, match="a tuple of 1 outputs would be right"):
        run(api(n1=("Odd", {}), n2=("Show", {"value": ["1", 0]})), known)


def test_an_interruption_stops_before_the_next_node():
    asked = []
    known = classes(Ask=node({}, function=lambda: (asked.append(True) or 1,)))
    host = runtime.Host(is_interrupted=lambda: bool(asked))
    events = []
    with pytest.raises(runtime.Interrupted):
        Executor(known, host, lambda name, data: events.append(name)).run(
            api(n1=("Ask", {}), n2=("Show", {"value": ["1", 0]})), ["2"]
        )
    assert ran() == ["Ask"] and events[-1] == "execution_interrupted"


def test_an_interruption_stops_within_a_node_at_its_next_step():
    steps = []

    def work():
        bar = runtime.progress(100)
        for step in range(1, 101):
            steps.append(step)
            bar.update(step)
        return (1,)

    known = classes(Work=node({}, function=work))
    host = runtime.Host(is_interrupted=lambda: len(steps) == 3)
    with pytest.raises(runtime.Interrupted):
        Executor(known, host).run(api(n1=("Work", {}), n2=("Show", {"value": ["1", 0]})), ["2"])
    assert steps == [1, 2, 3]


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


# validation: ComfyUI's types and shapes


def flaw(prompt, known):
    checked = validate(prompt, known)
    error, _ = checked.complaint
    assert set(error) == {"type", "message", "details", "extra_info"}
    return error["type"]


def test_validation_names_each_flaw_as_comfyui_does():
    known = classes(Pick=node({"one": (["a", "b"], {})}), Text=node({"text": ("STRING", {})}, ("STRING",)))
    end = dict(n9=("Show", {"value": ["1", 0]}))
    cases = {
        "required_input_missing": api(n1=("Number", {}), **end),
        "invalid_input_type": api(n1=("Number", {"value": "many"}), **end),
        "value_smaller_than_min": api(n1=("Number", {"value": -101}), **end),
        "value_bigger_than_max": api(n1=("Number", {"value": 101}), **end),
        "value_not_in_list": api(n1=("Pick", {"one": "c"}), **end),
        "bad_linked_input": api(n1=("Number", {"value": [1, 2, 3]}), **end),
        "return_type_mismatch": api(n1=("Number", {"value": ["2", 0]}), n2=("Text", {"text": "x"}), **end),
        "missing_node_type": api(n1=("Nummer", {"value": 1}), **end),
        "dependency_cycle": api(n1=("Add", {"a": ["1", 0], "b": 1}), **end),
        "prompt_no_outputs": api(n1=("Number", {"value": 1})),
    }
    assert {kind: flaw(prompt, known) for kind, prompt in cases.items()} == {kind: kind for kind in cases}


def test_a_flaw_is_told_with_the_outputs_that_depend_on_it_and_the_others_may_run():
    prompt = api(
        n1=("Number", {"value": 101}),
        n2=("Show", {"value": ["1", 0]}),
        n3=("Show", {"value": ["4", 0]}),
        n4=("Number", {"value": 1}),
    )
    checked = validate(prompt, classes())
    assert checked.outputs == ["3"] and checked.error is None
    assert checked.node_errors["1"]["dependent_outputs"] == ["2"]
    assert checked.node_errors["1"]["class_type"] == "Number"


def test_validate_inputs_replaces_the_range_check_of_the_inputs_it_names():
    def check(cls, value):
        return True if value == 999 else "not 999"

    known = classes(Own=node({"value": INT, "other": INT}, VALIDATE_INPUTS=classmethod(check)))
    end = dict(n9=("Show", {"value": ["1", 0]}))
    assert validate(api(n1=("Own", {"value": 999, "other": 0}), **end), known).complaint is None
    assert flaw(api(n1=("Own", {"value": 1, "other": 0}), **end), known) == "custom_validation_failed"
    assert flaw(api(n1=("Own", {"value": 999, "other": 999}), **end), known) == "value_bigger_than_max"


def test_validate_inputs_may_judge_the_types_of_links():
    seen = []

    def check(cls, input_types):
        seen.append(input_types)
        return input_types["value"] == "STRING" or "a text, please"

    known = classes(
        Any=node({"value": INT}, VALIDATE_INPUTS=classmethod(check)), Text=node({"text": ("STRING", {})}, ("STRING",))
    )
    prompt = api(n1=("Any", {"value": ["2", 0]}), n2=("Text", {"text": "x"}), n9=("Show", {"value": ["1", 0]}))
    assert validate(prompt, known).complaint is None and seen == [{"value": "STRING"}]


@pytest.mark.parametrize(
    "received, wanted, fits",
    [("INT", "INT", True), ("INT", "FLOAT", False), ("INT", "FLOAT,INT", True), ("IMAGE", "*", True),
     ("*", "IMAGE", True), ("COMBO", ["a"], True), ("STRING", ["a"], False)],
)  # fmt: skip
def test_types_are_names_joined_by_commas(received, wanted, fits):
    assert compatible(received, wanted) is fits
