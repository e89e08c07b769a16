"""`spacetime edit`: the graph editor in the browser, over the embedded server."""

import asyncio
import errno
import os
import signal
import webbrowser
from contextlib import suppress
from urllib.parse import quote, urlencode

from ..media import names
from ..nodes import runtime
from . import workflow
from .console import write_out
from .errors import UsageError
from .guard import TOKEN, is_loopback
from .packs import load_pack, own_packs
from .server import Server, serve

PORT, MORE_PORTS = 8188, 10  # ComfyUI's own; without --port the next free one is taken


def edit(args, host) -> int:
    token = args.token or os.environ.get(TOKEN)
    if not is_loopback(args.listen) and not token:
        why = f"--listen {args.listen} lets other machines in"
        raise UsageError(f"{why}; it wants a secret as well: --token TEXT, or {TOKEN} in the environment")
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token and len(token) >= 8):
        raise UsageError("the token should be at least 8 letters and digits without a blank")
    packs = [*own_packs(), *(load_pack(folder) for folder in args.node_pack)]
    server = Server(host, packs, token=token, opened=args.file)
    if args.file is not None:
        workflow.read(args.file, server.classes)  # what can't be opened is refused here, in one line
    runtime.clear_previews(host.base / "temp")
    ports = [args.port] if args.port is not None else list(range(PORT, PORT + MORE_PORTS))
    try:
        asyncio.run(_serve(server, args, ports))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        what = {errno.EADDRINUSE: "is in use", errno.EACCES: "is not allowed"}.get(error.errno, "is no address here")
        ask = "name another with --port" if error.errno != errno.EADDRNOTAVAIL else "name another with --listen"
        raise UsageError(f"{args.listen}:{ports[0]} {what}", ask) from error
    return 0


async def _serve(server: Server, args, ports: list[int]):
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
            asyncio.get_running_loop().add_signal_handler(number, _on_signal, stop)

    def on_ready(port: int):
        address = url(args.listen, port, server.token, args.file.name if args.file else None)
        write_out(f"the editor is at {address}   (Ctrl-C ends it)")
        if not args.no_browser:
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, address)

    await serve(server, args.listen, ports, on_ready, stop)


def _on_signal(stop: asyncio.Event):
    if stop.is_set():  # a second Ctrl-C: the job doesn't end by itself
        names.abandon()
        os._exit(130)
    stop.set()


def url(address: str, port: int, token: str | None, file: str | None) -> str:
    """What to open. An address that stands for all is reached as this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address, f"[{address}]" if ":" in address else address)
    query = {key: value for key, value in (("token", token), ("file", file)) if value}
    return f"http://{name}:{port}/" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
