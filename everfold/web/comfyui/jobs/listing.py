"""GET /api/jobs and its kin, which newer front ends use in place of the queue and the history.

Rule: a page is made of the jobs with the newest events, at most JOBS_LIMIT of them, and sorted as
asked for within these; the total is exact up to that number. Of jobs that have ended these are the
ones of the history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace
from starlette.responses import Response

from everfold.projector.job.job import Job
from everfold.projector.job.job_filter import JobFilter
from everfold.web.bodies import json_answer
from everfold.web.comfyui.jobs.found import find, known_as, own_user
from everfold.web.comfyui.jobs.hidden import hidden_of, is_left
from everfold.web.comfyui.jobs.job_previews import previews_of
from everfold.web.comfyui.jobs.open_jobs import RUNNING
from everfold.web.comfyui.jobs.queue import cancel_all, named_jobs
from everfold.web.comfyui.jobs.shown_job import number_of, shown_outputs
from everfold.web.comfyui.jobs.shown_prompts import Status, entry_of
from everfold.web.comfyui.jobs.submit import body_of
from everfold.web.comfyui.lifecycle_messages import ExecutionError, execution_error
from everfold.web.comfyui.prompt_ids import is_prompt_id
from everfold.web.comfyui.query import whole_number
from everfold.web.operation import Call
from everfold.web.problem import Problem

JOBS_LIMIT = 1_000
PAGES_LIMIT = 3
"""Times that so many jobs are looked at for one answer, where many are hidden or were deleted."""
STATUSES: Mapping[str, tuple[str, ...]] = {
    "pending": ("queued",),
    "in_progress": RUNNING,
    "completed": ("succeeded",),
    "failed": ("failed", "expired"),
    "cancelled": ("canceled",),
}
"""ComfyUI's words -> Everfold's."""
WORDS = {own: word for word, every in STATUSES.items() for own in every}

ORDERS: Mapping[str, Callable[[Job], float]] = {
    "created_at": lambda job: job.submitted_at_ms,
    "execution_duration": lambda job: (
        job.ended_at_ms - job.started_at_ms if job.ended_at_ms and job.started_at_ms else 0
    ),
}


class Workflow(Struct, frozen=True, kw_only=True):
    """What a job was submitted with."""

    prompt: dict[str, object]
    extra_data: dict[str, object]


class JobItem(Struct, frozen=True, kw_only=True):
    """One job of GET /api/jobs; the last three fields only in GET /api/jobs/{prompt_id}."""

    id: str
    status: str
    priority: int
    create_time: int
    execution_start_time: int | UnsetType = UNSET
    execution_end_time: int | UnsetType = UNSET
    execution_error: ExecutionError | UnsetType = UNSET
    outputs_count: int = 0
    previewable_outputs_count: int = 0
    preview_output: dict[str, object] | UnsetType = UNSET
    workflow_id: str | UnsetType = UNSET
    outputs: dict[str, dict[str, object]] | UnsetType = UNSET
    execution_status: Status | UnsetType = UNSET
    workflow: Workflow | UnsetType = UNSET


class Pagination(Struct, frozen=True, kw_only=True):
    """Which part of a list this is."""

    offset: int
    limit: int | None
    total: int
    has_more: bool


class JobList(Struct, frozen=True, kw_only=True):
    """The body of GET /api/jobs."""

    jobs: list[JobItem]
    pagination: Pagination


class Cancelled(Struct, frozen=True, kw_only=True):
    """Whether any of the jobs was open."""

    cancelled: bool


async def get_jobs(call: Call) -> Response:
    """Answer GET /api/jobs."""
    query = call.request.query_params
    order = query.get("sort_by", "created_at").lower()
    direction = query.get("sort_order", "desc").lower()
    if order not in ORDERS or direction not in ("asc", "desc"):
        words = f"sort_by is one of {', '.join(ORDERS)}, sort_order is asc or desc"
        raise Problem(400, "invalid_request", words)
    limit = whole_number(call, "limit", JOBS_LIMIT)
    if not limit:
        raise Problem(400, "invalid_request", "limit must be a positive whole number")
    offset, workflow_id = whole_number(call, "offset", 0), query.get("workflow_id")
    jobs = await _selected(call, _statuses(query.get("status", "")))
    items = await _items(call, jobs) if workflow_id else None
    if items is not None:
        jobs = [job for job in jobs if items[job.job_id].workflow_id == workflow_id]
    jobs.sort(key=ORDERS[order], reverse=direction == "desc")
    part = jobs[offset:][:limit]
    items = items or await _items(call, part)
    pagination = Pagination(
        offset=offset,
        limit=limit if "limit" in query else None,
        total=len(jobs),
        has_more=offset + len(part) < len(jobs),
    )
    return json_answer(JobList(jobs=[items[job.job_id] for job in part], pagination=pagination))


def _statuses(text: str) -> tuple[str, ...]:
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    if odd := [word for word in words if word not in STATUSES]:
        known = ", ".join(STATUSES)
        raise Problem(400, "invalid_request", f"no status is {odd[0][:50]!r}; there are: {known}")
    return tuple(dict.fromkeys(own for word in words for own in STATUSES[word]))


async def _selected(call: Call, statuses: tuple[str, ...]) -> list[Job]:
    selects = JobFilter(user=call.caller.scope, statuses=statuses)
    everfold, found = call.gateway.everfold, list[Job]()
    hidden = await hidden_of(everfold.log, own_user(call) or "")
    cursor: str | None = None
    for _ in range(PAGES_LIMIT):
        page = await everfold.page(selects, cursor, JOBS_LIMIT)
        found += [job for job in page.jobs if not job.is_terminal or is_left(job, hidden)]
        cursor = page.cursor
        if cursor is None or len(found) >= JOBS_LIMIT:
            break
    return found[:JOBS_LIMIT]


async def _items(call: Call, jobs: list[Job]) -> dict[str, JobItem]:
    contents = await call.gateway.shown_prompts.contents(jobs)
    return {
        job.job_id: job_item(job, known_as(call, job), contents[job.job_id].extra_data)
        for job in jobs
    }


def job_item(job: Job, prompt_id: str, extra_data: Mapping[str, object]) -> JobItem:
    """Return a job as lists of jobs show it."""
    previews = previews_of(shown_outputs(job))
    return JobItem(
        id=prompt_id,
        status=WORDS[job.status],
        priority=number_of(job),
        create_time=job.submitted_at_ms,
        execution_start_time=job.started_at_ms or UNSET,
        execution_end_time=job.ended_at_ms or UNSET,
        execution_error=(
            execution_error(job, prompt_id) if job.status in STATUSES["failed"] else UNSET
        ),
        outputs_count=previews.count,
        previewable_outputs_count=previews.shown_count,
        preview_output=UNSET if previews.best is None else previews.best,
        workflow_id=_workflow_id(extra_data),
    )


def _workflow_id(extra_data: Mapping[str, object]) -> str | UnsetType:
    info = extra_data.get("extra_pnginfo")
    workflow = info.get("workflow") if isinstance(info, dict) else None
    found = workflow.get("id") if isinstance(workflow, dict) else None
    return found if isinstance(found, str) else UNSET


async def get_job(call: Call) -> Response:
    """Answer GET /api/jobs/{prompt_id}."""
    job = await _named(call)
    [item] = await call.gateway.shown_prompts.items([job], call.caller.user)
    entry = entry_of(job, item)
    shown = job_item(job, item[1], item[3])
    return json_answer(
        replace(
            shown,
            outputs=shown_outputs(job),
            execution_status=entry.status if job.is_terminal else UNSET,
            workflow=Workflow(prompt=item[2], extra_data=item[3]),
        )
    )


async def cancel_job(call: Call) -> Response:
    """Answer POST /api/jobs/{prompt_id}/cancel."""
    job = await find(call.gateway, call.caller, call.request.path_params["prompt_id"])
    count = await cancel_all(call, [job] if job else [], "cancelled")
    return json_answer(Cancelled(cancelled=count > 0))


async def cancel_jobs(call: Call) -> Response:
    """Answer POST /api/jobs/cancel."""
    named = (await body_of(call)).get("job_ids")
    if not isinstance(named, list) or not all(map(is_prompt_id, named)):
        why = "job_ids must be a list of job ids: UUIDs in lower case with hyphens"
        raise Problem(400, "invalid_request", why)
    count = await cancel_all(call, await named_jobs(call, named), "cancelled")
    return json_answer(Cancelled(cancelled=count > 0))


async def _named(call: Call) -> Job:
    job = await find(call.gateway, call.caller, call.request.path_params["prompt_id"])
    if job is None:
        raise Problem(404, "not_found", "Job not found")
    return job
