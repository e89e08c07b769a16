"""`spacetime run FILE --server URL`: a running ComfyUI or `spacetime edit` computes the graph.

Its queue and its history, asked again and again, say whether the job is over; the websocket only says how far it is.
"""

import asyncio
import copy
import os
import threading
import time
import uuid
from dataclasses import dataclass, field

from ..nodes import runtime
from . import transfer
from . import workflow as workflows
from .client import Address, Away, Client
from .console import Console
from .definitions import classes_of
from .errors import HostError, MissingFile, ServerFailed, UsageError
from .listen import Listener
from .validation import valid_outputs
from .verdict import Judge

POLL, ASK_QUEUE = 1.0, 5.0  # seconds between two looks at the history, and at the queue, which may be long
PATIENCE = 120.0  # seconds that a server may be away while it has our job


@dataclass
class Errand:
    """What is wanted."""

    file: str
    settings: list[workflows.Setting]
    dry_run: bool = False


@dataclass
class Done:
    """What ran, on nodes of these classes, and the `ui` of its outputs, whose files lie here now."""

    prompt: dict[str, dict]
    classes: dict[str, type]
    ui: dict[str, dict] = field(default_factory=dict)


def run(address: Address, errand: Errand, console: Console, stop: threading.Event) -> Done:
    """Blocks until everything is fetched. `stop` takes the job from the server and raises Interrupted."""
    return asyncio.run(_run(address, errand, console, stop))


async def _run(address: Address, errand: Errand, console: Console, stop: threading.Event) -> Done:
    async with Client(address) as client:
        job = Job(client, console)
        work = asyncio.create_task(_work(client, job, errand))
        while not work.done():
            await asyncio.wait([work], timeout=0.1)
            if stop.is_set() and not work.done():
                work.cancel()
                await asyncio.wait([work])
                await job.cancel()
                raise runtime.Interrupted("cancelled")
        try:
            return work.result()
        except Away as error:
            raise UsageError(f"no answer from {client.url}: {error}") from error


async def _work(client: Client, job: "Job", errand: Errand) -> Done:
    classes = classes_of(await client.definitions())
    graph = workflows.apply_settings(workflows.read(errand.file, classes), errand.settings, classes)
    files = await transfer.missing_there(client, graph.prompt, classes)
    _check(graph.prompt, classes)
    done = Done(graph.prompt, classes)
    if errand.dry_run:
        return done
    await transfer.send(client, files, graph.prompt)
    judge = Judge(graph.prompt, classes)
    async with Listener(client, job.console, graph.prompt, classes) as listener:
        await job.post(graph, listener, judge)
        entry = await job.over(listener.news)
    listener.tell_texts(entry.get("outputs"))
    done.ui = await transfer.fetch(client, judge.outputs(entry, listener.blocked))
    return done


def _check(prompt: dict[str, dict], classes: dict[str, type]):
    """Refuse here, in the words of a local run, what the server would refuse."""
    try:
        valid_outputs(copy.deepcopy(prompt), classes)  # which takes lists out of their wrapping
    except MissingFile as error:
        place = error.hint.replace(f"{runtime.host().base}{os.sep}", "")
        source = ", or in input here, from where it is sent" if place.endswith("input") else ""
        raise MissingFile(error.message, place and f"{place} on the server{source}", error.node) from error


class Job:
    """One prompt in the server's queue."""

    def __init__(self, client: Client, console: Console):
        self.client, self.console = client, console
        self.id = str(uuid.uuid4())
        self.posting: asyncio.Task | None = None
        self.told = False  # that it waits

    async def post(self, graph: workflows.Workflow, listener: Listener, judge: Judge):
        """Into the queue. Raises what the server has against it."""
        listener.job_id = self.id
        content = {"prompt": graph.prompt, "client_id": listener.id, "prompt_id": self.id}
        content["extra_data"] = graph.extra_data
        self.posting = asyncio.ensure_future(self.client.json("POST", "/prompt", content))
        try:
            status, answer = await asyncio.shield(self.posting)
        except Away:  # the answer is lost; the job needn't be
            if await self._place() is None and await self._history() is None:
                raise
            return
        if status != 200 or not isinstance(answer.get("prompt_id"), str):
            raise judge.refusal(answer, status)
        self.id = listener.job_id = answer["prompt_id"]  # old servers choose it themselves
        if answer.get("node_errors"):
            await self.cancel()  # half the results would pass for all
            raise judge.refusal(answer, status)

    async def over(self, news: asyncio.Event) -> dict:
        """Wait for the end: what the history holds then. `news`: something may have changed, look now."""
        answered = asked = time.monotonic()
        told = False
        while True:
            heard = news.is_set()
            news.clear()
            try:
                entry = await self._history()
                if entry is None and (heard or time.monotonic() - asked > ASK_QUEUE):
                    asked = time.monotonic()
                    entry = await self._still_there()
                answered = time.monotonic()
                if entry is not None:
                    return entry
            except Away as error:
                if time.monotonic() - answered > PATIENCE:
                    what = f"{self.client.url} hasn't answered for {PATIENCE:g} s: {error}"
                    raise ServerFailed(what, f"its job {self.id} may still run") from error
                if not told:
                    self.console.notice(f"no answer from {self.client.url} ({error}); trying again")
                    told = True
            try:
                await asyncio.wait_for(news.wait(), POLL)
            except asyncio.TimeoutError:
                pass

    async def cancel(self):
        """Take the job from the queue, or interrupt it and no other, until it is gone."""
        if self.posting is None:
            return
        done, _ = await asyncio.wait([self.posting], timeout=10)  # it may be on its way
        for post in done:
            if post.exception() is None:
                self.id = post.result()[1].get("prompt_id", self.id)
        try:
            while (before := await self._place()) is not None:
                if before == 0:
                    await self.client.json("POST", "/interrupt", {"prompt_id": self.id})
                else:
                    await self.client.json("POST", "/queue", {"delete": [self.id]})
                await asyncio.sleep(0.2)
        except (Away, HostError) as error:
            self.console.notice(f"no good answer from {self.client.url} ({error}); its job {self.id} may still run")

    async def _history(self) -> dict | None:
        entry = (await self._get(f"/history/{self.id}")).get(self.id)
        return entry if isinstance(entry, dict) else None

    async def _still_there(self) -> dict | None:
        """Look into the queue. A job that is neither there nor, a moment later, in the history is lost."""
        before = await self._place()
        if before is not None:
            if before and not self.told:
                are = "jobs are" if before > 1 else "job is"
                self.console.notice(f"{before} {are} before this one in the server's queue")
                self.told = True
            return None
        entry = await self._history()
        if entry is None:
            what = "the server doesn't know the job any more: it was started anew, or somebody deleted the job"
            raise ServerFailed(what, "run it again")
        return entry

    async def _place(self) -> int | None:
        """How many jobs are before this one, 0 where it runs. None where it neither waits nor runs."""
        queue = await self._get("/queue")
        running, pending = (_entries(queue.get(name)) for name in ("queue_running", "queue_pending"))
        if any(one[1] == self.id for one in running):
            return 0
        number = next((one[0] for one in pending if one[1] == self.id), None)
        if number is None:
            return None
        return max(1, len(running) + sum(one[0] < number for one in pending))

    async def _get(self, path: str) -> dict:
        status, content = await self.client.json("GET", path)
        if status != 200:
            raise Away(f"status {status}")
        return content


def _entries(listed) -> list[list]:
    """[number, id, …] of each job in a queue."""
    found = listed if isinstance(listed, list) else []
    return [one for one in found if isinstance(one, list) and len(one) > 1 and isinstance(one[0], (int, float))]
