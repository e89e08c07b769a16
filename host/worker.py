"""Runs the queue's jobs, one after another, on a thread of its own, and tells the windows about it."""

import gc
import io
import threading
import traceback
from dataclasses import dataclass, field, replace

from ..model_loaders import devices
from ..nodes import runtime
from .errors import OutOfMemory, explain, shorten
from .events import Hub
from .executor import Executor, NodeError
from .graph import Graph
from .jobs import Job, Jobs, now

JPEG_QUALITY = 90
WEIGHTS = "weights"


@dataclass
class Worker:
    """`run` is the thread's body. It ends when the queue is closed."""

    jobs: Jobs
    hub: Hub
    executor: Executor
    freeing: set[str] = field(default_factory=set)  # what to let go before the next job
    telling: "Telling | None" = None

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.run, name="worker", daemon=True)
        thread.start()
        return thread

    def run(self):
        while not self.jobs.closed:
            job = self.jobs.next(timeout=1.0)
            if self.freeing:
                self._free()
            if job is not None:
                self._work(job)

    def _work(self, job: Job):
        self.telling = telling = Telling(job, self.hub)
        host = replace(
            self.executor.host, is_interrupted=job.stop.is_set, on_notice=telling.notice, on_status=telling.notice
        )
        runner = replace(self.executor, host=host, on_event=telling)
        status, planning = "failed", True
        try:
            runner.plan(job.prompt, job.outputs)  # sizes and files are refused before any weights are loaded
            planning = False
            runner.run(job.prompt, job.outputs, job.extra_data)
            status = "completed"
        except runtime.Interrupted:
            status = "cancelled"
        except BaseException as error:  # of a node, of its declarations, sys.exit(): the job fails, the server lives
            if job.error is None:
                telling.fail(error)
            if isinstance(explain(getattr(error, "cause", error)), OutOfMemory) and not planning:
                self.freeing.add(WEIGHTS)
        self.executor.cache, self.executor.objects = runner.cache, runner.objects
        self.telling = None
        self.jobs.finish(job, status)
        telling.send("executing", {"node": None})

    def _free(self):
        """Let go of kept results, models among them; where a job ran out of memory, of the models' weights alone: what
        was sampled for hours needn't be sampled again."""
        if self.freeing == {WEIGHTS}:
            from ..model_loaders.component import Component
            from ..model_loaders.memory import give_back

            for column in (column for kept in self.executor.cache.values() for column in kept.outputs):
                for one in column:
                    if isinstance(one, Component):
                        give_back(one)
        else:
            self.executor.cache.clear()
            self.executor.objects.clear()
        self.freeing.clear()
        gc.collect()
        devices.empty_cache()


IDS = ("node_id", "prompt_id", "display_node_id", "parent_node_id", "real_node_id")


class Telling:
    """The executor's events of one job, as the editor knows them."""

    def __init__(self, job: Job, hub: Hub):
        self.job, self.hub = job, hub
        self.graph = Graph(job.prompt)
        self.nodes: dict[str, dict] = {}  # what progress_state says
        self.node: str | None = None  # at work

    def __call__(self, event: str, data: dict):
        getattr(self, event)(data)

    def send(self, event: str, data: dict):
        """To the window whose job it is. A program's job has none, and others would show it on their own nodes."""
        if self.job.client_id is not None:
            self.hub.send(event, {"prompt_id": self.job.id, **data}, self.job.client_id)

    def step(self, event: str, data: dict):
        """One of the events that the history keeps."""
        data = {"prompt_id": self.job.id, "timestamp": now(), **data}
        self.job.messages.append([event, data])
        self.send(event, data)

    def execution_start(self, data: dict):
        self.step("execution_start", {})

    def execution_cached(self, data: dict):
        self.step("execution_cached", data)

    def executing(self, data: dict):
        self._leave()
        self.node = data["node"]
        self.nodes[self.node] = self._state(data, 0, 1, "running")
        self._send_states()
        self.send("executing", {"node": self.node, "display_node": data["display_node"]})

    def progress(self, data: dict):
        self.nodes[data["node"]] = self._state(data, data["value"], data["max"], "running")
        self._send_states()
        self.send("progress", {"node": data["node"], "value": data["value"], "max": data["max"]})
        if data.get("preview") and self.job.client_id is not None and self.hub.listens(self.job.client_id):
            about = {key: self.nodes[data["node"]][key] for key in IDS}
            picture, format = encoded(*data["preview"])
            self.hub.send_preview(picture, format, about, self.job.client_id)

    def executed(self, data: dict):
        self.job.shown[data["display_node"]] = data["output"]
        self.send("executed", data)
        texts = data["output"].get("text")
        if isinstance(texts, list) and texts and all(isinstance(one, str) for one in texts):
            self._send_text("\n".join(texts), data["display_node"])

    def execution_blocked(self, data: dict):
        facts = {"node_id": data["display_node"], "node_type": self._type(data["display_node"]), "executed": []}
        facts |= {"exception_message": f"Execution Blocked: {data['message']}", "exception_type": "ExecutionBlocked"}
        self.step("execution_error", {**facts, "traceback": [], "current_inputs": {}, "current_outputs": []})

    def execution_success(self, data: dict):
        self._leave()
        self._send_states()
        self.step("execution_success", {})

    def execution_interrupted(self, data: dict):
        node_id = data.get("node_id")
        self.step("execution_interrupted", {**data, "node_type": self._type(node_id)})

    def execution_error(self, data: dict):
        error = data.pop("exception")
        told = explain(error)
        message = told.message + (f" ({told.hint})" if told.hint else "")
        inputs = self.job.prompt.get(data["node_id"], {}).get("inputs", {})
        facts = {
            **data,
            "exception_message": message,
            "traceback": traceback.format_exception(error),
            "current_inputs": {name: [shorten(value, 200)] for name, value in inputs.items()},
            "current_outputs": data["executed"],
        }
        if self.node in self.nodes:
            self.nodes[self.node]["state"] = "error"
            self._send_states()
        self.step("execution_error", facts)
        self.job.error = self.job.messages[-1][1]

    def fail(self, error: BaseException):
        """What the executor hasn't told: the dry run refused a node, or something outside of any node went wrong."""
        if not self.job.messages:
            self.execution_start({})
        node_id = error.node_id if isinstance(error, NodeError) else self.node or self.job.outputs[0]
        cause = error.cause if isinstance(error, NodeError) else error
        about = {"node_id": node_id, "node_type": self._type(node_id), "executed": []}
        self.execution_error({**about, "exception": cause, "exception_type": type(cause).__name__})

    def notice(self, text: str):
        if self.node is not None:
            self._send_text(text, self.nodes[self.node]["display_node_id"])

    def _send_text(self, text: str, node_id: str):
        if self.job.client_id is not None:
            self.hub.send_text(text, node_id, self.job.id, self.job.client_id)

    def greeting(self) -> list[tuple[str, dict]]:
        """For a window that comes back in the middle of its job."""
        if self.node is None or self.node not in self.nodes:
            return []
        about = {"prompt_id": self.job.id}
        display = self.nodes[self.node]["display_node_id"]
        return [
            ("execution_start", {**about, "timestamp": self.job.started}),
            ("progress_state", {**about, "nodes": {**self.nodes}}),
            ("executing", {**about, "node": self.node, "display_node": display}),
        ]

    def _leave(self):
        if self.node in self.nodes:
            state = self.nodes[self.node]
            state |= {"value": state["max"], "state": "finished"}

    def _state(self, data: dict, value, most, word: str) -> dict:
        node_id, display = data["node"], data["display_node"]
        ids = {"node_id": node_id, "prompt_id": self.job.id, "display_node_id": display}
        ids |= {"parent_node_id": None, "real_node_id": display}
        return {"value": value, "max": most, "state": word, **ids}

    def _send_states(self):
        self.send("progress_state", {"nodes": self.nodes})

    def _type(self, node_id: str | None) -> str:
        return str(self.job.prompt.get(node_id, {}).get("class_type"))


def encoded(format: str, image, max_size: int | None) -> tuple[bytes, str]:
    """A preview as (format, PIL image, longest side) → its bytes, and JPEG or PNG."""
    if max_size and max(image.size) > max_size:
        image = image.copy()
        image.thumbnail((max_size, max_size))
    format = "PNG" if format == "PNG" else "JPEG"
    buffer = io.BytesIO()
    image.convert("RGB" if format == "JPEG" else image.mode).save(buffer, format, quality=JPEG_QUALITY)
    return buffer.getvalue(), format
