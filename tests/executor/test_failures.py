"""What is blocked, fails or is interrupted, and what runs on all the same."""

import pytest
from spacetime_nodes.host.calls import ExecutionBlocker
from spacetime_nodes.host.executor import Executor, NodeError
from spacetime_nodes.nodes import runtime

from .conftest import api, classes, node, ran, run


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
