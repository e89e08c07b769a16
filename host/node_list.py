"""`spacetime nodes`: the nodes with their inputs, for people and for scripts."""

from ..nodes import runtime
from .console import as_json, write_out
from .errors import NodeFailed, UsageError
from .graph import declared


def add_to(commands):
    """The command's arguments."""
    nodes = commands.add_parser("nodes", help="list the nodes", description="List the nodes with their inputs.")
    nodes.add_argument("name", metavar="NAME", nargs="?", help="only nodes with this in their name, title or category")
    return nodes


def command(args, classes: dict[str, type], host: runtime.Host) -> int:
    runtime.HOST.set(host)
    wanted = (args.name or "").casefold()
    shown = {
        name: node
        for name, node in classes.items()
        if wanted in f"{name} {getattr(node, 'TITLE', '')} {getattr(node, 'CATEGORY', '')}".casefold()
    }
    if not shown:
        raise UsageError(f"no node is called {args.name!r}", "spacetime nodes lists them all")
    listed = [_node_facts(name, node) for name, node in sorted(shown.items(), key=lambda item: item[1].CATEGORY)]
    if args.json:
        return 0 if write_out(as_json({"ok": True, "nodes": listed})) else NodeFailed.exit_code
    return 0 if write_out("\n\n".join(map(_node_text, listed))) else NodeFailed.exit_code


def _node_facts(name: str, node: type) -> dict:
    inputs = []
    for one in declared(node).values():
        kind = "COMBO" if one.choices is not None else one.type
        facts = {"name": one.name, "type": kind, "required": one.category == "required"}
        if one.is_widget:
            facts["default"] = one.default
        facts |= {key: one.options[key] for key in ("min", "max", "tooltip") if key in one.options}
        inputs.append(facts | ({"choices": one.choices} if one.choices is not None else {}))
    names = getattr(node, "RETURN_NAMES", node.RETURN_TYPES)
    return {
        "class": name,
        "title": getattr(node, "TITLE", name),
        "category": node.CATEGORY,
        "description": getattr(node, "DESCRIPTION", ""),
        "inputs": inputs,
        "outputs": [{"name": n, "type": t} for n, t in zip(names, node.RETURN_TYPES, strict=True)],
    }


def _node_text(node: dict) -> str:
    lines = [f"{node['class']}: {node['title']} ({node['category']})"]
    for one in node["inputs"]:
        kind = " | ".join(map(str, one["choices"][:12])) if "choices" in one else one["type"]
        reach = f" {one['min']:g} to {one['max']:g}" if {"min", "max"} <= one.keys() else ""
        default = f" = {one['default']!r}" if "default" in one else ""
        lines.append(f"  {one['name']}{'' if one['required'] else '?'}: {kind}{reach}{default}")
    if node["outputs"]:
        lines.append("  → " + ", ".join(f"{one['name']} {one['type']}" for one in node["outputs"]))
    return "\n".join(lines)
