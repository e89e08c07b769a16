"""`spacetime run FILE`: a graph is checked, computed here or on a server, and its results told."""

import contextvars
import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..media import names
from ..nodes import runtime
from . import workflow as workflows
from .console import Console, as_json, report, write_out
from .errors import MissingFile, NodeFailed, UsageError, explain
from .executor import Executor, NodeError
from .graph import named, title
from .validation import valid_outputs

TYPES = {
    **dict.fromkeys((".mp4", ".webm", ".mov", ".mkv", ".gif"), "video"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp"), "image"),
    ".latent": "latent",
}

EXIT_CODES = (
    "Exit codes: 0 ok, 2 usage, 3 invalid workflow, 4 missing model or file, 5 a node failed, or the server it ran on, "
    "6 out of memory, 130 interrupted."
)


def add_to(commands):
    """The command's arguments."""
    run = commands.add_parser(
        "run",
        help="run a workflow",
        description="Run a workflow: the editor's file, its API export, or an mp4, webm or png that carries one.",
        epilog=EXIT_CODES,
    )
    run.add_argument("file", metavar="FILE", help="the workflow")
    add_settings(run)
    run.add_argument("--out", metavar="DIR", type=Path, help="where results go (default: output/ in the base folder)")
    run.add_argument(
        "--dry-run", action="store_true", help="check everything, say size, tokens and memory, load no weights"
    )
    run.add_argument(
        "--server",
        metavar="URL",
        help="let a running ComfyUI or `spacetime edit` compute it, fetch the results; a dry run says what it lacks",
    )
    run.add_argument(
        "--token",
        metavar="TEXT",
        help="the secret of that server (or SPACETIME_TOKEN in the environment, which goes only to this machine and "
        "over https)",
    )
    return run


def add_settings(command):
    """--set and --set-file."""
    settings = dict(action="append", default=[], type=str)
    command.add_argument(
        "--set",
        metavar="NODE.INPUT=VALUE",
        help="change a value; NODE is an id, a title or a class. Repeatable",
        **settings,
    )
    command.add_argument(
        "--set-file", metavar="NODE.INPUT=PATH", help="the same, with the text of a file as the value", **settings
    )


def command(args, classes: dict[str, type], host: runtime.Host) -> int:
    if args.server is not None:
        return _run_there(args, host)
    if args.token is not None:
        raise UsageError("--token is a server's secret", "name the server with --server URL")
    started = time.perf_counter()
    console = Console()
    stop = threading.Event()
    host.on_notice, host.is_interrupted = console.notice, stop.is_set
    runtime.HOST.set(host)

    graph = workflows.apply_settings(workflows.read(args.file, classes), settings(args), classes)
    outputs = valid_outputs(graph.prompt, classes)

    def name(node_id: str) -> str:
        node = graph.prompt[node_id]
        return named(node_id, node, classes.get(node["class_type"]))

    blocked: list[str] = []

    def on_event(event: str, data: dict):
        if event == "progress":
            node = graph.prompt[data["display_node"]]
            console.progress(data["node"], title(node, classes[node["class_type"]]), data["value"], data["max"])
        elif event == "execution_blocked":
            blocked.append(f"{name(data['display_node'])}: {data['message']}")

    executor = Executor(classes, host, on_event)
    try:
        _check_writable(host.output or host.base / "output", make=not args.dry_run)
        reports = executor.plan(graph.prompt, outputs)  # sizes and files are refused before any weights are loaded
        if args.dry_run:
            return _tell_plan(args, graph.prompt, reports, name, started)
        runtime.clear_previews(runtime.temp_dir())
        ui = _interruptible(lambda: executor.run(graph.prompt, outputs, graph.extra_data), stop, console, args.json)
    except NodeError as error:
        raise explain(error.cause, name(error.node_id), error.node_id) from error.cause
    finally:
        console.close()
    if blocked:
        raise NodeFailed(blocked[0])
    return _tell_results(args, ui, graph.prompt, classes, started)


def _run_there(args, host: runtime.Host) -> int:
    """`--server`: the same from outside, computed elsewhere."""
    from . import remote  # brings the web client

    started = time.perf_counter()
    console = Console()
    stop = threading.Event()
    host.on_notice = console.notice
    runtime.HOST.set(host)
    address = remote.Address.parse(args.server, args.token)
    errand = remote.Errand(args.file, settings(args), args.dry_run)
    try:
        _check_writable(host.output or host.base / "output", make=not args.dry_run)
        done = _interruptible(lambda: remote.run(address, errand, console, stop), stop, console, args.json)
    finally:
        console.close()
    if args.dry_run:
        return _tell_plan(args, done.prompt, {}, str, started, server=address.url)
    return _tell_results(args, done.ui, done.prompt, done.classes, started, server=address.url)


def _tell_results(args, ui: dict, prompt: dict, classes: dict[str, type], started: float, **more) -> int:
    results = [one for node_id, shown in ui.items() for one in _results(node_id, prompt, classes, shown)]
    seconds = round(time.perf_counter() - started, 3)
    results.sort(key=lambda one: one.get("folder") == "temp")  # what was saved first, then what was only looked at
    files, texts = ([one for one in results if ("path" in one) is a_file] for a_file in (True, False))
    if args.json:
        text = as_json({"ok": True, "outputs": files, "texts": texts, "seconds": seconds, **more})
    else:
        for one in texts:  # what the nodes show in the editor
            Console().line(f"{one['title']}: " + one["text"].strip().replace("\n", "\n  "))
        text = "\n".join(str(one["path"]) for one in files)
    return 0 if not text or write_out(text) else NodeFailed.exit_code


def settings(args) -> list[workflows.Setting]:
    found = [workflows.Setting.parse(text) for text in args.set]
    for text in args.set_file:
        one = workflows.Setting.parse(text, "--set-file")
        try:
            value = Path(one.text).read_text(encoding="utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError(f"--set-file {one.text} isn't UTF-8 text (at byte {error.start})") from error
        except (OSError, ValueError) as error:
            raise MissingFile(
                f"--set-file can't read {one.text}: {getattr(error, 'strerror', None) or error}"
            ) from error
        found.append(workflows.Setting(one.node, one.input, value))
    return found


def _check_writable(folder: Path, make: bool):
    """Refuse now what couldn't be saved later."""
    try:
        place = next(one for one in (folder, *folder.parents) if one.exists())
        if not place.is_dir():
            raise UsageError(f"results go into {folder}, but {place} is a file", "name a folder with --out")
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder if make else place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission to write there")
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise UsageError(f"results can't go into {folder}: {what}", "name another folder with --out") from error


def _interruptible(work: Callable, stop: threading.Event, console: Console, json_wanted: bool):
    """Do the work on a thread of its own, so that Ctrl-C is heard: once asks it to stop, twice ends the process."""
    result: dict = {}

    def body():
        try:
            result["value"] = work()
        except BaseException as error:
            result["error"] = error

    def on_signal(number, frame):
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        console.line("stopping after this step; Ctrl-C again stops at once")

    listens = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if listens else ()  # batch systems and containers send the second
    before = {number: signal.signal(number, on_signal) for number in numbers}
    thread = threading.Thread(target=contextvars.copy_context().run, args=(body,), name="run", daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
    except KeyboardInterrupt:
        code = report(KeyboardInterrupt(), json_wanted, False)
        names.abandon()
        os._exit(code)  # the thread may be deep in torch, where nothing reaches it
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if "error" in result:
        raise result["error"]
    return result["value"]


def _results(node_id: str, prompt: dict, classes: dict[str, type], ui: dict) -> list[dict]:
    """A node's `ui` as facts: files with their absolute paths, texts as they are."""
    node_class = classes[prompt[node_id]["class_type"]] if node_id in prompt else None
    about = {"node": node_id, "title": title(prompt[node_id], node_class) if node_id in prompt else node_id}
    folders = {"output": runtime.output_dir, "temp": runtime.temp_dir, "input": runtime.input_dir}
    found = []
    for entries in (entries for key, entries in ui.items() if key != runtime.SEQUENCE):
        for entry in entries if isinstance(entries, (list, tuple)) else []:
            if isinstance(entry, dict) and isinstance(entry.get("filename"), str):
                folder = entry.get("type", "output")
                path = folders.get(folder, runtime.output_dir)() / entry.get("subfolder", "") / entry["filename"]
                kind = TYPES.get(path.suffix.lower(), "file")
                found.append({**about, "type": kind, "path": str(path.absolute()), "folder": folder})
            elif isinstance(entry, str):
                found.append({**about, "type": "text", "text": entry})
    return found


def _tell_plan(args, prompt: dict, reports: dict[str, dict], name: Callable[[str], str], started: float, **more) -> int:
    if args.json:
        listed = [{"node": node_id, "title": name(node_id), **facts_of(one)} for node_id, one in reports.items()]
        facts = {"ok": True, "dry_run": True, "outputs": [], "reports": listed}
        text = as_json({**facts, "seconds": round(time.perf_counter() - started, 3), **more})
    else:
        there = f" on {more['server']}" if "server" in more else ""
        lines = [f"{args.file} is valid{there}: {len(prompt)} nodes"]
        for node_id, one in reports.items():
            plain = {
                key: value
                for key, value in one.items()
                if isinstance(value, (str, int, float)) and "_" not in key and value != ""
            }
            if not plain:  # a plan, which `spacetime plan` tells
                continue
            lines.append(f"{name(node_id)}: " + ", ".join(f"{key} {value}" for key, value in plain.items()))
        text = "\n".join(lines)
    return 0 if write_out(text) else NodeFailed.exit_code


def facts_of(report: dict) -> dict:
    """A dry run's report on one node, for a program."""
    return {key: value.facts() if hasattr(value, "facts") else value for key, value in report.items()}
