"""The queue: jobs that wait, the one that runs, and those that are over. No web and no nodes in here.

One lock guards it: requests come from the event loop, the worker takes jobs on a thread of its own.
"""

import threading
import time
import uuid
from bisect import insort
from dataclasses import dataclass, field

OVER = ("completed", "failed", "cancelled")
STATUSES = ("pending", "in_progress", *OVER)
MOST_PENDING, MOST_OVER = 5000, 1000  # jobs; a program gone wild fills neither memory nor panel
MEDIA = {
    "video": (".mp4", ".webm", ".mov", ".mkv", ".avi"),
    "images": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif"),
    "audio": (".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a"),
}


class QueueFull(Exception):
    pass


class Taken(Exception):
    """A job of this id exists already."""


@dataclass(order=True)
class Job:
    """One prompt on its way. Times are milliseconds since 1970."""

    number: float  # its place: smaller runs earlier
    order: int  # among equal numbers the first come
    id: str = field(compare=False)
    prompt: dict = field(compare=False)
    outputs: list[str] = field(compare=False)  # ids of the output nodes to run
    extra_data: dict = field(compare=False, default_factory=dict)
    client_id: str | None = field(compare=False, default=None)
    status: str = field(compare=False, default="pending")
    created: int = field(compare=False, default_factory=lambda: now())
    started: int | None = field(compare=False, default=None)
    ended: int | None = field(compare=False, default=None)
    shown: dict[str, dict] = field(compare=False, default_factory=dict)  # `ui` by node id
    error: dict | None = field(compare=False, default=None)  # what the event execution_error said
    messages: list = field(compare=False, default_factory=list)  # [event, data] of the steps
    stop: threading.Event = field(compare=False, default_factory=threading.Event)


def now() -> int:
    return int(time.time() * 1000)


class Jobs:
    def __init__(self, on_change=lambda: None):
        self.on_change = on_change  # called after the queue has changed, on whatever thread changed it
        self.changed = threading.Condition()
        self.pending: list[Job] = []
        self.running: Job | None = None
        self.over: dict[str, Job] = {}  # oldest first
        self.count = 0
        self.closed = False

    def add(self, prompt, outputs, extra_data, client_id=None, job_id=None, number=None, front=False) -> Job:
        with self.changed:
            if len(self.pending) >= MOST_PENDING:
                raise QueueFull(f"{MOST_PENDING} jobs are waiting; let some of them finish first")
            if job_id is not None and self._find(job_id) is not None:
                raise Taken(f"there is a job {job_id[:60]!r} already")
            self.count += 1
            if number is None:
                number = float(-self.count if front else self.count)
            job = Job(number, self.count, job_id or str(uuid.uuid4()), prompt, outputs, extra_data, client_id)
            insort(self.pending, job)
            self.changed.notify_all()
        self.on_change()
        return job

    def next(self, timeout: float | None = None) -> Job | None:
        """Take the first job; waits for one. None after `close`, or when the time is up."""
        with self.changed:
            self.changed.wait_for(lambda: self.pending or self.closed, timeout)
            if self.closed or not self.pending:
                return None
            job = self.running = self.pending.pop(0)
            job.status, job.started = "in_progress", now()
        self.on_change()
        return job

    def finish(self, job: Job, status: str):
        with self.changed:
            self.running = None
            self._lay_aside(job, status)
        self.on_change()

    def cancel(self, job_ids: list[str] | None = None) -> list[str]:
        """Cancel these jobs, waiting or running; None means all that wait. Returns the ids that it reached."""
        with self.changed:
            reached = [one for one in self.pending if job_ids is None or one.id in job_ids]
            if reached:
                self.pending = [one for one in self.pending if job_ids is not None and one.id not in job_ids]
            for job in reached:
                self._lay_aside(job, "cancelled")
        ids = [job.id for job in reached]
        if job_ids is not None:
            ids += [one for one in job_ids if one not in ids and self.interrupt(one)]
        if reached:
            self.on_change()
        return ids

    def interrupt(self, job_id: str | None = None) -> bool:
        """Ask the running job to stop, if it is this one. Never touches the one after it."""
        with self.changed:
            if self.running is None or job_id not in (None, self.running.id):
                return False
            self.running.stop.set()
            return True

    def forget(self, job_ids: list[str] | None = None):
        """Drop jobs that are over; None means all of them."""
        with self.changed:
            self.over = {} if job_ids is None else {k: job for k, job in self.over.items() if k not in job_ids}

    def close(self):
        with self.changed:
            self.closed = True
            if self.running is not None:
                self.running.stop.set()
            self.changed.notify_all()

    def find(self, job_id: str) -> Job | None:
        with self.changed:
            return self._find(job_id)

    def listed(self, statuses: tuple[str, ...] = STATUSES) -> list[Job]:
        """The running one, those waiting in their order, then those over, newest first.

        One that was cancelled before it began is nobody's history: only `find` still knows it.
        """
        with self.changed:
            running = [self.running] if self.running is not None else []
            over = [job for job in reversed(self.over.values()) if job.started is not None]
            everything = [*running, *self.pending, *over]
            return [job for job in everything if job.status in statuses]

    def remaining(self) -> int:
        with self.changed:
            return len(self.pending) + (self.running is not None)

    def _find(self, job_id: str) -> Job | None:
        if self.running is not None and self.running.id == job_id:
            return self.running
        return self.over.get(job_id) or next((one for one in self.pending if one.id == job_id), None)

    def _lay_aside(self, job: Job, status: str):
        job.status, job.ended = status, now()
        self.over[job.id] = job
        while len(self.over) > MOST_OVER:
            del self.over[next(iter(self.over))]


# how jobs look from outside


def as_job(job: Job, whole: bool = False) -> dict:
    """The editor's panels: /api/jobs, and with `whole` /api/jobs/{id}."""
    facts = {"id": job.id, "status": job.status, "create_time": job.created, "priority": job.number}
    files = shown_files(job)
    facts |= {"execution_start_time": job.started, "execution_end_time": job.ended, "execution_error": job.error}
    facts |= {"outputs_count": len(files), "preview_output": files[-1] if files else None}
    drawn = (job.extra_data.get("extra_pnginfo") or {}).get("workflow")
    facts["workflow_id"] = drawn.get("id") if isinstance(drawn, dict) and isinstance(drawn.get("id"), str) else None
    if whole:
        facts |= {"outputs": dict(job.shown), "execution_status": _status(job), "update_time": job.ended or job.created}
        facts["workflow"] = {"prompt": job.prompt, "extra_data": job.extra_data}
    return {key: value for key, value in facts.items() if value is not None}


def as_history(job: Job) -> dict:
    """/api/history, as ComfyUI's scripts read it."""
    meta = {
        one: {"node_id": one, "display_node": one, "parent_node": None, "real_node_id": one} for one in list(job.shown)
    }
    return {"prompt": as_queued(job), "outputs": dict(job.shown), "status": _status(job), "meta": meta}


def as_queued(job: Job) -> list:
    """/api/queue."""
    return [job.number, job.id, job.prompt, job.extra_data, job.outputs]


def shown_files(job: Job) -> list[dict]:
    """Every file that the job shows, those of the output folder last: the editor's thumbnail is the last."""
    found = []
    for node_id, ui in list(job.shown.items()):
        for entries in ui.values():
            for entry in entries if isinstance(entries, (list, tuple)) else []:
                if isinstance(entry, dict) and isinstance(entry.get("filename"), str):
                    name = entry["filename"].lower()
                    kind = next((kind for kind, suffixes in MEDIA.items() if name.endswith(suffixes)), "file")
                    found.append({**entry, "nodeId": node_id, "mediaType": kind})
    return sorted(found, key=lambda one: one.get("type") == "output")


def _status(job: Job) -> dict:
    word = {"completed": "success", "pending": "pending", "in_progress": "running"}.get(job.status, "error")
    return {"status_str": word, "completed": job.status == "completed", "messages": job.messages}
