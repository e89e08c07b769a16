"""`spacetime plan`: what a graph will take before it runs, or how many tokens a video of some length has."""

import argparse
import math
import time

from ..nodes import runtime
from ..spacetime.grid import frames_of
from ..spacetime.plan import amount
from . import run
from . import workflow as workflows
from .console import Console, as_json, write_out
from .errors import NodeFailed, UsageError, explain
from .executor import Executor, NodeError
from .graph import named
from .validation import valid_outputs

# name → pixels per side and frames that one token holds; the first latent frame holds one frame alone
TOKENS = {
    "Wan 2.1, HunyuanVideo, CogVideoX, pocket": (16, 4),
    "Wan 2.2 TI2V-5B": (32, 4),
    "LTX-Video": (32, 8),
}
WIDTH = 3072  # of a layer of CogVideoX-5B, HunyuanVideo and Wan 2.2 TI2V-5B


def add_to(commands):
    """The command's arguments."""
    plan = commands.add_parser(
        "plan",
        help="say what a workflow will take: tokens, arithmetic, memory, time, disk",
        description="Say what a workflow will take, from headers alone: tokens, arithmetic, peak memory of every "
        "stage, windows, disk, time where the model has run here before, and what to change if it doesn't fit. "
        "Without FILE: the tokens of a video of --size and --seconds.",
        epilog="Example: spacetime plan --size 1920x1080 --seconds 60 --fps 30 --tokens-per-frame 256",
    )
    plan.add_argument("file", metavar="FILE", nargs="?", help="the workflow, or an mp4, webm or png that carries one")
    run.add_settings(plan)
    plan.add_argument("--memory", metavar="GB", type=_positive, help="the memory to fit in (default: what is here)")
    plan.add_argument("--size", metavar="WxH", type=_size, help="without FILE: the picture, such as 1920x1080")
    plan.add_argument("--seconds", metavar="S", type=_positive, help="without FILE: the length")
    plan.add_argument("--fps", metavar="N", type=_positive, help="without FILE: frames a second (default: 24)")
    plan.add_argument("--tokens-per-frame", metavar="N", type=_positive, help="without FILE: as a model counts them")
    return plan


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} can't be; a number above 0 would be right")
    return value


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().replace("×", "x").partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) < 10**6 and 0 < int(height) < 10**6):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no size; 1920x1080 would be right")
    return int(width), int(height)


def command(args, classes: dict[str, type], host: runtime.Host) -> int:
    alone = {"--size": args.size, "--seconds": args.seconds, "--fps": args.fps,
             "--tokens-per-frame": args.tokens_per_frame}  # fmt: skip
    given = [name for name, value in alone.items() if value is not None]
    if args.file is None:
        return tell(args, *counted(args)) if given else _nothing()
    if given:
        raise UsageError(f"{given[0]} is for a plan without a FILE", "--set changes the size in a workflow")
    started = time.perf_counter()
    console = Console()
    host.on_notice = console.notice
    runtime.HOST.set(host)
    graph = workflows.apply_settings(workflows.read(args.file, classes), run.settings(args), classes)
    try:
        reports = Executor(classes, host).plan(graph.prompt, valid_outputs(graph.prompt, classes))
    except NodeError as error:
        node = graph.prompt[error.node_id]
        where = named(error.node_id, node, classes.get(node["class_type"]))
        raise explain(error.cause, where, error.node_id) from error.cause
    plans = {node_id: report["plan"] for node_id, report in reports.items() if report.get("plan")}
    if args.memory:
        plans = {node_id: plan.within(int(args.memory * 1e9), "as you say") for node_id, plan in plans.items()}
    names = {node_id: named(node_id, graph.prompt[node_id], classes[graph.prompt[node_id]["class_type"]])
             for node_id in plans}  # fmt: skip
    lines = [line for node_id, plan in plans.items() for line in (names[node_id], *indented(plan.lines()))]
    if not plans:
        lines = [f"{args.file}: nothing is sampled here that a plan could tell of before it runs"]
    facts = [{"node": node_id, "title": names[node_id], **plan.facts()} for node_id, plan in plans.items()]
    return tell(args, lines, {"plans": facts, "seconds": round(time.perf_counter() - started, 3)})


def _nothing():
    raise UsageError("there is nothing to plan", "name a workflow, or say --size and --seconds")


def indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def tell(args, lines: list[str], facts: dict) -> int:
    text = as_json({"ok": True, **facts}) if args.json else "\n".join(lines)
    return 0 if write_out(text) else NodeFailed.exit_code


def counted(args) -> tuple[list[str], dict]:
    """The arithmetic of a video: its tokens as (lines, facts)."""
    if args.seconds is None or (args.size is None and args.tokens_per_frame is None):
        raise UsageError("a plan without a FILE needs --seconds, and --size or --tokens-per-frame")
    fps = args.fps or 24.0
    frames = max(1, round(args.seconds * fps))
    ways = {}
    if args.tokens_per_frame:
        ways[f"{args.tokens_per_frame:g} tokens a frame"] = round(frames * args.tokens_per_frame)
    if args.size:
        for name, (side, factor) in TOKENS.items():
            rows, columns = (math.ceil(n / side) for n in args.size)
            latent_frames = next(n for n in range(frames // factor, frames + 2) if frames_of(n, factor) >= frames)
            ways[name] = rows * columns * latent_frames
    picture = f"{args.size[0]}×{args.size[1]}, " if args.size else ""
    lines = [f"{picture}{args.seconds:g} s at {fps:g} frames a second: {frames:,} frames"]
    wide, most = max(map(len, ways)), max(len(f"{tokens:,}") for tokens in ways.values())
    for name, tokens in ways.items():
        attention = f"{amount(4 * tokens * tokens * WIDTH)} of attention in a layer {WIDTH:,} wide"
        lines.append(f"  {name:<{wide}}  {tokens:>{most},} tokens, seen whole {attention}")
    facts = {"frames": frames, "fps": fps, "tokens": [{"way": name, "tokens": n} for name, n in ways.items()]}
    return lines, facts
