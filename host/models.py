"""`spacetime models`: what lies in the model folders, what it can be wired to, and what doesn't load and why."""

import time
from pathlib import Path

from ..nodes import runtime
from .console import Console, as_json, write_out
from .errors import NodeFailed, one_line

KINDS = (
    *("diffusion_models", "vae", "text_encoders", "checkpoints", "loras", "clip_vision", "latent_upscale_models"),
    "upscale_models",
)


def add_to(commands):
    """The command's arguments."""
    models = commands.add_parser(
        "models",
        help="list the models that are here",
        description="List the models in the model folders: family and variant, parameters, number format and size, "
        "what each can be wired to, and why one can't be loaded. Reads headers only.",
    )
    models.add_argument("name", metavar="NAME", nargs="?", help="only models with this in their name or family")
    return models


def command(args, classes: dict[str, type], host: runtime.Host) -> int:
    from ..model_loaders.inventory import inventory

    started = time.perf_counter()
    host.on_notice = Console().notice
    runtime.HOST.set(host)
    wanted = (args.name or "").casefold()
    entries = inventory({kind: runtime.model_folders(kind) for kind in KINDS})
    shown = [one for one in entries if wanted in f"{one.name} {one.what}".casefold()]
    if args.json:
        facts = {
            "ok": True,
            "models": [one.facts() for one in shown],
            "seconds": round(time.perf_counter() - started, 3),
        }
        return 0 if write_out(as_json(facts)) else NodeFailed.exit_code
    lines = [line for kind in KINDS for line in _section(kind, [one for one in shown if one.kind == kind])]
    folder = runtime.model_folders(KINDS[0])[0].parent
    text = "\n".join(lines) or f"no model is called {args.name!r}; models belong into the folders of {folder}"
    return 0 if write_out(text) else NodeFailed.exit_code


def _section(kind: str, entries: list) -> list[str]:
    lines = [f"{kind} ({runtime.model_folders(kind)[0]})"] if entries else []
    for one in entries:
        if not one.identity:
            lines.append(f"  {one_line(_unread(one))}")
            continue
        size = f"{_count(one.identity.parameters)} parameters, {one.identity.dtype}, {_size(one.identity.bytes)}"
        lines.append(f"  {one.name}: {one_line(one.what)}, {size}")
        if one.problem:
            lines.append(f"    doesn't load: {one_line(one.problem)}")
        elif one.takers:
            lines.append(f"    used beside {', '.join(one.used_beside)}")
        elif one.wires:
            lines.append(f"    wires to {', '.join(one.wires)}")
        if one.used_with:
            lines.append(f"    used with {', '.join(one.used_with)}")
        if one.needs and not one.problem:
            lines.append(f"    needs {' and '.join(one.needs)}")
    return lines


def _unread(entry) -> str:
    """Its problem, which mostly begins with the file's name: then with the name by which it is listed."""
    file = Path(entry.path).name
    about = entry.problem.removeprefix(file)
    return f"{entry.name}: {entry.problem}" if about == entry.problem else entry.name + about


def _count(n: int) -> str:
    return f"{n / 1e9:.1f} B" if n >= 1e9 else f"{n / 1e6:.1f} M"


def _size(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"
