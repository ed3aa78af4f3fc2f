"""Bounds that an open job has passed: each deadline, and a cancel, must have ended it by then.

Rule: pure. All times are those of the server. What the runner needs to see the bound and to act on
it, a lease and more, is the margin.
"""

from __future__ import annotations

from collections.abc import Iterator

from everfold.projector.job.invariants import Difference
from everfold.projector.job.job import Job

MARGIN_S = 60.0
"""Beyond a bound: a lease that runs out, a runner that takes the job over, an end that is written
again after a short outage of the server."""


def overdue(
    job: Job, now_ms: int, *, margin_s: float = MARGIN_S, idle_ms: int = 0, unsure_to_ms: int = 0
) -> list[Difference]:
    """Return the bounds that `job` has passed at `now_ms` by more than the margin, in ms of the
    server; none for a job that has ended.

    `idle_ms`: how long its lease was not renewed. `unsure_to_ms`: a time up to this one may be from
    before a step of the server's clock, and counts from there.
    """
    if job.is_terminal:
        return []
    found: list[Difference] = []
    for name, since_ms, limit_s in _bounds(job, now_ms, idle_ms):
        late_s = (now_ms - max(since_ms, unsure_to_ms)) / 1000 - limit_s
        if late_s > margin_s:
            expected = f"an end within {limit_s:g} s of {name}"
            where = f"status {job.status}, event {job.seq}"
            found.append(Difference(8, job.job_id, where, expected, f"open {late_s:.0f} s later"))
    return found


def _bounds(job: Job, now_ms: int, idle_ms: int) -> Iterator[tuple[str, int, float]]:
    """Yield each bound that applies: its name, since when it counts, and its length."""
    policy, within_s = job.policy, job.policy.stop_within_s
    if job.is_canceling:
        yield "its cancel", job.cancel_requested_at_ms, within_s
    if job.may_be_alive and job.started_at_ms and policy.run_deadline_s is not None:
        yield "its start (run deadline)", job.started_at_ms, policy.run_deadline_s + within_s
    if policy.queue_deadline_s is not None and job.submitted_at_ms and not _has_run(job):
        since_ms = max(job.submitted_at_ms, job.run_at_ms)
        yield "its submit (queue deadline)", since_ms, policy.queue_deadline_s + within_s
    age_s = policy.recovery_max_age_s
    if age_s is None or job.may_be_alive:
        return
    if job.idle_ms > age_s * 1000 and job.updated_at_ms == job.recovered_at_ms:
        yield "its recovery (recovery_max_age_s)", job.recovered_at_ms, within_s
    if idle_ms > 0:
        yield "its last renewal (recovery_max_age_s)", now_ms - idle_ms, age_s + within_s


def _has_run(job: Job) -> bool:
    return bool(job.progress or job.started_at_ms or job.retried or job.losses)
