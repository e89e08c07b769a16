"""`spacetime check FILE`: will this graph run here, and what is missing? All of it at once, without weights."""

import time
from collections.abc import Iterator

from ..nodes import runtime
from . import drawing
from . import workflow as workflows
from .console import Console, as_json, write_out
from .errors import HostError, InvalidWorkflow, NodeFailed, explain, refused
from .executor import Executor
from .graph import named, sources
from .validation import class_errors, validate

UNKNOWN = "(unknown)"  # no class can be called so


class Unknown:
    """Stands for a node that isn't known, so that what feeds it is still looked at."""

    INPUT_TYPES = classmethod(lambda cls: {})
    RETURN_TYPES = ("*",) * 1000
    OUTPUT_NODE = True


def add_to(commands):
    """The command's arguments."""
    check = commands.add_parser(
        "check",
        help="say whether a workflow will run here, and what is missing",
        description="Say whether a workflow will run here: unknown nodes, missing models with the folder where each "
        "belongs, missing files, refused values. Lists every problem, one a line; loads no weights.",
        epilog="Exit codes: 0 it will run, 2 usage, 3 invalid workflow, unknown node or refused value, 4 missing model "
        "or file, 5 a Python package is missing, 6 out of memory. Of several the lowest.",
    )
    check.add_argument("file", metavar="FILE", help="the workflow, or an mp4, webm or png that carries one")
    return check


def command(args, classes: dict[str, type], host: runtime.Host) -> int:
    started = time.perf_counter()
    host.on_notice = Console().notice
    runtime.HOST.set(host)
    graph = workflows.read(args.file, classes)
    found = list(problems(graph, classes, host))
    gravest = min(found, key=lambda one: one.exit_code, default=None)
    facts = {"ok": not found, "nodes": len(graph.prompt)}
    if gravest:
        facts |= {"error": gravest.facts(), "problems": [one.facts() for one in found]}
        text = "\n".join(one.line for one in found)
    else:
        text = f"{args.file} will run here: {len(graph.prompt)} nodes"
    text = as_json({**facts, "seconds": round(time.perf_counter() - started, 3)}) if args.json else text
    if not write_out(text):
        return NodeFailed.exit_code
    return gravest.exit_code if gravest else 0


def problems(graph: workflows.Workflow, classes: dict[str, type], host: runtime.Host) -> Iterator[HostError]:
    """All that keeps the graph from running, in the order of a run: unknown nodes, wrong inputs, what nodes refuse."""
    prompt = _with_packs(graph)
    unknown = {error["extra_info"]["node_id"]: error for error in class_errors(prompt, classes)}
    yield from (refused(error, node_id) for node_id, error in unknown.items())

    prompt |= {node_id: {**prompt[node_id], "class_type": UNKNOWN} for node_id in unknown}
    classes = {**classes, UNKNOWN: Unknown}
    checked = validate(prompt, classes)
    for node_id, entry in checked.node_errors.items():
        yield from (refused(error, node_id) for error in entry["errors"])
    if checked.error and not checked.node_errors:  # nothing to run, or a circle
        yield refused(checked.error, checked.error["extra_info"].get("node_id"))

    bad = {*unknown, *checked.node_errors}
    for node_id in checked.order:
        if bad.intersection(sources(prompt[node_id])):
            bad.add(node_id)
    for error in Executor(classes, host).flaws(prompt, [one for one in checked.order if one not in bad]):
        node = prompt[error.node_id]
        failure = explain(error.cause, named(error.node_id, node, classes[node["class_type"]]), error.node_id)
        if isinstance(failure, NodeFailed) and not isinstance(error.cause, ImportError):  # it refuses its inputs
            failure = InvalidWorkflow(failure.message, failure.hint, failure.node)
        yield failure


def _with_packs(graph: workflows.Workflow) -> dict[str, dict]:
    """The prompt of a saved result doesn't say which pack a node is from; the drawing beside it does."""
    packs = drawing.packs(graph.drawn or {})
    prompt = {}
    for node_id, node in graph.prompt.items():
        kind, meta = node.get("class_type"), node.get("_meta")
        pack = packs.get(kind, {}) if isinstance(kind, str) else {}
        prompt[node_id] = {**node, "_meta": {**pack, **(meta if isinstance(meta, dict) else {})}}
    return prompt
