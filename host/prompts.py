"""Routes about running: post a prompt, watch the queue and the history, cancel, interrupt, free."""

import asyncio
import math
from typing import TYPE_CHECKING

from aiohttp import web

from . import workflow
from .errors import InvalidWorkflow, shorten
from .events import LONGEST_ID
from .guard import Refused, read_object, respond, texts, whole_number
from .jobs import OVER, STATUSES, QueueFull, Taken, as_history, as_job, as_queued
from .validation import validate

if TYPE_CHECKING:
    from .server import Server

SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")  # the editor sends them for services that aren't here
MOST_LISTED = 1000


def routes(server: "Server") -> list[web.RouteDef]:
    jobs = server.jobs

    async def queue_length(request):
        return respond({"exec_info": {"queue_remaining": jobs.remaining()}})

    async def post_prompt(request):
        content = await read_object(request)
        if "prompt" not in content:
            raise Refused(400, "No prompt provided", "no_prompt", "the request holds no prompt")
        wanted = texts(content, "partial_execution_targets") or None
        client_id, job_id = identity(content, "client_id"), identity(content, "prompt_id")
        number, extra_data = place(content), extras(content)
        try:
            prompt = workflow.checked_prompt(content["prompt"], "the prompt")
        except InvalidWorkflow as error:
            kind = "prompt_no_outputs" if content["prompt"] == {} else "invalid_prompt"
            raise Refused(400, error.message, kind, error.message) from error
        checked = await asyncio.to_thread(validate, prompt, server.classes, wanted)
        if checked.error is not None:
            return respond({"error": checked.error, "node_errors": checked.node_errors}, 400)
        front = bool(content.get("front"))
        try:
            job = jobs.add(prompt, checked.outputs, extra_data, client_id, job_id, number, front)
        except QueueFull as error:
            raise Refused(429, str(error), "queue_full") from error
        except Taken as error:
            raise Refused(409, str(error), "prompt_id_taken") from error
        return respond({"prompt_id": job.id, "number": job.number, "node_errors": checked.node_errors})

    async def get_queue(request):
        running, pending = jobs.listed(("in_progress",)), jobs.listed(("pending",))
        return respond({"queue_running": list(map(as_queued, running)), "queue_pending": list(map(as_queued, pending))})

    async def post_queue(request):
        content = await read_object(request)
        if content.get("clear"):
            jobs.cancel()
        pending = {job.id for job in jobs.listed(("pending",))}
        jobs.cancel([one for one in texts(content, "delete") if one in pending])
        return respond({})

    async def get_history(request):
        over = list(reversed(jobs.listed(OVER)))  # oldest first
        most, offset = whole_number(request, "max_items", None), whole_number(request, "offset", -1, -1)
        if offset < 0:
            over = over[-most:] if most else over if most is None else []
        else:
            over = over[offset : None if most is None else offset + most]
        return respond({job.id: as_history(job) for job in over})

    async def get_one_of_history(request):
        job = jobs.find(request.match_info["id"])
        return respond({job.id: as_history(job)} if job is not None and job.status in OVER else {})

    async def post_history(request):
        content = await read_object(request)
        if content.get("clear"):
            jobs.forget()
        jobs.forget(texts(content, "delete"))
        return respond({})

    async def get_jobs(request):
        statuses = tuple(one for one in request.query.get("status", "").split(",") if one) or STATUSES
        unknown = [one for one in statuses if one not in STATUSES]
        if unknown:
            raise Refused(400, f"no job is {shorten(unknown[0])!r}; they are {', '.join(STATUSES)}")
        offset, limit = whole_number(request, "offset", 0), whole_number(request, "limit", 200)
        found = jobs.listed(statuses)
        part = found[offset : offset + min(limit, MOST_LISTED)]
        page = {"offset": offset, "limit": limit, "total": len(found), "has_more": offset + len(part) < len(found)}
        return respond({"jobs": list(map(as_job, part)), "pagination": page})

    async def get_job(request):
        job = jobs.find(request.match_info["id"])
        if job is None:
            raise Refused(404, f"there is no job {shorten(request.match_info['id'])}", "not_found")
        return respond(as_job(job, whole=True))

    async def cancel_job(request):
        job_id = request.match_info["id"]
        if jobs.find(job_id) is None:
            raise Refused(404, f"there is no job {shorten(job_id)}", "not_found")
        return respond({"cancelled": bool(jobs.cancel([job_id]))})

    async def cancel_jobs(request):
        return respond({"cancelled": jobs.cancel(texts(await read_object(request), "job_ids"))})

    async def interrupt(request):
        jobs.interrupt(identity(await read_object(request, {}), "prompt_id"))
        return respond({})

    async def free(request):
        content = await read_object(request, {})
        if content.get("unload_models") or content.get("free_memory"):
            server.worker.freeing.add("memory")
        return respond({})

    return [
        web.get("/prompt", queue_length),
        web.post("/prompt", post_prompt),
        web.get("/queue", get_queue),
        web.post("/queue", post_queue),
        web.get("/history", get_history),
        web.get("/history/{id}", get_one_of_history),
        web.post("/history", post_history),
        web.get("/jobs", get_jobs),
        web.post("/jobs/cancel", cancel_jobs),
        web.get("/jobs/{id}", get_job),
        web.post("/jobs/{id}/cancel", cancel_job),
        web.post("/interrupt", interrupt),
        web.post("/free", free),
    ]


def identity(content: dict, name: str) -> str | None:
    """An id from outside: a text of sensible length. (A dict in its place killed ComfyUI 0.3.64.)"""
    value = content.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > LONGEST_ID or not value.isprintable():
        raise Refused(400, f"{name} is {shorten(value)}; a text of at most {LONGEST_ID} letters would be right")
    return value


def place(content: dict) -> float | None:
    number = content.get("number")
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not -math.inf < number < math.inf:
        raise Refused(400, f"number is {shorten(number)}; a number would be right")
    return float(max(min(number, 1e15), -1e15))


def extras(content: dict) -> dict:
    """extra_data, whose extra_pnginfo goes into the files that are saved."""
    extra = content.get("extra_data") or {}
    if not isinstance(extra, dict):
        raise Refused(400, f"extra_data is {type(extra).__name__}; an object would be right")
    info = extra.get("extra_pnginfo")
    if info is not None and not isinstance(info, dict):
        raise Refused(400, f"extra_pnginfo is {type(info).__name__}; an object would be right")
    return {name: value for name, value in extra.items() if name not in SECRETS}
