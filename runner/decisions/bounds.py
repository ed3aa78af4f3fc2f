"""The bounds that end a job, or give an attempt up, whatever its backend does.

Rule: pure. A bound first asks the backend to stop, and `stop_within_s` later ends the job without
it; the attempt is then abandoned, and stopped by whoever sees that backend again.
"""

from __future__ import annotations

from typing import cast

from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.runner.decisions import endings
from everfold.runner.decisions.actions import Action, DecisionInputs, Finish, RecordLost
from everfold.streams.events.event import Canceled, Expired, Failed, Lost
from everfold.streams.events.reasons import ExpiryReason, LostCause

TAKEN_BACK = ("backend_unhealthy", "backend_retired")
"""Reasons to stop an attempt that lead to another one elsewhere."""


def unfit(job: Job, now: DecisionInputs, *, may_run: bool = False) -> Expired | Failed | None:
    """Return how the job ends if no new attempt may begin, None while one may.

    `may_run`: an attempt runs or has run, so that the queue deadline is met.
    """
    if is_stale(job, now):
        return Expired(reason="stale")
    if job.crashes_in_a_row >= job.policy.crash_limit:
        return Failed(attempt=job.attempt, failure=endings.poisoned(job))
    if not may_run and queue_deadline_passed(job, now):
        return Expired(reason="queue_deadline")
    return None


def is_stale(job: Job, now: DecisionInputs) -> bool:
    """Say whether the job was without a runner for longer than its policy allows.

    That counts for the runner that took it over, until its attempt was seen alive at its backend.
    """
    limit_s, was_orphan = job.policy.recovery_max_age_s, job.recovered_at_ms >= job.claimed_at_ms
    if limit_s is None or not was_orphan or now.seen_alive:
        return False
    return job.idle_ms > limit_s * 1000


def has_started(job: Job) -> bool:
    """Say whether any attempt has begun to run: the queue deadline is met then."""
    return bool(job.progress or job.started_at_ms or job.retried or job.losses)


def queue_deadline_passed(job: Job, now: DecisionInputs, beyond_s: float = 0.0) -> bool:
    limit_s = job.policy.queue_deadline_s
    if limit_s is None or has_started(job):
        return False
    return now.since_s(max(job.submitted_at_ms, job.run_at_ms)) > limit_s + beyond_s


def ran_too_long(job: Job, now: DecisionInputs, beyond_s: float = 0.0) -> bool:
    limit_s = job.policy.run_deadline_s
    if limit_s is None or not job.started_at_ms:
        return False
    return now.since_s(job.started_at_ms) >= limit_s + beyond_s


def passed(job: Job, now: DecisionInputs, *, runs: bool) -> Action | None:
    """Return what ends an attempt that the backend does not end in time, None while there is time.

    For an attempt that lives, or may live, at its backend; `runs` if it was seen to run now.
    """
    within_s = job.policy.stop_within_s
    in_vain = job.stopping and now.since_s(job.stopping_at_ms) > within_s
    if job.is_canceling:
        # Who cancels what is being stopped already does not wait longer for it.
        if in_vain or now.since_s(job.cancel_requested_at_ms) > within_s:
            return Finish(Canceled(reason=job.reason, attempt=job.attempt, abandoned=True))
        return None
    if in_vain and not (runs and job.stopping in TAKEN_BACK):
        return stopped(job, abandoned=True)
    if ran_too_long(job, now, within_s):
        return stopped(replace(job, stopping="run_deadline"), abandoned=True)
    if not runs and queue_deadline_passed(job, now, within_s):
        return Finish(Expired(reason="queue_deadline", abandoned=True))
    return None


def unreachable(job: Job, now: DecisionInputs) -> Action | None:
    """Return how the attempt is given up on a backend that cannot be asked, None to wait on."""
    away_s = job.policy.backend_away_s
    if now.backend_retired or (away_s is not None and now.away_s > away_s):
        return RecordLost(lost(job, "backend_gone", abandoned=True))
    return None


def lost(job: Job, cause: LostCause, *, abandoned: bool = False) -> Lost:
    return Lost(attempt=job.attempt, backend=job.backend, cause=cause, abandoned=abandoned)


def stopped(job: Job, *, abandoned: bool) -> Action:
    """Return what follows for the reason that the attempt was stopped for."""
    if job.stopping in TAKEN_BACK:
        return RecordLost(lost(job, cast("LostCause", job.stopping), abandoned=abandoned))
    if job.stopping == "expired":
        # Older logs have it of jobs that lived, and were stopped, when they were taken for stale.
        reason: ExpiryReason = "stale" if job.policy.queue_deadline_s is None else "queue_deadline"
        return Finish(Expired(reason=reason, abandoned=abandoned))
    failure = endings.failure_of(job, job.stopping)
    return Finish(Failed(attempt=job.attempt, failure=failure, abandoned=abandoned))
