"""`spacetime export FILE --api`: what is drawn in the editor as the graph that programs post and edit."""

import json
import os
import sys
from pathlib import Path

from ..media import names
from ..nodes import runtime
from . import workflow as workflows
from .console import Console, as_json, write_out
from .errors import InvalidWorkflow, NodeFailed, UsageError
from .validation import class_errors


def add_to(commands):
    """The command's arguments."""
    export = commands.add_parser(
        "export",
        help="write a workflow in the API format",
        description="Write the API format of a workflow: the editor's file, an API export, or an mp4, webm or png that "
        "carries one. Other programs can post it to a server, and `spacetime run` runs it like the workflow itself.",
        epilog="Exit codes are those of `spacetime run`.",
    )
    export.add_argument("file", metavar="FILE", help="the workflow")
    export.add_argument("--api", action="store_true", required=True, help="the API format: nodes with values by name")
    export.add_argument("--out", metavar="FILE", type=Path, help="write there (default: to stdout)")
    return export


def command(args, classes: dict[str, type], host: runtime.Host) -> int:
    host.on_notice = Console().notice
    runtime.HOST.set(host)
    prompt = api_format(args.file, classes)
    if args.out is None:
        content = as_json({"ok": True, "prompt": prompt}) if args.json else as_text(prompt, sys.stdout)
        return 0 if write_out(content) else NodeFailed.exit_code
    path = _target(args.out, args.file)
    with names.whole(path) as temporary:
        with names.explained(path):
            temporary.write_text(as_text(prompt) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    saved = {"type": "workflow", "path": str(path)}
    content = as_json({"ok": True, "outputs": [saved]}) if args.json else str(path)
    return 0 if write_out(content) else NodeFailed.exit_code


def api_format(file: str | Path, classes: dict[str, type]) -> dict[str, dict]:
    graph = workflows.read(file, classes)
    if not graph.prompt:
        raise InvalidWorkflow(f"no node of {Path(file).name} runs: all are notes, muted or bypassed")
    unknown = class_errors(graph.prompt, classes) if graph.converted else []
    if unknown:  # an API graph needs no classes, but a drawing holds values by position, and only the class knows whose
        more = f", and {len(unknown) - 1} more nodes aren't either" if len(unknown) > 1 else ""
        hint = "its values have no names without it; export the graph in an editor that has the node"
        raise InvalidWorkflow(unknown[0]["details"] + more, hint, unknown[0]["extra_info"]["node_id"])
    return graph.prompt


def as_text(prompt: dict, stream=None) -> str:
    """JSON for people and programs: Chinese stays Chinese, except where the stream couldn't say it."""
    try:
        text = json.dumps(prompt, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise InvalidWorkflow("it holds NaN or Infinity, which no JSON can say and no input takes") from error
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
        return text
    except UnicodeEncodeError:
        return json.dumps(prompt, indent=2)


def _target(out: Path, file: str) -> Path:
    """Where the file goes, if one can be written there: links are followed, the workflow itself is never replaced."""
    if "\0" in str(out):  # what the system says of it differs from one Python to the next
        raise UsageError(f"--out {str(out)!r} holds a NUL character", "no name can")
    try:
        path = out.resolve()
        if path.exists() and path.samefile(file):
            raise UsageError(f"--out {out} is the workflow itself, whose drawing would be lost", "name another file")
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--out {str(out)!r} can't be: {getattr(error, 'strerror', None) or error}") from error
    if path.is_dir():
        raise UsageError(f"--out {out} is a folder", "name a file in it")
    if path.exists() and not path.is_file():
        raise UsageError(f"--out {out} is no ordinary file", "without --out it goes to stdout")
    if not path.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {path.parent}", "make it, or name another file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--out {out}: no permission to write into {path.parent}", "name another file")
    return path
