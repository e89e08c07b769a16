"""Runs a graph as ComfyUI does.

Outputs are asked for one after another; each asks for what it needs, so an output is finished as early as it can be.
Knows no command line and no server: what happens is told through `on_event(name, data)` under ComfyUI's event names.
"""

import contextvars
import hashlib
import json
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..nodes import runtime
from .calls import ExecutionBlocker, as_outputs, each, merged, output_is_list
from .graph import Cycle, Graph, ancestors_first, declared, hidden, is_link, plain, sources


class NodeError(Exception):
    """A node raised `cause`."""

    def __init__(self, node_id: str, class_type: str, cause: BaseException):
        super().__init__(str(cause))
        self.node_id, self.class_type, self.cause = node_id, class_type, cause


@dataclass
class Kept:
    """What a node gave, for later runs of the same node with the same ancestry."""

    outputs: list[list]
    ui: dict | None
    expanded: bool = False  # of a node that another one expanded into


@dataclass
class Executor:
    """`keep` holds results for the next run (a server); without it each is let go after its last use (a command)."""

    classes: dict[str, type]
    host: runtime.Host = field(default_factory=runtime.Host)
    on_event: Callable[[str, dict], None] = lambda name, data: None
    keep: bool = False
    cache: dict[str, Kept] = field(default_factory=dict)  # by ancestry signature
    objects: dict[tuple[str, str], Any] = field(default_factory=dict)  # node instances, by id and class

    def run(self, prompt: dict, outputs: list[str], extra_data: dict | None = None) -> dict[str, dict]:
        """Execute the output nodes of a validated prompt; returns their `ui`, by node id.

        Raises NodeError, or Interrupted when the host's is_interrupted says so: between nodes, and within them at
        every progress step.
        """
        import torch  # only now: everything before a run works without

        with torch.inference_mode():
            return self._run(Run(self, prompt, extra_data or {}), outputs)

    def plan(self, prompt: dict, outputs: list[str]) -> dict[str, dict]:
        """A dry run: only the DRY_RUN methods, no torch, no weights. Returns their reports, by node id."""
        return self._run(Run(self, prompt, {}, planning=True), outputs)

    def flaws(self, prompt: dict, nodes: list[str]) -> list[NodeError]:
        """A dry run of these nodes that goes on after an error; nodes that need a refused one aren't asked."""
        return contextvars.copy_context().run(Run(self, prompt, {}, planning=True).flaws, nodes)

    def _run(self, run: "Run", outputs: list[str]) -> dict[str, dict]:
        self.objects = {key: one for key, one in self.objects.items() if key[0] in run.graph.original}
        try:
            return contextvars.copy_context().run(run.everything, outputs)
        finally:
            if self.keep and not run.planning:
                self.forget_all_but(set(run.signatures.values()), True)

    def forget_all_but(self, used: set[str], after: bool = False):
        """Of the results of earlier runs: before a run, so that the last graph's model doesn't stand beside this one's,
        and after it, when it is known which of the nodes that others expand into were used."""
        for signature in [one for one, kept in self.cache.items() if one not in used and (after or not kept.expanded)]:
            del self.cache[signature]  # in place: a worker's runs share one


class Run:
    """One prompt on its way."""

    def __init__(self, executor: Executor, prompt: dict, extra_data: dict, planning: bool = False):
        self.executor, self.classes, self.planning = executor, executor.classes, planning
        self.keep = executor.keep and not planning
        self.emit = (lambda name, data: None) if planning else executor.on_event
        self.graph = Graph(prompt)
        self.extra_data = extra_data
        self.values: dict[str, list[list]] = {}  # outputs that somebody still needs
        self.done: set[str] = set()
        self.ui: dict[str, dict] = {}
        self.reports: dict[str, dict] = {}
        self.asked: dict[str, list[str]] = {}  # sources of lazy inputs that a node has asked for
        self.became: dict[str, list[str]] = {}  # nodes that a node expanded into
        self.expanded: dict[str, list] = {}  # what its calls returned, until those are done
        self.waiting: dict[str, int] = {}  # how many nodes will still use a node's outputs
        self.signatures: dict[str, str] = {}
        self.current: str | None = None  # the node at work

    def everything(self, outputs: list[str]) -> dict[str, dict]:
        runtime.HOST.set(self.executor.host)
        self.emit("execution_start", {})
        if self.keep:
            order = list(ancestors_first(outputs, lambda one: sources(self.graph.get_node(one))))
            self.signatures = {}
            for node_id in order:
                self.signatures[node_id] = self.signature(node_id)
            self.executor.forget_all_but(set(self.signatures.values()))
            self.emit(
                "execution_cached", {"nodes": [one for one in order if self.signatures[one] in self.executor.cache]}
            )
        self._expect(outputs)
        try:
            for output in outputs:
                self.reach(output)
        except runtime.Interrupted:
            self.emit("execution_interrupted", {"node_id": self.current, "executed": sorted(self.done)})
            raise
        except NodeError as error:
            details = {"node_id": error.node_id, "node_type": error.class_type, "executed": sorted(self.done)}
            message = {"exception_message": str(error.cause), "exception_type": type(error.cause).__name__}
            self.emit("execution_error", {**details, **message, "exception": error.cause})
            raise
        self.emit("execution_success", {})
        return self.reports if self.planning else self.ui

    def flaws(self, nodes: list[str]) -> list[NodeError]:
        runtime.HOST.set(self.executor.host)
        self._expect(nodes)
        found, refused = [], set()
        for node_id in ancestors_first(nodes, lambda one: sources(self._node(one))):
            if refused.intersection(sources(self._node(node_id))):
                refused.add(node_id)
                continue
            try:
                self.reach(node_id)
            except NodeError as error:
                refused.add(node_id)
                found.append(error)
        return found

    def reach(self, output: str):
        """Run what `output` needs, then itself. The path holds who waits for whom; it grows while nodes run."""
        path = {output: None}
        while path:
            node_id = next(reversed(path))
            needed = None if node_id in self.done or self._recall(node_id) else self._next_needed(node_id)
            if needed is not None:
                if needed in path:
                    raise self._failed(node_id, Cycle(list(path)[list(path).index(needed) :]))
                path[needed] = None
            elif node_id in self.done or self.step(node_id):
                del path[node_id]

    def _next_needed(self, node_id: str) -> str | None:
        node = self.graph.get_node(node_id)
        lazy = {one.name for one in declared(self.classes[node["class_type"]]).values() if one.options.get("lazy")}
        needed = [
            *sources(node, lambda name: name not in lazy),
            *self.asked.get(node_id, []),
            *self.became.get(node_id, []),
        ]
        return next((one for one in needed if one not in self.done), None)

    def _recall(self, node_id: str) -> bool:
        """Take a node's result from an earlier run, without asking for its ancestors."""
        if not self.keep:
            return False
        if node_id not in self.signatures:  # of a node added while running; its ancestors' may be needed too
            for one in ancestors_first(
                [node_id], lambda one: [] if one in self.signatures else sources(self._node(one))
            ):
                self.signatures.setdefault(one, self.signature(one))
        kept = self.executor.cache.get(self.signatures[node_id])
        if kept is None:
            return False
        self._finish(node_id, kept.outputs, kept.ui, fresh=False)
        return True

    # one node

    def step(self, node_id: str) -> bool:
        """Run a node whose needs are met. False if it turns out to need more first."""
        self.current = self.graph.get_real_node_id(node_id)
        try:
            return self._step(node_id, self._node(node_id))
        except (runtime.Interrupted, KeyboardInterrupt):
            raise runtime.Interrupted("cancelled") from None
        except NodeError:
            raise
        except Exception as error:
            raise self._failed(node_id, error) from error

    def _step(self, node_id: str, node: dict) -> bool:
        node_class = self.classes[node["class_type"]]
        count = len(node_class.RETURN_TYPES)
        if node_id in self.expanded:
            self._finish(node_id, *self._collect(self.expanded.pop(node_id), node_class))
            return True
        method = getattr(node_class, "DRY_RUN", None) if self.planning else node_class.FUNCTION
        if method is None:
            self._finish(node_id, [[None]] * count, None)
            return True
        self._emit_about("executing", node_id)
        instance = self.executor.objects.get((node_id, node["class_type"])) or node_class()
        self.executor.objects[node_id, node["class_type"]] = instance
        inputs, missing = self._inputs(node_id, node, node_class)
        if self.planning and any(
            one.is_widget and inputs.get(name) == [None] for name, one in declared(node_class).items()
        ):
            self._finish(node_id, [[None]] * count, None)  # a value that only the run itself can tell
            return True
        if hasattr(instance, "check_lazy_status") and not self.planning:
            asked = [name for names in each(instance, inputs, "check_lazy_status") for name in names or []]
            asked = [name for name in asked if name in missing or name not in inputs]
            if asked:
                links = [node["inputs"].get(name) for name in asked]
                if not all(is_link(link) for link in links):
                    raise ValueError(f"it asks for {', '.join(asked)}, which isn't linked")
                self.asked.setdefault(node_id, []).extend(link[0] for link in links)
                return False
        with self._told(node_id):
            results = each(instance, inputs, method, lambda blocker: self._blocked(node_id, blocker))
        del inputs
        self._expand_or_finish(node_id, results, node_class)
        return node_id in self.done

    def _inputs(self, node_id: str, node: dict, node_class: type) -> tuple[dict[str, list], set[str]]:
        """Each declared or hidden input as a list of values; and the lazy ones that nobody has computed yet."""
        inputs, missing = {}, set()
        options = {one.name: one.options for one in declared(node_class).values()}
        for name, value in node["inputs"].items():
            if name not in options:
                continue
            if is_link(value) and not options[name].get("rawLink"):
                outputs = self.values.get(value[0], [])
                inputs[name] = outputs[value[1]] if value[1] < len(outputs) else [None]
                if value[0] not in self.done:
                    missing.add(name)
            else:
                inputs[name] = [plain(value)]
        special = {
            "PROMPT": self.graph.original,
            "DYNPROMPT": self.graph,
            "EXTRA_PNGINFO": self.extra_data.get("extra_pnginfo"),
            "UNIQUE_ID": node_id,
        }
        return inputs | {name: [special[kind]] for name, kind in hidden(node_class).items() if kind in special}, missing

    def _expand_or_finish(self, node_id: str, results: list, node_class: type):
        """Sort what the calls returned: outputs, `ui`, and graphs to run in the node's place."""
        pending, ui, added = [], {}, []
        for result in results:
            if isinstance(result, dict):
                for name, entries in (result.get("ui") or {}).items():
                    ui.setdefault(name, []).extend(entries)
                if self.planning and result.get("report"):
                    self.reports[node_id] = result["report"]
            outputs = result.get("result", ()) if isinstance(result, dict) else result
            graph = result.get("expand") if isinstance(result, dict) else None
            added += self._add(node_id, graph) if graph else []
            pending.append((bool(graph), as_outputs(outputs, node_class)))
        if not any(graph for graph, _ in pending):
            self._finish(node_id, merged([outputs for _, outputs in pending], node_class), ui or None)
            return
        links = [link[0] for graph, outputs in pending if graph for link in outputs if is_link(link)]
        outputs_added = [
            one for one in added if getattr(self.classes[self._node(one)["class_type"]], "OUTPUT_NODE", False)
        ]
        self.became[node_id] = list(dict.fromkeys([*links, *outputs_added]))
        self._expect(self.became[node_id], node_id)
        self.expanded[node_id] = [*pending, ui or None]

    def _add(self, parent: str, graph: dict) -> list[str]:
        for node_id, node in graph.items():
            if self.graph.has_node(node_id):
                raise ValueError(f"it adds a node {node_id!r} where one is already; added ids must be unique")
            if node["class_type"] not in self.classes:
                raise ValueError(f"it adds a node of the unknown class {node['class_type']!r}")
            self.graph.add(node_id, {"inputs": {}, **node}, parent)
        return list(graph)

    def _collect(self, pending: list, node_class: type) -> tuple[list[list], dict | None]:
        """An expanded node's outputs, once the nodes it became have theirs."""
        *calls, ui = pending
        columns: list[list] = [[] for _ in node_class.RETURN_TYPES]
        lists = output_is_list(node_class)
        for expanded, outputs in calls:
            for column, is_list, one in zip(columns, lists, outputs, strict=False):
                if expanded and is_link(one):
                    column.extend(self.values[one[0]][one[1]])
                elif is_list and not isinstance(one, ExecutionBlocker):
                    column.extend(one)
                else:
                    column.append(one)
        return columns, ui

    # bookkeeping

    def _finish(self, node_id: str, outputs: list[list], ui: dict | None, fresh: bool = True):
        self.done.add(node_id)
        self.values[node_id] = outputs
        if fresh and self.keep:
            self.executor.cache[self.signatures[node_id]] = Kept(outputs, ui, node_id in self.graph.added)
        if ui:
            self.ui[node_id] = ui
            self._emit_about("executed", node_id, output=ui)
        self._let_go([node_id, *sources(self._node(node_id)), *self.became.pop(node_id, [])], node_id)

    def _expect(self, targets: list[str], parent: str | None = None):
        """Count who will use what, so that a value can be let go after its last use."""
        new = [one for one in targets if one not in self.waiting]
        for node_id in list(
            ancestors_first(new, lambda one: [s for s in sources(self._node(one)) if s not in self.waiting])
        ):
            self.waiting.setdefault(node_id, 0)
            for source in sources(self._node(node_id)):
                self.waiting[source] = self.waiting.get(source, 0) + 1
        for target in targets if parent else ():
            self.waiting[target] = self.waiting.get(target, 0) + 1

    def _let_go(self, used: list[str], by: str):
        for node_id in used:
            if node_id != by:
                self.waiting[node_id] = self.waiting.get(node_id, 0) - 1
            if not self.keep and self.waiting.get(node_id, 0) <= 0:
                self.values.pop(node_id, None)

    def signature(self, node_id: str) -> str:
        """Class, inputs, IS_CHANGED and all ancestors: the same signature means the same result. No node ids."""
        node = self._node(node_id)
        node_class = self.classes[node["class_type"]]
        names = declared(node_class)  # editors add inputs of their own, which mean nothing
        inputs = {
            name: ["from", self.signatures.get(value[0], value[0]), value[1]] if is_link(value) else ["is", value]
            for name, value in node["inputs"].items()
            if name in names
        }
        unique = "UNIQUE_ID" in hidden(node_class).values() or getattr(node_class, "NOT_IDEMPOTENT", False)
        facts = [node["class_type"], self._is_changed(node_id, node, node_class), node_id if unique else "", inputs]
        text = json.dumps(
            facts, sort_keys=True, default=lambda value: uuid.uuid4().hex
        )  # what isn't JSON never matches
        return hashlib.sha256(text.encode()).hexdigest()

    def _is_changed(self, node_id: str, node: dict, node_class: type):
        if not hasattr(node_class, "IS_CHANGED"):
            return None
        inputs, _ = self._inputs(node_id, {**node, "inputs": _constants(node)}, node_class)
        inputs |= {name: [None] for name, value in node["inputs"].items() if is_link(value)}
        try:
            answers = each(node_class, inputs, "IS_CHANGED")
        except Exception:
            return uuid.uuid4().hex  # it couldn't tell, so it counts as changed
        return [uuid.uuid4().hex if answer != answer else answer for answer in answers]  # NaN: changed every time

    def _node(self, node_id: str) -> dict:
        return self.graph.get_node(node_id)

    def _failed(self, node_id: str, cause: BaseException) -> NodeError:
        real = self.graph.get_real_node_id(node_id)
        return NodeError(real, self._node(real)["class_type"], cause)

    def _emit_about(self, name: str, node_id: str, **data):
        self.emit(name, {"node": node_id, "display_node": self.graph.get_display_node_id(node_id), **data})

    def _blocked(self, node_id: str, blocker: ExecutionBlocker) -> ExecutionBlocker:
        if blocker.message is not None:
            self._emit_about("execution_blocked", node_id, message=blocker.message)
        return ExecutionBlocker(None)

    def _told(self, node_id: str):
        """Progress made inside belongs to this node; a dry run keeps its notices to itself."""
        host = self.executor.host
        if self.planning:
            return _host(replace(host, on_notice=lambda text: None, on_progress=None, on_status=None))

        def on_progress(value, total, preview=None):
            self._emit_about("progress", node_id, value=value, max=total, preview=preview)
            if host.on_progress:
                host.on_progress(value, total, preview)

        return _host(replace(host, on_progress=on_progress))


@contextmanager
def _host(host: runtime.Host):
    token = runtime.HOST.set(host)
    try:
        yield
    finally:
        runtime.HOST.reset(token)


def _constants(node: dict) -> dict:
    return {name: value for name, value in node["inputs"].items() if not is_link(value)}
