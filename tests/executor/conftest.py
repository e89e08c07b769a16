"""Small V1 nodes in plain Python, and the ways to run graphs of them."""

import pytest
from spacetime_nodes.host.executor import Executor
from spacetime_nodes.host.validation import validate

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
