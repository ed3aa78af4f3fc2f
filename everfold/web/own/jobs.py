"""Looking at jobs: one, lists of them, one as it was, why it waits, and its files."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from everfold.archives.opening import known_archive
from everfold.assets.job_files import JobFile, job_files
from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import PAGE_LIMIT, Page
from everfold.streams.errors import InvalidName
from everfold.streams.retention.history import job_history
from everfold.web.bodies import json_answer
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER, job_id_of
from everfold.web.own.selecting import A_TIME, FILTERS, filter_of, moment_ms, scoped
from everfold.web.problem import Problem
from everfold.web.query import Query
from everfold.why.reason import Why

CURSOR = Parameter(name="cursor", told="The `cursor` of the page before, for the next page.")
LIMIT = Parameter(name="limit", kind=int, least=1, most=PAGE_LIMIT, told="The most jobs: 50.")
LISTED = (*FILTERS, CURSOR, LIMIT)

POINTS = (
    Parameter(name="seq", kind=int, least=1, most=2**53, told="After its event of this number."),
    Parameter(name="time", told=f"At this time: {A_TIME}."),
)


class JobFiles(Struct, frozen=True):
    """The files that a job has made, in their order."""

    files: list[JobFile]


async def list_jobs(call: Call) -> Response:
    """List jobs, those with the newest events first."""
    query = Query(call.request, LISTED)
    selects = scoped(filter_of(query), call.caller)
    if selects is None:
        return json_answer(Page([], None))
    limit = query.number("limit", 50)
    return json_answer(await call.gateway.everfold.page(selects, query.text("cursor"), limit))


async def get_job(call: Call) -> Response:
    """Return all that is known of a job."""
    Query(call.request, ())
    return json_answer(await call.gateway.job(call.caller, job_id_of(call)))


async def get_job_at(call: Call) -> Response:
    """Return a job as it was, folded from its history; archived events count."""
    query, job_id = Query(call.request, POINTS), job_id_of(call)
    seq, until_ms = query.number("seq", 0), moment_ms("time", query.text("time"))
    if bool(seq) == (until_ms is not None):
        raise Problem(422, "invalid_request", "give one point: seq, or time")
    await call.gateway.job(call.caller, job_id)
    log = call.gateway.everfold.log
    job, events = Job(), await job_history(log, job_id, await known_archive(log))
    for record in await log.opened_records(events):
        if record.seq > seq if until_ms is None else record.time_ms > until_ms:
            break
        job = evolve(job, record)
    if seq > job.seq:
        raise InvalidName("seq", seq, f"the job has {len(events)} events")
    if not job.seq:
        raise Problem(404, "not_found", f"there was no job {job_id} at that time")
    return json_answer(job)


async def get_why(call: Call) -> Response:
    """Say why a job waits, or what it does."""
    Query(call.request, ())
    job = await call.gateway.job(call.caller, job_id_of(call))
    return json_answer(await call.gateway.everfold.why(job.job_id))


async def get_files(call: Call) -> Response:
    """List the files that a job has made; those so far of an open job."""
    Query(call.request, ())
    return json_answer(JobFiles(job_files(await call.gateway.job(call.caller, job_id_of(call)))))


JOBS: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/jobs", answer=list_jobs, name="list_all_jobs", role="reader",
        summary="List jobs, those with the newest events first.",
        parameters=LISTED, answers={200: Page},
    ),
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}", answer=get_job, name="get_whole_job",
        role="reader", summary="Return all that is known of a job.", answers={200: Job},
    ),
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/at", answer=get_job_at, name="get_job_at",
        role="reader", parameters=POINTS, answers={200: Job},
        summary="Return a job as it was after one of its events, or at a time.",
    ),
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/why", answer=get_why, name="get_why",
        role="reader", summary="Say why a job waits, or what it does.", answers={200: Why},
    ),
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/files", answer=get_files,
        name="list_job_files", role="reader",
        summary="List the files that a job has made.", answers={200: JobFiles},
    ),
)  # fmt: skip
