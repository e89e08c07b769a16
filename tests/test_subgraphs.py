"""A subgraph unfolds into what runs, as the editor would send it."""

import pytest
from drawings import KNOWN, OUTER, SAMPLER, SUB, drawn, inputs, node, sockets, subgraph, with_subgraph
from spacetime_nodes.host.convert import to_prompt
from spacetime_nodes.host.errors import InvalidWorkflow


def test_a_subgraph_unfolds_and_its_nodes_carry_its_id():
    prompt = to_prompt(with_subgraph(), KNOWN)
    assert set(prompt) == {"1", "17:2", "3"}
    assert prompt["17:2"]["inputs"]["model"] == ["1", 0] and prompt["17:2"]["inputs"]["steps"] == 30
    assert prompt["3"]["inputs"]["latent"] == ["17:2", 0]


def test_the_value_on_the_subgraph_node_overrules_the_one_inside():
    assert inputs(with_subgraph([9]), "17:2")["steps"] == 9
    named = with_subgraph()
    named["nodes"][1]["widgets_values_named"] = {"steps": 10}
    assert inputs(named, "17:2")["steps"] == 10
    proxied = with_subgraph([11, "euler"], properties={"proxyWidgets": [["-1", "steps"], ["2", "solver"]]})
    assert (inputs(proxied, "17:2")["steps"], inputs(proxied, "17:2")["solver"]) == (11, "euler")


def test_a_primitive_reaches_into_a_subgraph():
    workflow = with_subgraph([9], steps=5)
    workflow["nodes"].append(node(4, "PrimitiveNode", [77], outputs=["INT"]))
    workflow["links"].append([5, 4, 0, 17, 1, "INT"])
    assert inputs(workflow, "17:2")["steps"] == 77


def test_subgraphs_nest_and_values_pass_down():
    outer = {
        "id": OUTER,
        "name": "outer",
        "inputs": [{"name": "model", "type": "MODEL"}, {"name": "steps", "type": "INT"}],
        "outputs": [{"name": "LATENT", "type": "LATENT"}],
        "nodes": [node(8, SUB, [12], sockets(model=1, steps=("widget", 2)), ["LATENT"])],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 8, "target_slot": 0, "type": "MODEL"},
            {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 8, "target_slot": 1, "type": "INT"},
            {"id": 3, "origin_id": 8, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "LATENT"},
        ],
    }
    workflow = with_subgraph(definitions=[subgraph(), outer])
    workflow["nodes"][1]["type"] = OUTER
    prompt = to_prompt(workflow, KNOWN)
    assert prompt["17:8:2"]["inputs"]["steps"] == 12 and prompt["17:8:2"]["inputs"]["model"] == ["1", 0]
    assert prompt["3"]["inputs"]["latent"] == ["17:8:2", 0]
    workflow["nodes"][1]["widgets_values"] = [13]
    assert inputs(workflow, "17:8:2")["steps"] == 13


def test_two_instances_of_a_subgraph_are_two_runs():
    workflow = with_subgraph([9])
    workflow["nodes"].append(node(18, SUB, [10], sockets(model=4, steps=("widget", None)), ["LATENT"]))
    workflow["links"].append([4, 1, 0, 18, 0, "MODEL"])
    prompt = to_prompt(workflow, KNOWN)
    assert (prompt["17:2"]["inputs"]["steps"], prompt["18:2"]["inputs"]["steps"]) == (9, 10)


def test_a_muted_subgraph_is_gone_and_a_bypassed_one_passes_through():
    assert set(to_prompt(with_subgraph(mode=2), KNOWN)) == {"1", "3"}
    workflow = with_subgraph(mode=4)
    workflow["nodes"][1]["inputs"] = sockets(latent=1)
    workflow["nodes"][0] = node(1, "Sampler", SAMPLER, sockets(model=None), ["LATENT"])
    assert inputs(workflow, "3")["latent"] == ["1", 0]


def test_a_subgraph_that_contains_itself_is_refused():
    inner = subgraph()
    inner["nodes"].append(node(5, SUB, [], []))
    with pytest.raises(InvalidWorkflow, match="'make it' contains itself"):
        to_prompt(with_subgraph(definitions=[inner]), KNOWN)


def test_subgraphs_that_unfold_to_billions_are_refused():
    definitions = [
        {"id": f"s{level}", "name": "", "nodes": [node(i, f"s{level + 1}") for i in range(10)], "links": []}
        for level in range(10)
    ]
    definitions.append({"id": "s10", "nodes": [], "links": []})
    with pytest.raises(InvalidWorkflow, match="unfold to more than 20,000 nodes"):
        to_prompt(drawn(node(1, "s0"), definitions={"subgraphs": definitions}), KNOWN)


def test_links_that_only_go_in_a_circle_of_reroutes_are_refused():
    workflow = drawn(
        node(1, "Reroute", inputs=sockets(x=1), outputs=["*"]),
        node(3, "Save", ["clip"], sockets(latent=2)),
        links=[(1, 1, 0, 1, 0, "*"), (2, 1, 0, 3, 0, "LATENT")],
    )
    with pytest.raises(InvalidWorkflow, match="round in a circle"):
        to_prompt(workflow, KNOWN)
