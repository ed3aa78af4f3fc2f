"""The failures that Everfold itself finds, in words for people and a code for programs.

Rule: pure.
"""

from __future__ import annotations

from msgspec import UNSET

from everfold.projector.job.job import Job
from everfold.runner.backend import Ended
from everfold.streams.border.quantity import quantity
from everfold.streams.events.event import Failure


def failure_of(job: Job, stopping: str) -> Failure:
    """Return the failure that an attempt was stopped for: stalled, run_deadline or poisoned."""
    if stopping == "stalled":
        limit_s = job.policy.stall_deadline_s or 0.0
        return Failure(code="stalled", message=f"it showed no progress for {limit_s:g} s")
    if stopping == "run_deadline":
        limit_s = job.policy.run_deadline_s or 0.0
        message = f"it ran longer than the run deadline of {limit_s:g} s"
        return Failure(code="run_deadline", message=message)
    return poisoned(job)


def poisoned(job: Job) -> Failure:
    message = (
        f"it took down {job.crashes_in_a_row} runners in a row, without any progress in between"
    )
    return Failure(code="poisoned", message=message)


def outputs_lost(job: Job, why: str, *, retryable: bool) -> Failure:
    message = f"it ran to its end at {job.backend}, but its outputs are not stored ({why})"
    return Failure(code="outputs_lost", message=message, retryable=retryable)


def backend_lost(job: Job) -> Failure:
    tries = job.losses + job.retried
    message = (
        f"{job.backend} lost the job {quantity(tries, 'time')} ({job.reason}); no retry is left"
    )
    return Failure(code="backend_lost", message=message, retryable=True)


def never_arrives(job: Job) -> Failure:
    why = f" ({job.reason})" if job.reason else ""
    message = f"{job.unconfirmed} attempts in a row never began to run at {job.backend}{why}"
    return Failure(code="submit_rejected", message=message, retryable=True)


def interrupted(job: Job, truth: Ended) -> Failure:
    return Failure(
        code="interrupted",
        message=f"somebody interrupted it at {job.backend}",
        retryable=True,
        executed=truth.executed or UNSET,
        cached=truth.cached or UNSET,
    )
