"""Graphs are checked before they run, with ComfyUI's types and shapes."""

import pytest
from spacetime_nodes.host.validation import compatible, validate

from .conftest import INT, api, classes, node


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
