"""A workflow as the editor saves it → the API format that an executor runs, offline, from the node classes alone.

The editor's file holds what is drawn: subgraphs, reroutes, primitives, muted and bypassed nodes, widget values by
position. What runs holds only real nodes; each input is a value or ["17:2", 0]. Nodes of unknown classes keep their
links, so that validation can name them.
"""

import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..nodes.runtime import notice
from .drawing import Link, checked_link, checked_node, key, listed, pack_of, renumbered, subgraphs
from .dynamic_prompt import resolved
from .errors import InvalidWorkflow, shorten
from .graph import UPLOADS, Input, declared, named

MUTED, BYPASSED = 2, 4
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"
DRAWN_ONLY = ("Note", "MarkdownNote", "Reroute", "PrimitiveNode", "GetNode", "SetNode")
CONTROLS = ("fixed", "increment", "increment-wrap", "decrement", "randomize")
MOST_NODES = 20_000  # subgraphs in subgraphs multiply: a file of a few kilobytes can mean billions


class Value(NamedTuple):
    value: Any


@dataclass
class Scope:
    """One graph as drawn: the workflow itself, or what one subgraph node stands for."""

    nodes: dict[str, dict]
    links: dict[str, Link]
    ids: tuple[str, ...] = ()  # of the subgraph nodes around it, outermost first
    kinds: tuple[str, ...] = ()  # their types
    host: dict | None = None  # the subgraph node, drawn in `parent`
    parent: "Scope | None" = None
    inputs: list = field(default_factory=list)  # of the subgraph
    promoted: dict = field(default_factory=dict)  # host's values: by (None, input name) or (inner node id, widget name)
    inside: dict[str, "Scope"] = field(default_factory=dict)

    def id_of(self, node: dict) -> str:
        return ":".join((*self.ids, key(node["id"])))


def to_prompt(workflow: dict, classes: dict[str, type]) -> dict:
    """UI format → API format."""
    converter = Converter(renumbered(workflow), classes)
    converter.add(converter.root)
    return converter.prompt


class Converter:
    def __init__(self, workflow: dict, classes: dict[str, type]):
        self.classes = classes
        self.subgraphs = subgraphs(workflow)
        self.root = _scope(workflow, "the workflow")
        self.prompt: dict[str, dict] = {}
        self.drawn = 0

    def add(self, scope: Scope):
        """Every node of this graph that runs, and those of the subgraphs in it."""
        for node in scope.nodes.values():
            self.drawn += 1
            if self.drawn > MOST_NODES:
                raise InvalidWorkflow(f"its subgraphs unfold to more than {MOST_NODES:,} nodes")
            if node["type"] in DRAWN_ONLY or node.get("mode") in (MUTED, BYPASSED):
                continue
            if node["type"] in self.subgraphs:
                self.add(self.enter(scope, node))
                continue
            self.prompt[scope.id_of(node)] = self._api_node(scope, node)

    def _api_node(self, scope: Scope, node: dict) -> dict:
        node_class = self.classes.get(node["type"])
        inputs = {}
        if node_class is not None:
            inputs = widget_values(node, node_class)
            for (inner, name), value in scope.promoted.items():
                if inner == key(node["id"]) and name in inputs:
                    inputs[name] = value
        inputs = {name: {"__value__": value} if isinstance(value, list) else value for name, value in inputs.items()}
        for index, socket in enumerate(node["inputs"]):
            source = self.source(scope, node, index)
            if isinstance(source, Value):
                inputs[socket["name"]] = {"__value__": source.value} if isinstance(source.value, list) else source.value
            elif source is not None:
                inputs[socket["name"]] = source
        meta = {"title": node.get("title") or getattr(node_class, "TITLE", node["type"]), **pack_of(node["properties"])}
        return {"class_type": node["type"], "inputs": inputs, "_meta": meta}

    def source(self, scope: Scope, node: dict, index: int) -> list | Value | None:
        """What really feeds an input, seen through everything that is only drawn: [id, slot], a value, or nothing."""
        wanted = node["inputs"][index].get("type", "*")
        seen = set()
        held = None  # the value set on a subgraph node, the outermost so far
        while True:
            link = _link_into(scope, node, index)
            while True:
                if link is None:
                    return None
                step = (scope.ids, link.origin, link.slot)
                if step in seen:
                    raise InvalidWorkflow(
                        "the links through reroutes, bypassed nodes or subgraphs go round in a circle"
                    )
                seen.add(step)
                if link.origin == SUBGRAPH_INPUT and scope.host is not None:
                    socket, value = _host_input(scope, link.slot)
                    held = value or held
                    if socket is not None and _link_into(scope.parent, scope.host, socket) is not None:
                        scope, node, index = scope.parent, scope.host, socket
                        break
                    return held
                origin = scope.nodes.get(link.origin)
                if origin is None:
                    where = named(scope.id_of(node), node)
                    raise InvalidWorkflow(
                        f"{where} is linked to node {shorten(link.origin)}, which isn't in the workflow",
                        node=scope.id_of(node),
                    )
                if origin["type"] == "PrimitiveNode":
                    values = origin.get("widgets_values")
                    values = values[:1] if isinstance(values, list) else []
                    values = (
                        [scope.promoted[link.origin, "value"]] if (link.origin, "value") in scope.promoted else values
                    )
                    return Value(values[0]) if values else None
                if origin.get("mode") == MUTED:
                    return None
                if origin["type"] == "GetNode":
                    origin = _set_node(scope, origin)
                if origin["type"] in ("Reroute", "SetNode"):
                    node, index = origin, 0
                    break
                if origin.get("mode") == BYPASSED:
                    node, index = origin, _bypass(origin, link.slot, wanted)
                    break
                if origin["type"] not in self.subgraphs:
                    return [scope.id_of(origin), link.slot]
                scope = self.enter(scope, origin)
                ends = (one for one in scope.links.values() if one.target == SUBGRAPH_OUTPUT)
                link = next((one for one in ends if one.target_slot == link.slot), None)

    def enter(self, scope: Scope, node: dict) -> Scope:
        """The graph that a subgraph node stands for."""
        node_id = key(node["id"])
        if node_id not in scope.inside:
            if node["type"] in scope.kinds:
                name = self.subgraphs[node["type"]].get("name", node["type"])
                raise InvalidWorkflow(f"the subgraph {shorten(name)!r} contains itself", node=scope.id_of(node))
            definition = self.subgraphs[node["type"]]
            inner = _scope(definition, f"the subgraph {shorten(str(definition.get('name', node['type'])))!r}")
            inner.ids, inner.kinds = (*scope.ids, node_id), (*scope.kinds, node["type"])
            inner.host, inner.parent = node, scope
            inner.inputs = [one for one in listed(definition, "inputs", "a subgraph") if isinstance(one, dict)]
            inner.promoted = _promoted(scope, node)
            scope.inside[node_id] = inner
        return scope.inside[node_id]


def _link_into(scope: Scope, node: dict, index: int) -> Link | None:
    """A link that the file names but doesn't hold is none: editors leave such behind."""
    if index >= len(node["inputs"]):
        return None
    link = node["inputs"][index].get("link")
    return None if link is None else scope.links.get(key(link))


def _host_input(scope: Scope, slot: int) -> tuple[int | None, Value | None]:
    """For an input of a subgraph: its socket on the node outside, and the value set there."""
    names = [one.get("name") for one in scope.inputs[: slot + 1]]
    name = names[slot] if slot < len(names) else None
    sockets = [index for index, one in enumerate(scope.host["inputs"]) if one["name"] == name]
    socket = dict(enumerate(sockets)).get(names[:slot].count(name))  # inputs of one name stand in the same order
    is_set = (None, name) in scope.promoted
    return socket, Value(scope.promoted[None, name]) if is_set else None


def _promoted(scope: Scope, host: dict) -> dict:
    """Values set on the subgraph node itself, by what they stand for inside.

    Older editors list them in properties.proxyWidgets as (inner node, widget), newer ones have a socket for each.
    """
    values = host.get("widgets_values") or []
    by_name = host.get("widgets_values_named")
    found = {(None, name): value for name, value in by_name.items()} if isinstance(by_name, dict) else {}
    proxies = host["properties"].get("proxyWidgets")
    if isinstance(proxies, list) and proxies:
        targets = [
            tuple(map(str, one[:2])) if isinstance(one, list) and len(one) > 1 else (None, None) for one in proxies
        ]
        targets = [(None, name) if inner == "-1" else (inner, name) for inner, name in targets]
    else:
        targets = [(None, one["name"]) for one in host["inputs"] if one.get("widget")]
    if isinstance(values, dict):
        found |= {(None, name): value for name, value in values.items()}
    else:
        found |= dict(zip(targets, values, strict=False))
    around = {name: value for (inner, name), value in scope.promoted.items() if inner == key(host["id"])}
    return found | {target: around[target[1]] for target in targets if target[1] in around}


def _set_node(scope: Scope, getter: dict) -> dict:
    """The SetNode of the same name (a common node pack's wireless link)."""

    def name(node):
        values = node.get("widgets_values")
        return values[0] if isinstance(values, list) and values else None

    for node in scope.nodes.values():
        if node["type"] == "SetNode" and node["inputs"] and name(node) == name(getter):
            return node
    raise InvalidWorkflow(f"{named(scope.id_of(getter), getter)} gets {name(getter)!r}, which no SetNode sets")


def _bypass(node: dict, slot: int, wanted: str) -> int:
    """Which input of a bypassed node takes the place of its output `slot`. Past the end: none."""
    sockets = node["inputs"]
    if wanted in ("*", ""):
        return slot if slot < len(sockets) else 0
    outputs = node.get("outputs")
    output = outputs[slot].get("type") if isinstance(outputs, list) and slot < len(outputs) else wanted

    def fits(socket):
        return _compatible(socket.get("type"), output) and _compatible(socket.get("type"), wanted)

    if slot < len(sockets) and fits(sockets[slot]):
        return slot
    same = (index for index, socket in enumerate(sockets) if socket.get("type") == wanted)
    close = (index for index, socket in enumerate(sockets) if fits(socket))
    return next(same, next(close, len(sockets)))


def _compatible(one, other) -> bool:
    if "*" in (one, other) or one in ("", 0, None) or other in ("", 0, None):
        return True
    names = [set(str(kind).lower().split(",")) for kind in (one, other)]
    return bool(names[0] & names[1])


def _scope(graph: dict, where: str) -> Scope:
    nodes = {}
    for node in listed(graph, "nodes", where):
        node = checked_node(node, where)
        if key(node["id"]) in nodes:
            raise InvalidWorkflow(f"{where} has two nodes with the id {shorten(str(node['id']))}")
        nodes[key(node["id"])] = node
    return Scope(nodes, dict(checked_link(link, where) for link in listed(graph, "links", where) if link is not None))


# widgets


def widget_values(node: dict, node_class: type) -> dict:
    """A node's saved widget values by name. What the file lacks takes its default, as in the editor; a prompt with
    choices is one of them."""
    widgets = _widgets(node, node_class)
    saved = node.get("widgets_values")
    by_name = dict(saved) if isinstance(saved, dict) else {}
    if isinstance(node.get("widgets_values_named"), dict):
        by_name |= node["widgets_values_named"]
    if isinstance(saved, list):
        places = widget_places(node, node_class)
        by_name |= {name: saved[place] for place, name in enumerate(places[: len(saved)]) if name is not None}
        lacking = [one for one in widgets if one.name in places[len(saved) :] and one.category != "optional"]
        if len(saved) > len(places) or (saved and lacking):  # an optional input may be younger than the graph
            count = f"{len(saved)} saved values where {len(places)} belong"
            rest = "the rest takes its defaults" if len(saved) < len(places) else "those left over are ignored"
            notice(f"{named(key(node['id']), node, node_class)} has {count}; {rest}")
    values = {one.name: by_name.get(one.name, copy.copy(one.default)) for one in widgets}
    dynamic = [one.name for one in widgets if one.options.get("dynamicPrompts") and isinstance(values[one.name], str)]
    return values | {name: resolved(values[name]) for name in dynamic}


def widget_places(node: dict, node_class: type) -> list[str | None]:
    """The name of each position of widgets_values; None where only the editor uses the value."""
    saved = node.get("widgets_values")
    saved = saved if isinstance(saved, list) else []
    places: list[str | None] = []
    upload = False
    widgets = _widgets(node, node_class)
    for index, widget in enumerate(widgets):
        places.append(widget.name)
        controlled = widget.options.get("control_after_generate") or widget.name in ("seed", "noise_seed")
        if controlled and len(places) < len(saved) and saved[len(places)] in CONTROLS:
            places.append(None)
        upload |= any(widget.options.get(name) for name in UPLOADS)
        more = len(widgets) - index - 1
        if upload and len(saved) > len(places) + more and (more == 0 or _is_button(saved[len(places)], widgets, index)):
            places.append(None)
            upload = False
    return places


def _is_button(value, widgets: list[Input], index: int) -> bool:
    """Whether it is an upload button's own entry: older editors have it after the required fields, newer at the end."""
    return value == "image" and widgets[index + 1].category != widgets[index].category


def _widgets(node: dict, node_class: type) -> list[Input]:
    """Inputs with a field, also those of types that only their own pack can draw: the file marks their sockets."""
    marked = {socket["name"] for socket in node["inputs"] if socket.get("widget")}
    return [one for one in declared(node_class).values() if one.is_widget or one.name in marked]


def set_widget(workflow: dict, node_id: str, name: str, value, classes: dict[str, type]) -> bool:
    """Write a value into the editor's file, so that it shows what was run. False where the file can't express it."""
    definitions = subgraphs(workflow)
    graph, path = workflow, node_id.split(":")
    for depth, step in enumerate(path):
        node = next(one for one in graph["nodes"] if isinstance(one, dict) and key(one.get("id")) == step)
        if depth < len(path) - 1:
            if _uses(workflow, node["type"]) > 1 or node.get("widgets_values"):
                return False  # other nodes stand for the same subgraph, or its host may overrule the value
            graph = definitions[node["type"]]
    drawn = checked_node(node, "the workflow")  # with its sockets normalised, the values shared
    saved = node.get("widgets_values")
    places = widget_places(drawn, classes[node["type"]])
    if name not in places:
        return False
    if saved is None:
        saved = node["widgets_values"] = []
    if isinstance(saved, list):
        for place in range(len(saved), places.index(name) + 1):
            missing = places[place]
            saved.append(declared(classes[node["type"]])[missing].default if missing else None)
        saved[places.index(name)] = value
    elif isinstance(saved, dict):
        saved[name] = value
    if isinstance(node.get("widgets_values_named"), dict):
        node["widgets_values_named"][name] = value
    for socket in node.get("inputs") or []:
        if socket.get("name") == name:
            socket["link"] = None  # a primitive's value was here
    return True


def _uses(workflow: dict, kind: str) -> int:
    graphs = [workflow, *subgraphs(workflow).values()]
    return sum(isinstance(one, dict) and one.get("type") == kind for graph in graphs for one in graph["nodes"])
