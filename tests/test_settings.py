"""`--set NODE.INPUT=VALUE`: which node and input is meant, in the prompt and in the drawing."""

import pytest
from drawings import KNOWN, chain, node, sockets, with_subgraph
from spacetime_nodes.host.convert import set_widget, to_prompt
from spacetime_nodes.host.errors import UsageError
from spacetime_nodes.host.workflow import Setting, Workflow, apply_settings


def api():
    return {
        "1": {"class_type": "Model", "inputs": {"name": "a"}},
        "2": {"class_type": "Sampler", "inputs": {"model": ["1", 0], "seed": 1, "steps": 2, "solver": "euler"}},
        "17:4": {"class_type": "Text", "inputs": {"text": "x"}, "_meta": {"title": "My. Prompt"}},
        "5": {"class_type": "Text", "inputs": {"text": "y"}, "_meta": {"title": "Other"}},
    }


def with_settings(*texts, workflow=None):
    return apply_settings(workflow or Workflow(api()), [Setting.parse(text) for text in texts], KNOWN)


@pytest.mark.parametrize(
    "text, node_id, name, value",
    [
        ("2.steps=30", "2", "steps", 30),
        ("sample.STEPS=30", "2", "steps", 30),
        ("SAMPLER.steps=30", "2", "steps", 30),
        ("Sampler.cfg=2.5", "2", "cfg", 2.5),
        ("sampler.solver=UniPC", "2", "solver", "unipc"),
        ("my. prompt.text=a=b.c, d", "17:4", "text", "a=b.c, d"),
        ("17:4.text=", "17:4", "text", ""),
    ],
)
def test_set_finds_a_node_by_id_title_or_class_in_any_case(text, node_id, name, value):
    original = Workflow(api())
    assert with_settings(text, workflow=original).prompt[node_id]["inputs"][name] == value
    assert original.prompt == api(), "the graph that was read stays as it is"


@pytest.mark.parametrize(
    "texts, message",
    [
        (["text.text=x"], r"'text' could be any of My. Prompt \(node 17:4\), Other \(node 5\)"),
        (["samplr.steps=1"], r"no node is called 'samplr'.*"),
        (["2.step=1"], r"no input 'step'; it has: model, seed, steps"),
        (["2.model=x"], r"'model' is linked to Model \(node 1\); set that node instead"),
        (["2.steps=1", "sampler.Steps=2"], "set twice"),
        (["2.steps=many"], "'many' isn't a whole number"),
        (["2.solver=heun"], "isn't one of its choices: euler, unipc"),
        (["steps=3"], "isn't NODE.INPUT=VALUE"),
        (["2.steps"], "isn't NODE.INPUT=VALUE"),
    ],
)
def test_a_setting_that_cant_be_meant_is_refused_with_what_could_be(texts, message):
    with pytest.raises(UsageError, match=message):
        with_settings(*texts)


def test_an_unknown_node_or_input_gets_the_nearest_as_a_hint():
    with pytest.raises(UsageError) as caught:
        with_settings("samplr.steps=1")
    assert caught.value.hint == "did you mean Sampler (node 2)?"
    with pytest.raises(UsageError) as caught:
        with_settings("2.step=1")
    assert caught.value.hint == "did you mean 'steps'?"


def test_a_title_outranks_the_class_of_other_nodes():
    prompt = api()
    prompt["5"]["_meta"]["title"] = "text"
    assert with_settings("text.text=new", workflow=Workflow(prompt)).prompt["5"]["inputs"]["text"] == "new"


def test_settings_show_in_the_drawn_graph_too():
    drawing = chain()
    workflow = Workflow(to_prompt(drawing, KNOWN), drawing)
    changed = with_settings("2.steps=31", "3.prefix=new", workflow=workflow)
    assert to_prompt(changed.drawn, KNOWN) == changed.prompt
    assert changed.drawn["nodes"][1]["widgets_values"] == [5, "randomize", 31, "unipc", 3.5, "hello"]
    assert drawing == chain()


def test_settings_show_in_a_drawn_graph_with_too_few_values_and_in_subgraphs():
    short = chain(sampler=[5, "fixed"])
    changed = with_settings("2.cfg=2", workflow=Workflow(to_prompt(short, KNOWN), short))
    assert to_prompt(changed.drawn, KNOWN) == changed.prompt
    inside = with_subgraph()
    changed = with_settings("17:2.solver=euler", workflow=Workflow(to_prompt(inside, KNOWN), inside))
    assert to_prompt(changed.drawn, KNOWN) == changed.prompt
    shared = with_subgraph([9])
    assert not set_widget(shared, "17:2", "steps", 3, KNOWN), "the host's value would overrule it"


def test_a_setting_replaces_a_primitive_in_the_drawn_graph():
    workflow = chain(node(4, "PrimitiveNode", [77, "fixed"], outputs=["INT"]), links=[(9, 4, 0, 2, 1, "INT")])
    workflow["nodes"][1]["inputs"] = sockets(model=1, steps=("widget", 9))
    changed = with_settings("2.steps=5", workflow=Workflow(to_prompt(workflow, KNOWN), workflow))
    assert to_prompt(changed.drawn, KNOWN) == changed.prompt
