"""GET and POST /queue, GET /prompt, POST /interrupt: what waits and runs, of the caller alone.

Rule: nobody sees, clears or interrupts what belongs to somebody else. "All" means the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable

import anyio
from msgspec import Struct
from starlette.responses import Response

from everfold.projector.job.job import OPEN_STATUSES, Job
from everfold.projector.job.job_filter import JobFilter
from everfold.streams.errors import JobUnknown
from everfold.streams.events.json_text import NotJson, decoder
from everfold.web.bodies import json_answer, read_body
from everfold.web.comfyui.jobs.found import find, own_user
from everfold.web.comfyui.jobs.open_jobs import RUNNING, open_jobs
from everfold.web.comfyui.jobs.shown_job import number_of
from everfold.web.comfyui.jobs.shown_prompts import Item
from everfold.web.comfyui.jobs.submit import body_of
from everfold.web.operation import Call
from everfold.web.problem import Problem

ITEMS_LIMIT = 1_000
"""Items of each list of GET /queue."""
GRAPHS_LIMIT = 100
"""Items of each list that come with their graphs: those that are next. The others have {}."""
IDS_LIMIT = 1_000
"""Prompt ids of one request."""
AT_ONCE = 10
"""Jobs that are canceled at the same time."""


_read_object = decoder(dict[str, object])


class Queue(Struct, frozen=True, kw_only=True):
    """The body of GET /queue."""

    queue_running: list[Item]
    queue_pending: list[Item]


class ExecInfo(Struct, frozen=True, kw_only=True):
    """How many prompts wait or run."""

    queue_remaining: int


class Remaining(Struct, frozen=True, kw_only=True):
    """The body of GET /prompt."""

    exec_info: ExecInfo


async def get_queue(call: Call) -> Response:
    """Answer GET /queue."""
    jobs = sorted(
        await open_jobs(call.gateway.everfold, call.caller.scope, ITEMS_LIMIT), key=number_of
    )
    running = [job for job in jobs if job.status in RUNNING][:ITEMS_LIMIT]
    pending = [job for job in jobs if job.status == "queued"][:ITEMS_LIMIT]
    with_graphs = {job.job_id for job in (*running[:GRAPHS_LIMIT], *pending[:GRAPHS_LIMIT])}
    shown = call.gateway.shown_prompts
    items = await shown.items([*running, *pending], call.caller.user, with_graphs)
    body = Queue(queue_running=items[: len(running)], queue_pending=items[len(running) :])
    return json_answer(body)


async def get_prompt(call: Call) -> Response:
    """Answer GET /prompt."""
    count = await open_count(call)
    return json_answer(Remaining(exec_info=ExecInfo(queue_remaining=count)))


async def open_count(call: Call) -> int:
    """Return how many jobs of the caller wait or run. Exact up to ITEMS_LIMIT, which is the most
    that it says."""
    selects = JobFilter(user=call.caller.scope, statuses=OPEN_STATUSES)
    return len((await call.gateway.everfold.page(selects, None, ITEMS_LIMIT)).jobs)


async def post_queue(call: Call) -> Response:
    """Answer POST /queue: cancel all that wait, or those that are named and wait."""
    body = await body_of(call)
    if body.get("clear"):
        selects = JobFilter(user=own_user(call), statuses=("queued",))
        client = call.gateway.acting_as(call.caller)
        await client.cancel_many(selects, "the queue was cleared")
    for job in await named_jobs(call, body.get("delete")):
        if job.status == "queued":
            await call.gateway.acting_as(call.caller).cancel(job.job_id, "deleted from the queue")
    return Response()


async def post_interrupt(call: Call) -> Response:
    """Answer POST /interrupt: stop the running job that is named, or all running ones."""
    prompt_id = await _named_prompt(call)
    if prompt_id:
        job = await find(call.gateway, call.caller, prompt_id)
        jobs = [job] if job is not None and job.status == "running" else []
    else:
        selects = JobFilter(user=own_user(call), statuses=("running",))
        jobs = (await call.gateway.everfold.page(selects, None, ITEMS_LIMIT)).jobs
    await cancel_all(call, jobs, "interrupted")
    return Response()


async def _named_prompt(call: Call) -> str:
    """Return the prompt id that an interrupt names, empty for none. ComfyUI takes no body, too."""
    text = await read_body(call, call.gateway.settings.body_limit_bytes)
    try:
        prompt_id = _read_object(text).get("prompt_id") if text.strip() else None
    except NotJson as error:
        raise Problem(400, "invalid_json", f"The body is no JSON object: {error}") from error
    if prompt_id is not None and not isinstance(prompt_id, str):
        raise Problem(400, "invalid_request", "The prompt_id is no text")
    return prompt_id or ""


async def named_jobs(call: Call, named: object) -> list[Job]:
    """Return those jobs of a list of prompt ids that the caller may see.

    Raises Problem 400 for what is no list of at most IDS_LIMIT texts.
    """
    if named is None:
        return []
    if not isinstance(named, list) or len(named) > IDS_LIMIT:
        raise Problem(400, "invalid_request", f"send a list of at most {IDS_LIMIT:,} prompt ids")
    found = dict[str, Job]()
    for prompt_id in named:
        if job := await find(call.gateway, call.caller, str(prompt_id)[:100]):
            found[job.job_id] = job
    return list(found.values())


async def cancel_all(call: Call, jobs: Iterable[Job], reason: str) -> int:
    """Request jobs to be stopped, a few at a time; return how many were still open."""
    waiting, done = iter(jobs), 0

    async def work() -> None:
        nonlocal done
        for job in waiting:
            try:
                after = await call.gateway.acting_as(call.caller).cancel(job.job_id, reason)
            except JobUnknown:
                continue
            done += after.status in ("canceling", "canceled") and not job.is_terminal

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(work)
    return done
