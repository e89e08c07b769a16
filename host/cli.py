"""`spacetime run FILE`, `plan`, `edit`, `check`, `export`, `models` and `nodes`: ComfyUI's graphs without ComfyUI.

One file of this folder for each command.
"""

import argparse
import contextvars
import sys
from pathlib import Path

from ..nodes import runtime
from . import check, export, models, node_list, plan, run
from .console import forgive_encodings, report
from .errors import UsageError


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UsageError(message, f"{self.prog} --help shows what there is")


def parser() -> Parser:
    main = Parser(
        prog="spacetime", description="Sora's verbs for every open video model: runs node graphs without an editor."
    )
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    rooms = {room: room.add_to(commands) for room in (run, plan, node_list)}
    edit = _add_edit(commands)
    rooms |= {room: room.add_to(commands) for room in (check, export, models)}
    for room, command in rooms.items():
        command.set_defaults(function=room.command)
        command.add_argument("--json", action="store_true", help="print one JSON object to stdout")
    for command in (*rooms.values(), edit):
        command.add_argument(
            "--base", metavar="DIR", type=Path, help="folder of models/, input/ and output/ (default: the current one)"
        )
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return main


def _add_edit(commands):
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
    edit.set_defaults(function=_edit)
    return edit


def _edit(args, classes: dict[str, type], host: runtime.Host) -> int:
    from .edit import edit  # brings the web server

    return edit(args, host)


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
        return context.run(args.function, args, known_classes() if classes is None else classes, _host(args))
    except SystemExit as finished:  # --help
        return finished.code or 0
    except BaseException as error:
        return report(error, "--json" in argv, "--debug" in argv)


def _host(args) -> runtime.Host:
    base = args.base or Path.cwd()
    if not base.is_dir():
        raise UsageError(f"--base {base} is no folder")
    return runtime.Host(base=base.absolute(), output=args.out.absolute() if getattr(args, "out", None) else None)


if __name__ == "__main__":
    sys.exit(main())
