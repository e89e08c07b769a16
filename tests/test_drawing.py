"""The editor's file before it is converted: ids that older editors gave twice, prompts with choices, odd fields."""

import json
from pathlib import Path

import pytest
from spacetime_nodes.host import workflow as workflows
from spacetime_nodes.host.cli import known_classes
from spacetime_nodes.host.drawing import renumbered
from spacetime_nodes.host.dynamic_prompt import resolved
from spacetime_nodes.host.errors import InvalidWorkflow
from spacetime_nodes.host.graph import declared

GRAPHS = Path(__file__).parent / "graphs"


def graph(name):
    return json.loads((GRAPHS / f"{name}.json").read_text(encoding="utf-8"))


def ids(workflow):
    graphs = [workflow, *workflow.get("definitions", {}).get("subgraphs", [])]
    return [str(node["id"]) for one in graphs for node in one["nodes"]]


def test_ids_that_two_graphs_share_become_unique_and_links_follow():
    drawn = graph("subgraphs_that_pass_through")
    assert len(set(ids(drawn))) < len(ids(drawn)), "it was drawn so"
    found = workflows.from_json(drawn, known_classes())
    assert len(set(ids(found.drawn))) == len(ids(found.drawn))
    (extend,) = (node_id for node_id, node in found.prompt.items() if node["class_type"] == "SpacetimeExtend")
    host, _, inner = extend.partition(":")
    assert host == "43" and int(inner) > drawn["last_node_id"]
    assert found.prompt["63"]["inputs"]["latent"] == [extend, 0]
    assert renumbered(found.drawn) is found.drawn, "once is enough"
    assert workflows.from_json(drawn, known_classes()).prompt == found.prompt, "the file itself stays as it is"


def test_a_value_is_set_in_what_is_drawn_where_ids_were_given_anew():
    drawn = graph("subgraphs_that_pass_through")
    drawn["definitions"]["subgraphs"] = [
        one
        for one in drawn["definitions"]["subgraphs"]
        if any(node["type"] == one["id"] and node["id"] == 43 for node in drawn["nodes"])
    ]
    drawn["nodes"] = [node for node in drawn["nodes"] if node["id"] < 40 or node["id"] in (43, 63)]
    setting = workflows.Setting.parse("SpacetimeExtend.seconds=2.5")
    found = workflows.apply_settings(workflows.from_json(drawn, known_classes()), [setting], known_classes())
    (inner,) = found.drawn["definitions"]["subgraphs"][0]["nodes"]
    assert 2.5 in inner["widgets_values"]


def test_one_graph_with_an_id_twice_is_refused():
    drawn = graph("subgraphs_that_pass_through")
    inner = drawn["definitions"]["subgraphs"][0]
    inner["nodes"].append(dict(inner["nodes"][0]))
    with pytest.raises(InvalidWorkflow, match="has two nodes with the id"):
        workflows.from_json(drawn, known_classes())


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("a {red|blue} star", "a red star", "a blue star"),
        ("{a|{b|c} d}{e|}", "ae", "c d"),
        (r"\{a|b\} {c\|d|e}", "{a|b} c|d", "{a|b} e"),
        ("a // note {\nb /* {x|\ny} */c", "a \nb c", "a \nb c"),
        ("a | b } {c|d", "a | b } c", "a | b } d"),
        ("C:\\dir\\", "C:\\dir\\", "C:\\dir\\"),
    ],
)
def test_choices_in_a_prompt(text, first, last):
    assert resolved(text, lambda choices: choices[0]) == first
    assert resolved(text, lambda choices: choices[-1]) == last


def test_choices_are_made_only_where_the_field_says_so():
    def node_class(**options):
        types = {"required": {"text": ("STRING", options)}}
        return type("Text", (), {"INPUT_TYPES": classmethod(lambda cls: types), "RETURN_TYPES": ()})

    drawn = {"nodes": [{"id": 1, "type": "Text", "widgets_values": ["{a|a}"]}], "links": []}
    found = [workflows.from_json(drawn, {"Text": one}) for one in (node_class(), node_class(dynamicPrompts=True))]
    assert [one.prompt["1"]["inputs"]["text"] for one in found] == ["{a|a}", "a"]


def test_a_choice_of_several_and_a_field_of_two_types():
    types = {"required": {"several": (["a", "b"], {"multi_select": True}), "n": ("INT,FLOAT", {"widgetType": "FLOAT"})}}
    several, number = declared(type("Odd", (), {"INPUT_TYPES": classmethod(lambda cls: types)})).values()
    assert several.default == [] and several.is_widget and number.is_widget
