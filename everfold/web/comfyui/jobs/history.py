"""GET and POST /history, and /history_v2 of newer front ends: jobs of the caller that have ended.

Rule: bounded: at most ENTRIES_LIMIT entries of the newest jobs, whatever is asked for. A job that
was canceled before it ran has no entry, as a prompt that was deleted from ComfyUI's queue.
"""

from __future__ import annotations

from msgspec import Raw, Struct
from starlette.responses import Response

from everfold.projector.job.job import TERMINAL_STATUSES, Job
from everfold.projector.job.job_filter import JobFilter
from everfold.streams.events.json_text import decoder
from everfold.web.bodies import json_answer
from everfold.web.comfyui.jobs.found import find, own_user
from everfold.web.comfyui.jobs.hidden import (
    Hidden,
    has_entry,
    hidden_of,
    hide,
    hide_all,
    is_hidden,
    is_left,
)
from everfold.web.comfyui.jobs.queue import named_jobs
from everfold.web.comfyui.jobs.submit import body_of
from everfold.web.comfyui.query import whole_number
from everfold.web.operation import Call
from everfold.web.problem import Problem

USUAL_ENTRIES = 200
"""Entries of GET /history that asks for no number."""
ENTRIES_LIMIT = 2_000
PAGE_JOBS = 200
PAGES_LIMIT = 20
"""Pages that are looked at for one answer, where most jobs have no entry or are hidden."""


class EntryV2(Struct, frozen=True, kw_only=True):
    """One entry of GET /history_v2."""

    prompt_id: str
    create_time: int
    prompt: PromptV2
    outputs: Raw
    status: Raw
    meta: Raw


class PromptV2(Struct, frozen=True, kw_only=True):
    """The prompt of an entry, with names in place of places."""

    priority: Raw
    prompt_id: str
    workflow: Raw
    extra_data: Raw
    outputs_to_execute: Raw


class HistoryV2(Struct, frozen=True, kw_only=True):
    """The body of GET /history_v2, the newest entry first."""

    history: list[EntryV2]


class _Parts(Struct, frozen=True):
    """An entry of the history, taken apart."""

    prompt: tuple[Raw, Raw, Raw, Raw, Raw]
    outputs: Raw
    status: Raw
    meta: Raw


_read_parts = decoder(_Parts)


async def get_history(call: Call) -> Response:
    """Answer GET /history: the newest entries, the oldest of them first."""
    jobs = await _page(call)
    entries = await call.gateway.shown_prompts.entries(jobs, call.caller.user)
    return json_answer(entries)


async def get_history_of(call: Call) -> Response:
    """Answer GET /history/{prompt_id}: one entry, or an empty object."""
    job = await _ended(call)
    jobs = [job] if job is not None else []
    return json_answer(await call.gateway.shown_prompts.entries(jobs, call.caller.user))


async def get_history_v2(call: Call) -> Response:
    """Answer GET /history_v2."""
    jobs = list(reversed(await _page(call)))
    entries = await call.gateway.shown_prompts.entries(jobs, call.caller.user)
    made = zip(jobs, entries.items(), strict=True)
    history = [_version_2(job, prompt_id, entry) for job, (prompt_id, entry) in made]
    return json_answer(HistoryV2(history=history))


async def get_history_v2_of(call: Call) -> Response:
    """Answer GET /history_v2/{prompt_id}."""
    job = await _ended(call)
    if job is None:
        return json_answer({})
    entries = await call.gateway.shown_prompts.entries([job], call.caller.user)
    return json_answer({key: _version_2(job, key, entry) for key, entry in entries.items()})


def _version_2(job: Job, prompt_id: str, entry: Raw) -> EntryV2:
    parts = _read_parts(bytes(entry))
    number, _, graph, extra_data, outputs = parts.prompt
    return EntryV2(
        prompt_id=prompt_id,
        create_time=job.submitted_at_ms,
        prompt=PromptV2(
            priority=number,
            prompt_id=prompt_id,
            workflow=graph,
            extra_data=extra_data,
            outputs_to_execute=outputs,
        ),
        outputs=parts.outputs,
        status=parts.status,
        meta=parts.meta,
    )


async def post_history(call: Call) -> Response:
    """Answer POST /history: hide entries from the caller, all or those that are named."""
    body, log = await body_of(call), call.gateway.everfold.log
    user = own_user(call) or ""
    if body.get("clear"):
        await hide_all(log, user)
    # One that has not ended has no entry yet.
    named = [job.job_id for job in await named_jobs(call, body.get("delete")) if job.is_terminal]
    await hide(log, user, named)
    return Response()


async def _page(call: Call) -> list[Job]:
    """Return the jobs that are asked for, in the order in which they ended."""
    most = min(whole_number(call, "max_items", USUAL_ENTRIES), ENTRIES_LIMIT)
    offset = whole_number(call, "offset", -1, least=-1)
    if offset < 0:
        return await ended_jobs(call, most)
    return (await ended_jobs(call, ENTRIES_LIMIT))[offset:][:most]


async def ended_jobs(call: Call, most: int) -> list[Job]:
    """Return the newest jobs that have ended and have an entry, the oldest of them first."""
    if not most:
        return []
    everfold, found = call.gateway.everfold, list[Job]()
    hidden = await hidden_of(everfold.log, own_user(call) or "")
    selects = JobFilter(user=call.caller.scope, statuses=TERMINAL_STATUSES)
    cursor: str | None = None
    for _ in range(PAGES_LIMIT):
        page = await everfold.page(selects, cursor, max(most, PAGE_JOBS))
        found += [job for job in page.jobs if is_left(job, hidden)]
        cursor = page.cursor
        if cursor is None or len(found) >= most or _are_hidden(page.jobs, hidden):
            break
    return sorted(found[:most], key=lambda job: (job.ended_at_ms, job.job_id))


def _are_hidden(jobs: list[Job], hidden: Hidden) -> bool:
    """Say whether all that would follow is hidden."""
    return bool(jobs) and jobs[-1].ended_at_ms <= hidden.before_ms


async def _ended(call: Call) -> Job | None:
    prompt_id = call.request.path_params["prompt_id"]
    if not prompt_id:
        raise Problem(404, "not_found", "name a prompt")
    job = await find(call.gateway, call.caller, prompt_id)
    if job is None or not job.is_terminal or not has_entry(job):
        return None
    user = own_user(call) or ""
    return None if await is_hidden(call.gateway.everfold.log, user, job) else job
