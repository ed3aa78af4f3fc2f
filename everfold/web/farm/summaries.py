"""A job in the few values that a list of jobs shows, and a job's state without what is large.

Rule: pure.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.events.event import Failure, Policy, Progressed
from everfold.streams.events.record import Recorded

REASON_LIMIT = 300
"""Characters of a reason or of an error's message in a summary."""

_NO_POLICY = Policy()


class JobSummary(Struct, frozen=True, kw_only=True):
    """A job as a list shows it. Times are Unix ms of the server, 0 for what has not happened."""

    job_id: str
    status: str
    reason: str
    queue: str
    priority: str
    user: str
    kind: str
    batch: str
    tags: tuple[str, ...]
    backend: str
    server: str
    owner: str
    """The runner that has it, empty while nobody has it."""
    attempt: int
    progress: float
    node: str
    node_class: str
    step: int
    steps: int
    left_s: int
    """Seconds that it was expected to run still at `updated_at_ms`; 0 where that is not known."""
    submitted_at_ms: int
    run_at_ms: int
    claimed_at_ms: int
    started_at_ms: int
    ended_at_ms: int
    updated_at_ms: int
    recovered: int
    error_code: str
    error: str
    seq: int


def summary_of(job: Job) -> JobSummary:
    """Return the summary of a job."""
    return JobSummary(
        job_id=job.job_id,
        status=job.status,
        reason=job.reason[:REASON_LIMIT],
        queue=job.queue,
        priority=job.priority,
        user=job.user,
        kind=job.kind,
        batch=job.batch,
        tags=job.tags,
        backend=job.backend,
        server=job.server,
        owner=job.owner,
        attempt=job.attempt,
        progress=job.progress,
        node=job.node,
        node_class=job.node_class,
        step=job.step,
        steps=job.steps,
        left_s=job.left_s,
        submitted_at_ms=job.submitted_at_ms,
        run_at_ms=job.run_at_ms,
        claimed_at_ms=job.claimed_at_ms,
        started_at_ms=job.started_at_ms,
        ended_at_ms=job.ended_at_ms,
        updated_at_ms=job.updated_at_ms,
        recovered=job.recovered,
        error_code=job.error.code if job.error else "",
        error=job.error.message[:REASON_LIMIT] if job.error else "",
        seq=job.seq,
    )


def slim(job: Job) -> Job:
    """Return a state without what a summary does not show: about a kilobyte, whatever was in it."""
    error = job.error
    return replace(
        job,
        metadata={},
        workflow="",
        body="",
        partner_keys=(),
        policy=_NO_POLICY,
        idempotency_key="",
        needs=(),
        inputs={},
        trace="",
        callback="",
        refused_by=(),
        outputs={},
        problems=[],
        executed=(),
        cached=(),
        reason=job.reason[:REASON_LIMIT],
        error=error and Failure(code=error.code, message=error.message[:REASON_LIMIT]),
    )


def slim_after(job: Job, record: Recorded) -> Job:
    """Return a slim state after one more event."""
    after = evolve(job, record)
    return after if isinstance(record.event, Progressed) else slim(after)
