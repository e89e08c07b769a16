"""What the editor saves becomes what runs: without an editor, without a server."""

import json

import pytest
from drawings import (
    KNOWN,
    SAMPLER,
    chain,
    drawn,
    inputs,
    node,
    sockets,
)
from spacetime_nodes.host import workflow as workflows
from spacetime_nodes.host.convert import to_prompt


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


def test_a_graph_older_than_an_optional_input_is_no_matter_for_a_note(host):
    class Save:
        RETURN_TYPES, FUNCTION, CATEGORY = (), "run", "test"
        INPUT_TYPES = classmethod(lambda cls: {
            "required": {"name": ("STRING", {}), "size": ("INT", {"default": 3})},
            "optional": {"more": ("FLOAT", {"default": 0.5})},
        })  # fmt: skip

    for saved, notes in ((["x", 7], 0), (["x"], 1)):
        assert (
            to_prompt(drawn(node(1, "Save", saved)), {"Save": Save})["1"]["inputs"]["more"] == 0.5
            and len(host.notices) == notes
        )


@pytest.mark.parametrize("saved", [["a.png", 7, "image", 0.25], ["a.png", 7, 0.25, "image"], ["a.png", 7, 0.25]])
def test_an_upload_buttons_own_value_is_passed_over_wherever_the_editor_put_it(host, saved):
    class Load:
        RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "run", "test"
        INPUT_TYPES = classmethod(lambda cls: {
            "required": {"image": (["a.png"], {"image_upload": True}), "strength": ("INT", {})},
            "optional": {"more": ("FLOAT", {})},
        })  # fmt: skip

    workflow = drawn(node(1, "Load", saved, outputs=["IMAGE"]))
    prompt = to_prompt(workflow, {"Load": Load})
    assert prompt["1"]["inputs"] == {"image": "a.png", "strength": 7, "more": 0.25} and not host.notices


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
