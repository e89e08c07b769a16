"""How inputs reach a node: lists mapped as in ComfyUI, lazy ones only when asked for."""

import pytest

from .conftest import CALLS, INT, LAZY, api, classes, node, ran, run

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


def test_a_wrapped_list_stays_a_value_though_it_looks_like_a_link():
    seen = []
    look = {"VALIDATE_INPUTS": classmethod(lambda cls, of: seen.append(of) or True)}
    known = classes(Length=node({"of": ("LIST", {})}, function=lambda of: (len(of),), **look))
    prompt = api(n5=("Number", {"value": 7}), n1=("Length", {"of": {"__value__": ["5", 0]}}))
    prompt |= api(n2=("Show", {"value": ["1", 0]}))
    for _ in range(2):  # also of a prompt that has been checked before
        assert run(prompt, known)[0] == {"2": [2]}
    assert seen == [["5", 0]] * 2 and "Number" not in ran()
    assert prompt["1"]["inputs"] == {"of": {"__value__": ["5", 0]}}, "as it is saved with the result"


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
