"""What is done to many jobs that a filter selects: cancel, run again, another priority.

Rule: first it is only said what would be done. A request acts on one page of the selection; its
`cursor` leads to the next one, so that no request runs for hours.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from starlette.responses import Response

from everfold.many_jobs import RERUN_STATUSES, ManyDone
from everfold.projector.job.job import OPEN_STATUSES
from everfold.projector.reading.queries import PAGE_LIMIT, Page
from everfold.streams.events.checks import check_choice, check_text
from everfold.streams.events.limits import REASON_LIMIT
from everfold.streams.events.ranges import check_number
from everfold.streams.redis.keys import PRIORITIES
from everfold.web.bodies import json_answer, read_json
from everfold.web.files.server_files import check_server_files
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import UNDER, acting
from everfold.web.own.selecting import Selection, scoped
from everfold.web.query import Query

SHOWN_JOBS = 20


class ManyJobsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs are meant."""

    filter: Selection
    dry_run: bool = True
    """Only say what would be done."""
    limit: int = PAGE_LIMIT
    """The most jobs of this request."""
    cursor: str | None = None
    """The `cursor` of the answer before, for the jobs after those."""


class CancelManyRequest(ManyJobsRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs to stop; without statuses those that are open."""

    reason: str = ""


class RerunManyRequest(ManyJobsRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs to run again, each once; without statuses those that failed or expired."""

    changes: dict[str, object] = {}
    """Inputs of the graph, such as {"3.seed": 7}, of the types that it has there."""


class PriorityManyRequest(ManyJobsRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which waiting jobs are to have another priority."""

    priority: str
    """high, normal or low."""


class ManyJobsAnswer(Struct, frozen=True, kw_only=True):
    """What was done to one page of the selected jobs, or would be."""

    dry_run: bool
    selected: int
    job_ids: list[str]
    """The first of them."""
    outcomes: dict[str, int] = {}
    """How many jobs had each outcome, such as canceled; empty after a dry run."""
    refused: dict[str, str] = {}
    """Job -> why nothing could be done: the first 20."""
    cursor: str | None = None
    """Ask again with it: more jobs may be selected. None after the last of them."""


async def cancel_many(call: Call) -> Response:
    """Request jobs to be stopped."""
    Query(call.request, ())
    given = await read_json(call, CancelManyRequest)
    check_text("reason", given.reason, most=REASON_LIMIT)
    page = await _page(call, given, OPEN_STATUSES)
    job_ids = [job.job_id for job in page.jobs]
    if given.dry_run or not job_ids:
        return json_answer(_answer(given, page))
    done = await acting(call).cancel_many(job_ids, given.reason)
    return json_answer(_answer(given, page, done))


async def rerun_many(call: Call) -> Response:
    """Submit jobs that have ended once more."""
    Query(call.request, ())
    given = await read_json(call, RerunManyRequest)
    check_server_files(call.caller, given.changes.items())
    page = await _page(call, given, RERUN_STATUSES)
    job_ids = [job.job_id for job in page.jobs]
    if given.dry_run or not job_ids:
        return json_answer(_answer(given, page))
    done = await acting(call).rerun_many(job_ids, given.changes)
    return json_answer(_answer(given, page, done))


async def change_priority_of_many(call: Call) -> Response:
    """Give waiting jobs another priority, the one that was submitted first before the others."""
    Query(call.request, ())
    given = await read_json(call, PriorityManyRequest)
    check_choice("priority", given.priority, PRIORITIES)
    page = await _page(call, given, ("queued",))
    job_ids = [job.job_id for job in sorted(page.jobs, key=lambda job: job.submitted_at_ms)]
    if given.dry_run or not job_ids:
        return json_answer(_answer(given, page))
    done = await acting(call).change_priorities(job_ids, given.priority)
    return json_answer(_answer(given, page, done))


async def _page(call: Call, given: ManyJobsRequest, statuses: tuple[str, ...]) -> Page:
    check_number("limit", given.limit)
    selects = scoped(given.filter.filter(), call.caller)
    if selects is None:
        return Page([], None)
    if not selects.statuses:
        selects = msgspec.structs.replace(selects, statuses=statuses)
    return await call.gateway.everfold.page(selects, given.cursor, given.limit)


def _answer(given: ManyJobsRequest, page: Page, done: ManyDone | None = None) -> ManyJobsAnswer:
    return ManyJobsAnswer(
        dry_run=given.dry_run,
        selected=len(page.jobs),
        job_ids=[job.job_id for job in page.jobs[:SHOWN_JOBS]],
        outcomes=done.outcomes if done else {},
        refused=done.refused if done else {},
        cursor=page.cursor,
    )


MANY_JOBS: tuple[Operation, ...] = (
    Operation(
        method="POST", path=f"{UNDER}/jobs/cancel", answer=cancel_many, name="cancel_jobs",
        summary="Request the open jobs of a filter to be stopped; first as a dry run.",
        body=CancelManyRequest, answers={200: ManyJobsAnswer},
    ),
    Operation(
        method="POST", path=f"{UNDER}/jobs/rerun", answer=rerun_many, name="rerun_jobs",
        summary="Submit the failed and expired jobs of a filter once more; first as a dry run.",
        body=RerunManyRequest, answers={200: ManyJobsAnswer},
    ),
    Operation(
        method="POST", path=f"{UNDER}/jobs/priority", answer=change_priority_of_many,
        name="change_priorities", role="operator",
        summary="Give the waiting jobs of a filter another priority; first as a dry run.",
        body=PriorityManyRequest, answers={200: ManyJobsAnswer},
    ),
)  # fmt: skip
