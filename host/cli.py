"""`spacetime run FILE`, `edit`, `check`, `export`, `models` and `nodes`: ComfyUI's graphs without ComfyUI.

Exit codes: 0 ok, 2 usage, 3 invalid workflow, 4 missing model or file, 5 a node failed, or the server it ran on,
6 out of memory, 130 interrupted.
"""

import argparse
import contextvars
import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from ..nodes import runtime
from . import check, export, models
from . import workflow as workflows
from .console import Console, as_json, forgive_encodings, write_out
from .errors import MissingFile, NodeFailed, UsageError, explain
from .executor import Executor, NodeError
from .graph import declared, named, title
from .validation import valid_outputs

TYPES = {
    **dict.fromkeys((".mp4", ".webm", ".mov", ".mkv", ".gif"), "video"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp"), "image"),
    ".latent": "latent",
}


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UsageError(message, f"{self.prog} --help shows what there is")


def parser() -> Parser:
    main = Parser(
        prog="spacetime", description="Sora's verbs for every open video model: runs node graphs without an editor."
    )
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser(
        "run",
        help="run a workflow",
        description="Run a workflow: the editor's file, its API export, or an mp4, webm or png that carries one.",
        epilog=__doc__.partition("\n\n")[2].strip(),
    )
    run.add_argument("file", metavar="FILE", help="the workflow")
    settings = dict(action="append", default=[], type=str)
    run.add_argument(
        "--set",
        metavar="NODE.INPUT=VALUE",
        help="change a value; NODE is an id, a title or a class. Repeatable",
        **settings,
    )
    run.add_argument(
        "--set-file", metavar="NODE.INPUT=PATH", help="the same, with the text of a file as the value", **settings
    )
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
        "--token", metavar="TEXT", help="the secret of that server (or SPACETIME_TOKEN in the environment)"
    )
    run.set_defaults(function=run_command)

    nodes = commands.add_parser("nodes", help="list the nodes", description="List the nodes with their inputs.")
    nodes.add_argument("name", metavar="NAME", nargs="?", help="only nodes with this in their name, title or category")
    nodes.set_defaults(function=nodes_command)

    edit = commands.add_parser(
        "edit", help="open the graph editor", description="Serve ComfyUI's graph editor and open it in the browser."
    )
    edit.add_argument("file", metavar="FILE", nargs="?", type=Path, help="a workflow to open")
    edit.add_argument("--port", type=_port, help="where to listen (default: 8188, or the next that is free)")
    edit.add_argument("--no-browser", action="store_true", help="only print the address")
    edit.add_argument(
        "--node-pack",
        metavar="DIR",
        action="append",
        default=[],
        type=Path,
        help="load another pack of plain nodes. Repeatable",
    )
    edit.add_argument("--listen", metavar="ADDRESS", default="127.0.0.1", help="let other machines in; wants a token")
    edit.add_argument("--token", metavar="TEXT", help="the secret that other machines' requests carry")
    edit.set_defaults(function=edit_command)

    checked, exported, listed = check.add_to(commands), export.add_to(commands), models.add_to(commands)
    listed.set_defaults(function=lambda args, classes: models.command(args, _host(args)))
    checked.set_defaults(function=lambda args, classes: check.command(args, classes, _host(args)))
    exported.set_defaults(function=lambda args, classes: export.command(args, classes, _host(args)))

    for command in (run, nodes, listed, checked, exported):
        command.add_argument("--json", action="store_true", help="print one JSON object to stdout")
    for command in (run, nodes, listed, checked, exported, edit):
        command.add_argument(
            "--base", metavar="DIR", type=Path, help="folder of models/, input/ and output/ (default: the current one)"
        )
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return main


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no port; a number up to 65535 would be right")
    return int(text)


def known_classes() -> dict[str, type]:
    from ..nodes import NODE_CLASS_MAPPINGS
    from .core_nodes import NODES

    return {**{node.__name__: node for node in NODES}, **NODE_CLASS_MAPPINGS}


def main(argv: list[str] | None = None, classes: dict[str, type] | None = None) -> int:
    """The exit code. `classes`: other nodes than the usual ones."""
    argv = sys.argv[1:] if argv is None else argv
    forgive_encodings()
    try:
        args = parser().parse_args(argv)
        context = contextvars.copy_context()  # the host it sets is gone afterwards
        return context.run(args.function, args, known_classes() if classes is None else classes)
    except SystemExit as finished:  # --help
        return finished.code or 0
    except BaseException as error:
        return _report(error, "--json" in argv, "--debug" in argv)


def _report(error: BaseException, json_wanted: bool, debug: bool) -> int:
    failure = explain(error)
    if debug:
        traceback.print_exception(error)
    Console().line(f"spacetime: {failure.line}")
    if json_wanted:
        write_out(as_json({"ok": False, "error": failure.facts()}))
    return failure.exit_code


# spacetime run


def run_command(args, classes: dict[str, type]) -> int:
    if args.server is not None:
        return _run_there(args)
    if args.token is not None:
        raise UsageError("--token is a server's secret", "name the server with --server URL")
    started = time.perf_counter()
    console = Console()
    stop = threading.Event()
    host = _host(args)
    host.on_notice, host.is_interrupted = console.notice, stop.is_set
    runtime.HOST.set(host)

    graph = workflows.apply_settings(workflows.read(args.file, classes), _settings(args), classes)
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
        ui = _interruptible(lambda: executor.run(graph.prompt, outputs, graph.extra_data), stop, console, args.json)
    except NodeError as error:
        raise explain(error.cause, name(error.node_id), error.node_id) from error.cause
    finally:
        console.close()
    if blocked:
        raise NodeFailed(blocked[0])
    return _tell_results(args, ui, graph.prompt, classes, started)


def _run_there(args) -> int:
    """`--server`: the same from outside, computed elsewhere."""
    from . import remote  # brings the web client

    started = time.perf_counter()
    console = Console()
    stop = threading.Event()
    host = _host(args)
    host.on_notice = console.notice
    runtime.HOST.set(host)
    address = remote.Address.parse(args.server, args.token)
    errand = remote.Errand(args.file, _settings(args), args.dry_run)
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
    if args.json:
        files = [one for one in results if "path" in one]
        texts = [one for one in results if "path" not in one]
        text = as_json({"ok": True, "outputs": files, "texts": texts, "seconds": seconds, **more})
    else:
        text = "\n".join(str(one["path"]) for one in results if "path" in one)
    return 0 if not text or write_out(text) else NodeFailed.exit_code


def _host(args) -> runtime.Host:
    base = args.base or Path.cwd()
    if not base.is_dir():
        raise UsageError(f"--base {base} is no folder")
    return runtime.Host(base=base.absolute(), output=args.out.absolute() if getattr(args, "out", None) else None)


def _settings(args) -> list[workflows.Setting]:
    settings = [workflows.Setting.parse(text) for text in args.set]
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
        settings.append(workflows.Setting(one.node, one.input, value))
    return settings


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
    before = signal.signal(signal.SIGINT, on_signal) if listens else None
    thread = threading.Thread(target=contextvars.copy_context().run, args=(body,), name="run", daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
    except KeyboardInterrupt:
        os._exit(
            _report(KeyboardInterrupt(), json_wanted, False)
        )  # the thread may be deep in torch, where nothing reaches it
    finally:
        if listens:
            signal.signal(signal.SIGINT, before)
    if "error" in result:
        raise result["error"]
    return result["value"]


def _results(node_id: str, prompt: dict, classes: dict[str, type], ui: dict) -> list[dict]:
    """A node's `ui` as facts: files with their absolute paths, texts as they are."""
    node_class = classes[prompt[node_id]["class_type"]] if node_id in prompt else None
    about = {"node": node_id, "title": title(prompt[node_id], node_class) if node_id in prompt else node_id}
    folders = {"output": runtime.output_dir, "temp": runtime.temp_dir, "input": runtime.input_dir}
    found = []
    for entries in ui.values():
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
        listed = [{"node": node_id, "title": name(node_id), **report} for node_id, report in reports.items()]
        facts = {"ok": True, "dry_run": True, "outputs": [], "reports": listed}
        text = as_json({**facts, "seconds": round(time.perf_counter() - started, 3), **more})
    else:
        there = f" on {more['server']}" if "server" in more else ""
        lines = [f"{args.file} is valid{there}: {len(prompt)} nodes"]
        for node_id, report in reports.items():
            plain = {
                key: value
                for key, value in report.items()
                if not isinstance(value, (list, dict)) and "_" not in key and value != ""
            }
            lines.append(f"{name(node_id)}: " + ", ".join(f"{key} {value}" for key, value in plain.items()))
        text = "\n".join(lines)
    return 0 if write_out(text) else NodeFailed.exit_code


# spacetime edit


def edit_command(args, classes: dict[str, type]) -> int:
    from .edit import edit  # brings the web server

    return edit(args, _host(args))


# spacetime nodes


def nodes_command(args, classes: dict[str, type]) -> int:
    runtime.HOST.set(_host(args))
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


if __name__ == "__main__":
    sys.exit(main())
