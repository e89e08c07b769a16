"""The editor's file as it is drawn: its graphs, nodes and links, read from what may be anything."""

import copy
from typing import NamedTuple

from .errors import InvalidWorkflow, shorten


class Link(NamedTuple):
    origin: str
    slot: int
    target: str
    target_slot: int


def packs(workflow: dict) -> dict[str, dict]:
    """Node type → {"cnr_id": …} or {"aux_id": …}, the pack that it comes from, as far as the drawing says so."""
    try:
        graphs = [workflow, *subgraphs(workflow).values()]
    except InvalidWorkflow:
        graphs = [workflow]
    nodes = [node for graph in graphs for node in (graph["nodes"] if isinstance(graph.get("nodes"), list) else ())]
    found = {}
    for node in nodes:
        properties = node.get("properties") if isinstance(node, dict) else None
        if isinstance(properties, dict) and isinstance(node.get("type"), str):
            found.setdefault(node["type"], {}).update(pack_of(properties))
    return found


def pack_of(properties: dict) -> dict:
    return {name: properties[name] for name in ("cnr_id", "aux_id") if isinstance(properties.get(name), str)}


def key(node_id) -> str:
    if isinstance(node_id, bool) or not isinstance(node_id, (int, str)):
        raise InvalidWorkflow(f"{shorten(node_id)} can't be the id of a node or link; a number would be right")
    return str(node_id)


def subgraphs(graph: dict, depth: int = 0) -> dict[str, dict]:
    definitions = graph.get("definitions")
    listed = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    found = {}
    for one in listed if isinstance(listed, list) else []:
        if not isinstance(one, dict) or not isinstance(one.get("id"), str):
            raise InvalidWorkflow("a subgraph definition is broken: it should be an object with an id")
        found |= {one["id"]: one, **(subgraphs(one, depth + 1) if depth < 50 else {})}
    return found


def renumbered(workflow: dict) -> dict:
    """The workflow with node ids that no two of its graphs share, given as the editor gives them on opening a file.

    Older editors counted each subgraph's nodes by themselves. What runs is named by these ids.
    """
    taken = {str(node["id"]) for node in _nodes(workflow)}
    if not _clashes(subgraphs(workflow).values(), taken):
        return workflow
    workflow = copy.deepcopy(workflow)
    last = workflow.get("last_node_id")
    last = max(last if type(last) is int else 0, 0, *map(_number, taken))
    changes = {}  # by subgraph: old id → new id
    for kind, graph in subgraphs(workflow).items():
        changes[kind], own = {}, set()
        for node in _nodes(graph):
            node_id = str(node["id"])
            if node_id in taken:
                last += 1
                changes[kind][node_id] = node["id"] = last
                taken.add(str(last))
            else:
                own.add(node_id)
            last = max(last, _number(node_id))
        taken |= own
        for link in listed(graph, "links", "a subgraph"):
            for end in ("origin_id", "target_id") if isinstance(link, dict) else ():
                link[end] = changes[kind].get(str(link.get(end)), link.get(end))
    for graph in (workflow, *subgraphs(workflow).values()):
        for node in _nodes(graph):
            properties, renamed = node.get("properties"), changes.get(str(node.get("type")), {})
            proxies = properties.get("proxyWidgets") if isinstance(properties, dict) else None
            for one in proxies if isinstance(proxies, list) else ():
                if isinstance(one, list) and one and str(one[0]) in renamed:
                    one[0] = str(renamed[str(one[0])])
    return workflow


def _nodes(graph: dict) -> list[dict]:
    """Those that have an id; conversion complains of the others."""
    nodes = listed(graph, "nodes", "a graph")
    return [one for one in nodes if isinstance(one, dict) and type(one.get("id")) in (int, str)]


def _number(node_id: str) -> int:
    return int(node_id) if node_id.isdecimal() and len(node_id) < 16 else 0


def _clashes(graphs, taken: set[str]) -> bool:
    """Whether an id stands in two graphs. Twice in one is another flaw, which conversion refuses."""
    ids = [[str(node["id"]) for node in _nodes(graph)] for graph in graphs]
    if any(len({*one}) < len(one) for one in ids):
        return False
    return len(taken.union(*ids)) < len(taken) + sum(map(len, ids))


def listed(graph: dict, name: str, where: str) -> list:
    value = graph.get(name)
    value = list(value.values()) if isinstance(value, dict) else value  # the oldest files keep links by id
    if value is not None and not isinstance(value, list):
        raise InvalidWorkflow(f"{where}'s {name} are {shorten(value)}; a list would be right")
    return value or []


def checked_node(node, where: str) -> dict:
    if not isinstance(node, dict):
        raise InvalidWorkflow(f"{where} has a node that is {shorten(node)}; an object with id and type would be right")
    if "id" not in node:
        raise InvalidWorkflow(f"{where} has a node without an id")
    node_id = key(node["id"])
    if not isinstance(node.get("type"), str):
        raise InvalidWorkflow(
            f"node {node_id} has the type {shorten(node.get('type'))}; a name would be right", node=node_id
        )
    sockets = node.get("inputs") or []
    if not isinstance(sockets, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in sockets
    ):
        raise InvalidWorkflow(
            f"node {node_id}: its inputs are broken; a list of named sockets would be right", node=node_id
        )
    properties = node.get("properties")
    return {**node, "inputs": sockets, "properties": properties if isinstance(properties, dict) else {}}


def checked_link(link, where: str) -> tuple[str, Link]:
    """[id, from, slot, to, slot, type], or an object with the same facts, as subgraphs hold them."""
    if isinstance(link, dict):
        link = [link.get(name) for name in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    if not isinstance(link, list) or len(link) < 5:
        raise InvalidWorkflow(
            f"{where} has a link that is {shorten(link)}; [id, from, slot, to, slot, type] would be right"
        )
    for slot in (link[2], link[4]):
        if type(slot) is not int or slot < 0:
            raise InvalidWorkflow(
                f"{where}'s link {shorten(link[0])} has the slot {shorten(slot)}; 0 or more would be right"
            )
    return key(link[0]), Link(key(link[1]), link[2], key(link[3]), link[4])
