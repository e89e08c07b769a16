"""What a server says of a job, as the results or the error that a run here would have."""

from .client import words
from .errors import (
    Cancelled,
    HostError,
    InvalidWorkflow,
    MissingFile,
    NodeFailed,
    ServerFailed,
    explain,
    one_line,
    shorten,
)
from .graph import declared, named, names_file

# errors whose class says more than their message
KINDS = (FileNotFoundError, ImportError, MemoryError, OSError, RecursionError, ValueError)


class Judge:
    """Knows the nodes that ran."""

    def __init__(self, prompt: dict[str, dict], classes: dict[str, type]):
        self.prompt, self.classes = prompt, classes

    def outputs(self, entry: dict, blocked: dict | None = None) -> dict:
        """The `ui` by node id, from the history. Raises what kept the job from it."""
        status = entry["status"] if isinstance(entry.get("status"), dict) else {}
        messages = status.get("messages") if isinstance(status.get("messages"), list) else []
        told = {one[0]: one[1] for one in messages if isinstance(one, list) and len(one) == 2 and _is_event(one)}
        outputs = entry["outputs"] if isinstance(entry.get("outputs"), dict) else {}
        error = told.get("execution_error") or blocked
        if error is not None:
            raise self._failure(error)
        if "execution_interrupted" in told or (status.get("status_str") == "error" and not messages):
            raise Cancelled("interrupted on the server", node=told.get("execution_interrupted", {}).get("node_id"))
        if status.get("status_str") == "error":
            raise NodeFailed("the run failed on the server, which doesn't say why")
        return outputs

    def _failure(self, error: dict) -> HostError:
        """What execution_error says, as the same error would be told here."""
        node_id, kind = str(error.get("node_id")), one_line(str(error.get("exception_type"))).rpartition(".")[2]
        message = one_line(str(error.get("exception_message"))) or kind
        where = self._named(node_id)
        if kind == "CheckpointError":
            return MissingFile(f"{where}: {message}", node=node_id)
        base = next((one for one in KINDS if one.__name__ == kind), RuntimeError)
        told = explain(type(kind, (base,), {})(message.removeprefix("Execution Blocked: ")), where, node_id)
        told.message = told.message.removesuffix(f" ({told.hint})")  # our own server has said it already
        return told

    def refusal(self, answer: dict, status: int) -> HostError:
        """What the server says instead of taking the job."""
        node_errors = answer.get("node_errors") if isinstance(answer.get("node_errors"), dict) else {}
        for node_id, entry in node_errors.items():
            flaws = entry.get("errors") if isinstance(entry, dict) else None
            for flaw in flaws if isinstance(flaws, list) else ():
                if isinstance(flaw, dict):
                    return self._refused_input(node_id, flaw)
        error = answer.get("error") if isinstance(answer.get("error"), dict) else {}
        text = words(answer) or f"status {status}"
        if status in (400, 200):
            details = one_line(str(error.get("details") or ""))
            return InvalidWorkflow(f"the server refuses the workflow: {text}", details if details not in text else "")
        return ServerFailed(f"the server doesn't take the job: {text}")

    def _refused_input(self, node_id: str, flaw: dict) -> HostError:
        extra = flaw.get("extra_info") if isinstance(flaw.get("extra_info"), dict) else {}
        details, where = one_line(str(flaw.get("details") or "")), self._named(node_id)
        if f"(node {node_id})" not in details:
            details = f"{where}: {one_line(str(flaw.get('message')))}" + (f": {details}" if details else "")
        node = self.prompt.get(node_id, {"inputs": {}})
        inputs = declared(self.classes[node["class_type"]]) if node.get("class_type") in self.classes else {}
        one, by_value = inputs.get(extra.get("input_name")), ("value_not_in_list", "custom_validation_failed")
        is_file = one and one.choices is not None and names_file(one, node["inputs"].get(one.name))
        missing = extra.get("missing_file") or (is_file and flaw.get("type") in by_value)
        return (MissingFile if missing else InvalidWorkflow)(details, node=node_id)

    def _named(self, node_id: str) -> str:
        node = self.prompt.get(node_id) or self.prompt.get(node_id.partition(".")[0])
        return named(node_id, node, self.classes.get(node["class_type"])) if node else f"node {shorten(node_id)}"


def _is_event(pair: list) -> bool:
    return isinstance(pair[0], str) and isinstance(pair[1], dict)
