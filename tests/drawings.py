"""Small graphs as the editor draws them, on classes of their own."""

from spacetime_nodes.host.convert import to_prompt


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
