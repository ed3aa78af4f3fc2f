"""GET /moment: the farm as it was, or what changed between two moments."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct
from starlette.responses import Response

from everfold.projector.job.job import OPEN_STATUSES
from everfold.streams.redis.server import server_time_ms
from everfold.web.bodies import json_answer
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER, check_sees_all
from everfold.web.own.moment.moment_fold import MomentJob
from everfold.web.own.moment.moments import Point
from everfold.web.own.selecting import A_TIME, moment_ms
from everfold.web.problem import Problem
from everfold.web.query import Query

TIME = Parameter(name="time", is_required=True, told=f"The moment: {A_TIME}.")
UNTIL = Parameter(name="until", told=f"A later moment, to tell what changed up to then: {A_TIME}.")

JOBS_LIMIT = 500
"""Jobs of each list that are told; of more the number is."""


class ThenQueue(Struct, frozen=True, kw_only=True):
    """One queue at a moment."""

    name: str
    waiting: int
    """Jobs that no runner held; those that waited for their time count, too."""
    held: int
    queued: int
    running: int
    canceling: int


class ThenJob(Struct, frozen=True, kw_only=True):
    """An open job at a moment."""

    job_id: str
    status: str
    queue: str
    priority: str
    user: str
    kind: str
    owner: str
    backend: str
    attempt: int
    submitted_at_ms: int
    since_ms: int
    """When its status, runner or server had last changed."""


class ThenSeen(Struct, frozen=True, kw_only=True):
    """A runner or a server that was seen in events before a moment."""

    name: str
    jobs: int
    """That it held, or that were there."""
    seen_ms: int
    """When something last happened there to a job."""


class Then(Struct, frozen=True, kw_only=True):
    """The farm at a moment."""

    time_ms: int
    queues: list[ThenQueue]
    ended: dict[str, int]
    """Status -> how many jobs had ended so, since `known_from_ms`."""
    submitted: int
    """Jobs that had been submitted, since `known_from_ms`."""
    held: list[ThenJob]
    """Jobs that runners held, the first 500 by their ids."""
    held_besides: int
    waiting: list[ThenJob]
    """Jobs that no runner held, the first 500 by their submit."""
    waiting_besides: int
    runners: list[ThenSeen]
    backends: list[ThenSeen]


class Moved(Struct, frozen=True, kw_only=True):
    """A job that was open at both moments, and not the same."""

    job_id: str
    before: ThenJob
    after: ThenJob


class EndedJob(Struct, frozen=True, kw_only=True):
    """A job that ended between two moments."""

    job_id: str
    status: str
    """ended, where how is not remembered any more."""


class Changes(Struct, frozen=True, kw_only=True):
    """What changed between two moments; the first 500 of each kind."""

    submitted: int
    ended: dict[str, int]
    came: list[ThenJob]
    """Submitted in between, and still open."""
    came_besides: int
    moved: list[Moved]
    moved_besides: int
    gone: list[EndedJob]
    """Open at the first moment, and ended at the second."""
    gone_besides: int


class Moment(Struct, frozen=True, kw_only=True):
    """The farm at a moment, and what changed up to another one, if one was asked for."""

    is_complete: bool
    """False where the log is long and was not read up to there yet: ask again, it goes on."""
    known_from_ms: int
    """What happened before may be in no log or archive any more; 0 where all is known."""
    events: int
    """That were folded."""
    then: Then
    until: Then | None = None
    changes: Changes | None = None


async def get_moment(call: Call) -> Response:
    """Return the farm at a moment."""
    check_sees_all(call.caller)
    query = Query(call.request, (TIME, UNTIL))
    first_ms, until_ms = (moment_ms(one.name, query.text(one.name)) for one in (TIME, UNTIL))
    # What happens in this millisecond is not all in the log yet.
    now_ms = await server_time_ms(call.gateway.everfold.log.redis) - 1
    if until_ms is not None and until_ms < (first_ms or 0):
        raise Problem(422, "invalid_request", "until is before time")
    wanted_ms = min(first_ms or 0, now_ms)
    point = await call.gateway.moments.at(wanted_ms)
    if until_ms is None or point.time_ms < wanted_ms:
        is_complete = until_ms is None and point.time_ms == wanted_ms
        return json_answer(_moment(point, is_complete=is_complete))
    later_ms = min(until_ms, now_ms)
    later = await call.gateway.moments.at(later_ms)
    return json_answer(
        Moment(
            is_complete=later.time_ms == later_ms,
            known_from_ms=later.known_from_ms,
            events=later.fold.events,
            then=then_of(point),
            until=then_of(later),
            changes=changes_of(point, later),
        )
    )


def _moment(point: Point, *, is_complete: bool) -> Moment:
    return Moment(
        is_complete=is_complete,
        known_from_ms=point.known_from_ms,
        events=point.fold.events,
        then=then_of(point),
    )


def then_of(point: Point) -> Then:
    """Return the farm at a check point."""
    fold = point.fold
    held = sorted((job_id, job) for job_id, job in fold.jobs.items() if job.owner)
    waiting = sorted(
        ((job.submitted_ms, job_id, job) for job_id, job in fold.jobs.items() if not job.owner),
        key=lambda row: row[:2],
    )
    owners = Counter(job.owner for _, job in held)
    places = Counter(job.backend for _, job in held)
    return Then(
        time_ms=point.time_ms,
        queues=_queues(fold.jobs),
        ended=dict(fold.ended),
        submitted=fold.submitted,
        held=[_job(*row) for row in held[:JOBS_LIMIT]],
        held_besides=max(0, len(held) - JOBS_LIMIT),
        waiting=[_job(job_id, job) for _, job_id, job in waiting[:JOBS_LIMIT]],
        waiting_besides=max(0, len(waiting) - JOBS_LIMIT),
        runners=_seen(fold.runners, owners),
        backends=_seen(fold.backends, places),
    )


def _queues(jobs: dict[str, MomentJob]) -> list[ThenQueue]:
    counts = Counter((job.queue, job.status, bool(job.owner)) for job in jobs.values())
    found = list[ThenQueue]()
    for name in sorted({queue for queue, _, _ in counts}):
        by_status = {one: counts[name, one, True] + counts[name, one, False]
                     for one in OPEN_STATUSES}  # fmt: skip
        held = sum(counts[name, one, True] for one in OPEN_STATUSES)
        waiting = sum(counts[name, one, False] for one in OPEN_STATUSES)
        found.append(ThenQueue(name=name, waiting=waiting, held=held, **by_status))
    return found


def _seen(known: dict[str, int], jobs: Counter[str]) -> list[ThenSeen]:
    return [ThenSeen(name=name, jobs=jobs[name], seen_ms=known[name]) for name in sorted(known)]


def _job(job_id: str, job: MomentJob) -> ThenJob:
    return ThenJob(
        job_id=job_id,
        status=job.status,
        queue=job.queue,
        priority=job.priority,
        user=job.user,
        kind=job.kind,
        owner=job.owner,
        backend=job.backend,
        attempt=job.attempt,
        submitted_at_ms=job.submitted_ms,
        since_ms=job.since_ms,
    )


def changes_of(before: Point, after: Point) -> Changes:
    """Return what changed from one check point to a later one."""
    old, new = before.fold.jobs, after.fold.jobs
    came = sorted(job_id for job_id in new.keys() - old.keys())
    gone = sorted(job_id for job_id in old.keys() - new.keys())
    moved = sorted(job_id for job_id in old.keys() & new.keys() if old[job_id] != new[job_id])
    ended = after.fold.ended - before.fold.ended
    how = after.fold.ended_last
    return Changes(
        submitted=after.fold.submitted - before.fold.submitted,
        ended=dict(ended),
        came=[_job(one, new[one]) for one in came[:JOBS_LIMIT]],
        came_besides=max(0, len(came) - JOBS_LIMIT),
        moved=[
            Moved(job_id=one, before=_job(one, old[one]), after=_job(one, new[one]))
            for one in moved[:JOBS_LIMIT]
        ],
        moved_besides=max(0, len(moved) - JOBS_LIMIT),
        gone=[EndedJob(job_id=one, status=how.get(one, "ended")) for one in gone[:JOBS_LIMIT]],
        gone_besides=max(0, len(gone) - JOBS_LIMIT),
    )


MOMENT: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/moment", answer=get_moment, name="get_moment", role="reader",
        parameters=(TIME, UNTIL), answers={200: Moment},
        summary="Return the whole farm at a moment of its past, and what changed up to another.",
    ),
)  # fmt: skip
