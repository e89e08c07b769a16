"""What the editor saves becomes what runs: without an editor, without a server."""

import json

import pytest
from spacetime_nodes.host import workflow as workflows
from spacetime_nodes.host.convert import set_widget, to_prompt
from spacetime_nodes.host.errors import InvalidWorkflow, UsageError
from spacetime_nodes.host.workflow import Setting, Workflow, apply_settings


def node_class(name, inputs, returns=(), **more):
    body = {"INPUT_TYPES": classmethod(lambda cls: inputs), "RETURN_TYPES": returns, "FUNCTION": "run", **more}
    return {name: type(name, (), body)}


KNOWN = {
    **node_class("Text", {"required": {"text": ("STRING", {"default": "none"})}}, ("STRING",)),
    **node_class(
        "Sampler",
        {
            "required": {
                "model": ("MODEL", {}),
                "seed": ("INT", {"default": 0, "control_after_generate": True}),
                "steps": ("INT", {"default": 20}),
                "solver": (["euler", "unipc"], {}),
            },
            "optional": {"cfg": ("FLOAT", {"default": 4.0}), "text": ("STRING", {"default": "fixed"})},
        },
        ("LATENT",),
        TITLE="Sample",
    ),
    **node_class("Model", {"required": {"name": (["a", "b"], {})}}, ("MODEL",)),
    **node_class(
        "Picture",
        {
            "required": {"image": (["x.png"], {"image_upload": True})},
            "optional": {"resize": ("INT", {"default": 0})},
        },
        ("IMAGE", "MASK"),
    ),
    **node_class(
        "Filter", {"required": {"latent": ("LATENT", {}), "strength": ("FLOAT", {"default": 1.0})}}, ("LATENT",)
    ),
    **node_class(
        "Save", {"required": {"latent": ("LATENT", {}), "prefix": ("STRING", {"default": "out"})}}, OUTPUT_NODE=True
    ),
    **node_class("Points", {"required": {"points": ("CURVE", {}), "count": ("INT", {"default": 1})}}, ("LATENT",)),
}


def sockets(**linked):
    """name=link id, or None; name=("widget", link id) for a widget that is also a socket."""
    made = []
    for name, link in linked.items():
        kind = {"model": "MODEL", "latent": "LATENT", "text": "STRING", "seed": "INT", "steps": "INT"}.get(name, "*")
        if isinstance(link, tuple):
            made.append({"name": name, "type": kind, "link": link[1], "widget": {"name": name}})
        else:
            made.append({"name": name, "type": kind, "link": link})
    return made


def node(id, type, values=None, inputs=(), outputs=(), **more):
    made = {"id": id, "type": type, "inputs": list(inputs), "mode": 0, **more}
    made["outputs"] = [{"name": kind, "type": kind} for kind in outputs]
    return made if values is None else {**made, "widgets_values": values}


def drawn(*nodes, links=(), **more):
    return {"version": 0.4, "nodes": list(nodes), "links": [list(link) for link in links], **more}


SAMPLER = [5, "randomize", 30, "unipc", 3.5, "hello"]
CHAIN = dict(links=[(1, 1, 0, 2, 0, "MODEL"), (2, 2, 0, 3, 0, "LATENT")])


def chain(*extra, sampler=SAMPLER, links=(), **more):
    return drawn(
        node(1, "Model", ["b"], outputs=["MODEL"]),
        node(2, "Sampler", sampler, sockets(model=1), ["LATENT"]),
        node(3, "Save", ["clip"], sockets(latent=2)),
        *extra,
        links=[*CHAIN["links"], *links],
        **more,
    )


def inputs(workflow, node_id):
    return to_prompt(workflow, KNOWN)[node_id]["inputs"]


def test_widgets_and_links_come_out_by_name():
    prompt = to_prompt(chain(), KNOWN)
    assert prompt["2"]["inputs"] == {
        "model": ["1", 0], "seed": 5, "steps": 30, "solver": "unipc", "cfg": 3.5, "text": "hello"
    }  # fmt: skip
    assert prompt["2"]["class_type"] == "Sampler" and prompt["2"]["_meta"]["title"] == "Sample"
    assert prompt["3"]["inputs"] == {"latent": ["2", 0], "prefix": "clip"}


def test_the_control_after_generate_is_skipped_only_where_it_stands():
    assert inputs(chain(sampler=[5, 30, "unipc", 3.5, "x"]), "2")["steps"] == 30


def test_the_upload_button_s_own_value_is_skipped():
    workflow = drawn(node(1, "Picture", ["x.png", "image", 64], outputs=["IMAGE", "MASK"]))
    assert inputs(workflow, "1") == {"image": "x.png", "resize": 64}


def test_widget_values_may_be_a_dict_or_named():
    assert inputs(chain(sampler={"steps": 7, "seed": 1}), "2")["steps"] == 7
    workflow = chain(sampler=None)
    workflow["nodes"][1]["widgets_values_named"] = {"steps": 8}
    assert inputs(workflow, "2")["steps"] == 8


def test_too_few_values_take_defaults_and_too_many_are_ignored_both_with_a_note(host):
    assert inputs(chain(sampler=[5, "fixed", 30]), "2") == {
        "model": ["1", 0], "seed": 5, "steps": 30, "solver": "euler", "cfg": 4.0, "text": "fixed"
    }  # fmt: skip
    assert "3 saved values where 6 belong; the rest takes its defaults" in host.notices[0]
    assert inputs(chain(sampler=[*SAMPLER, 1, 2]), "2")["text"] == "hello"
    assert "8 saved values where 6 belong; those left over are ignored" in host.notices[1]


def test_a_list_as_a_value_is_wrapped():
    workflow = drawn(node(1, "Points", [[[0, 0], [1, 1]], 3], sockets(points=("widget", None)), ["LATENT"]))
    assert inputs(workflow, "1") == {"points": {"__value__": [[0, 0], [1, 1]]}, "count": 3}


def test_notes_and_reroutes_are_gone_and_links_go_through():
    workflow = drawn(
        node(1, "Model", ["b"], outputs=["MODEL"]),
        node(7, "Reroute", inputs=sockets(x=1), outputs=["*"]),
        node(8, "Reroute", inputs=sockets(x=2), outputs=["*"]),
        node(2, "Sampler", SAMPLER, sockets(model=3), ["LATENT"]),
        node(9, "Note", ["read me"]),
        node(10, "MarkdownNote", ["# read me"]),
        links=[(1, 1, 0, 7, 0, "*"), (2, 7, 0, 8, 0, "*"), (3, 8, 0, 2, 0, "MODEL")],
    )
    prompt = to_prompt(workflow, KNOWN)
    assert set(prompt) == {"1", "2"} and prompt["2"]["inputs"]["model"] == ["1", 0]


def test_a_primitive_s_value_is_written_into_what_it_feeds():
    workflow = chain(node(4, "PrimitiveNode", [77, "fixed"], outputs=["INT"]), links=[(9, 4, 0, 2, 1, "INT")])
    workflow["nodes"][1]["inputs"] = sockets(model=1, steps=("widget", 9))
    prompt = to_prompt(workflow, KNOWN)
    assert prompt["2"]["inputs"]["steps"] == 77 and "4" not in prompt


def test_set_and_get_nodes_are_a_link_without_a_wire():
    workflow = drawn(
        node(1, "Model", ["b"], outputs=["MODEL"]),
        node(4, "SetNode", ["m"], sockets(MODEL=1), ["*"]),
        node(5, "GetNode", ["m"], outputs=["MODEL"]),
        node(2, "Sampler", SAMPLER, sockets(model=2), ["LATENT"]),
        links=[(1, 1, 0, 4, 0, "MODEL"), (2, 5, 0, 2, 0, "MODEL")],
    )
    assert inputs(workflow, "2")["model"] == ["1", 0]


def test_a_muted_node_goes_with_its_links():
    workflow = chain()
    workflow["nodes"][1]["mode"] = 2
    prompt = to_prompt(workflow, KNOWN)
    assert set(prompt) == {"1", "3"} and "latent" not in prompt["3"]["inputs"]


def test_a_bypassed_node_passes_its_input_on():
    def graph(*modes):
        return drawn(
            node(1, "Sampler", SAMPLER, sockets(model=None), ["LATENT"]),
            node(2, "Filter", [0.5], sockets(latent=1), ["LATENT"], mode=modes[0]),
            node(3, "Filter", [0.5], sockets(latent=2), ["LATENT"], mode=modes[1]),
            node(4, "Save", ["x"], sockets(latent=3)),
            links=[(1, 1, 0, 2, 0, "LATENT"), (2, 2, 0, 3, 0, "LATENT"), (3, 3, 0, 4, 0, "LATENT")],
        )

    assert inputs(graph(4, 0), "3")["latent"] == ["1", 0]
    assert inputs(graph(4, 4), "4")["latent"] == ["1", 0]
    assert "latent" not in inputs(graph(2, 4), "4"), "a bypass behind a muted node has nothing to pass on"


def test_a_bypass_passes_the_first_input_of_the_right_type():
    mixer = node(2, "Mixer", [], sockets(model=1, any=None, latent=2), ["LATENT"], mode=4)
    workflow = drawn(
        node(1, "Model", ["a"], outputs=["MODEL"]),
        node(5, "Sampler", SAMPLER, sockets(model=None), ["LATENT"]),
        mixer,
        node(4, "Save", ["x"], sockets(latent=3)),
        links=[(1, 1, 0, 2, 0, "MODEL"), (2, 5, 0, 2, 2, "LATENT"), (3, 2, 0, 4, 0, "LATENT")],
    )
    assert inputs(workflow, "4")["latent"] == ["5", 0]


# subgraphs

SUB = "6b1d2f5e-0000-4000-8000-000000000001"
OUTER = "6b1d2f5e-0000-4000-8000-000000000002"


def subgraph(id=SUB, extra_inputs=(), **more):
    """model, steps → Sampler → latent."""
    link = dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), (0,) * 6, strict=True))
    return {
        "id": id,
        "name": "make it",
        "inputs": [{"name": "model", "type": "MODEL"}, {"name": "steps", "type": "INT"}],
        "outputs": [{"name": "LATENT", "type": "LATENT"}],
        "nodes": [node(2, "Sampler", SAMPLER, sockets(model=1, steps=("widget", 2)), ["LATENT"])],
        "links": [
            {**link, "id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 2, "target_slot": 0},
            {**link, "id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 2, "target_slot": 1},
            {**link, "id": 3, "origin_id": 2, "origin_slot": 0, "target_id": -20, "target_slot": 0},
        ],
        **more,
    }


def with_subgraph(host_values=None, definitions=None, steps=None, **host):
    instance = node(17, SUB, host_values, sockets(model=1, steps=("widget", steps)), ["LATENT"], **host)
    return drawn(
        node(1, "Model", ["b"], outputs=["MODEL"]),
        instance,
        node(3, "Save", ["clip"], sockets(latent=2)),
        links=[(1, 1, 0, 17, 0, "MODEL"), (2, 17, 0, 3, 0, "LATENT")],
        definitions={"subgraphs": definitions or [subgraph()]},
    )


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


# which kind of file


def test_every_wrapping_of_a_workflow_is_understood():
    prompt = {"1": {"class_type": "Text", "inputs": {"text": "hi"}}}
    for content in (prompt, {"prompt": prompt, "client_id": "x"}, {"workflow": drawn(node(1, "Text", ["hi"]))}):
        assert workflows.from_json(content, KNOWN).prompt["1"]["inputs"] == {"text": "hi"}
    both = workflows.from_json({"prompt": prompt, "workflow": drawn(node(1, "Text", ["other"]))}, KNOWN)
    assert both.prompt["1"]["inputs"]["text"] == "hi", "the prompt is what really ran"
    assert both.extra_data["extra_pnginfo"]["workflow"]["nodes"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_obstacle(encoding):
    assert workflows.parse(json.dumps({"a": "ü"}, ensure_ascii=False).encode(encoding), "x") == {"a": "ü"}


# --set


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
