"""What can go wrong in a run, as one line for the person, a word for a program, and the command's exit code."""

import sys

from ..nodes.runtime import Interrupted


class HostError(Exception):
    """`message` says what is wrong and what would be right, `hint` what to do; `node` is an id."""

    code, exit_code = "error", 1

    def __init__(self, message: str, hint: str = "", node: str | None = None):
        self.message, self.hint, self.node = one_line(message, 900), one_line(hint), node
        super().__init__(self.message)

    @property
    def line(self) -> str:
        return self.message + (f" ({self.hint})" if self.hint else "")

    def facts(self) -> dict:
        return {"code": self.code, "message": self.message, "hint": self.hint, "node": self.node}


class UsageError(HostError):
    code, exit_code = "usage", 2


class InvalidWorkflow(HostError):
    code, exit_code = "invalid_workflow", 3


class MissingFile(HostError):
    code, exit_code = "missing_file", 4


class NodeFailed(HostError):
    code, exit_code = "node_failed", 5


class ServerFailed(HostError):
    """The server that computes a graph for us lost it, or went away."""

    code, exit_code = "server_failed", 5


class OutOfMemory(HostError):
    code, exit_code = "out_of_memory", 6


class Cancelled(HostError):
    code, exit_code = "interrupted", 130


def explain(error: BaseException, where: str = "", node: str | None = None) -> HostError:
    """Any exception as a HostError. `where` names the node in words: 'Sample (node 5)'."""
    if isinstance(error, HostError):
        return error
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return Cancelled("interrupted", node=node)
    message = one_line(str(error)) or type(error).__name__
    if isinstance(error, KeyError):
        message = f"it looked for {message} and found none"
    if where:
        message = f"{where}: {message}"
    if is_out_of_memory(error):
        return OutOfMemory(message, "a smaller size, fewer frames or a smaller batch needs less memory", node)
    if isinstance(error, ModuleNotFoundError):
        return NodeFailed(message, "pip install 'spacetime-nodes[standalone]' brings what a run needs", node)
    if isinstance(error, FileNotFoundError) or _is_bad_checkpoint(error):
        return MissingFile(message, node=node)
    if isinstance(error, RecursionError):
        return InvalidWorkflow(f"{where}: nested too deeply" if where else "nested too deeply", node=node)
    return NodeFailed(message, node=node)


def refused(flaw: dict, node: str | None = None, more: str = "") -> HostError:
    """What validation found, as what a command raises."""
    facts = flaw["extra_info"]
    if facts.get("missing_file"):
        return MissingFile(flaw["details"], f"it belongs in {facts['folder']}" if "folder" in facts else "", node)
    return InvalidWorkflow(flaw["details"], more, node)


def is_out_of_memory(error: BaseException) -> bool:
    """torch has several ways to say it: its own class on a GPU, a RuntimeError or the system's words on a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    words = ("allocate memory", "not enough memory", "out of memory", "bad_alloc", "failed to map segment")
    return isinstance(error, (RuntimeError, OSError, ImportError)) and any(word in text for word in words)


def _is_bad_checkpoint(error: BaseException) -> bool:
    module = sys.modules.get(__package__.rpartition(".")[0] + ".model_loaders.checkpoint")  # loaded, if it has raised
    return module is not None and isinstance(error, module.CheckpointError)


def one_line(text: str, limit: int = 600) -> str:
    """No line breaks, and nothing that would steer a terminal."""
    return shorten(" ".join("".join(one if one.isprintable() else " " for one in text).split()), limit)


def shorten(value, limit: int = 60) -> str:
    """A value from a stranger's file, fit for a message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
