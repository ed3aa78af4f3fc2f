"""What to do next with a job: one pure decision, the same for a new job and a recovered one.

Rule: the state, the backend's truth and what the runner knows besides go in; one action comes out.
What cannot be seen is unknown, never lost, and never unknown for ever: see bounds.py. Source: the
recovery table of docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from typing import cast

from msgspec import UNSET

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Ended, Pending, Running, Truth, Unreachable
from everfold.runner.decisions import bounds, endings
from everfold.runner.decisions.actions import (
    Action,
    Adopt,
    AskTruth,
    DecisionInputs,
    Done,
    Finish,
    HandOver,
    Postpone,
    RecordLost,
    Retry,
    StartAttempt,
    Stop,
    Wait,
    WatchAttempt,
)
from everfold.runner.decisions.bounds import TAKEN_BACK, lost, unfit
from everfold.streams.events.event import Canceled, Failed, Failure, Succeeded
from everfold.streams.events.reasons import LostCause, StopReason

UNCONFIRMED_LIMIT = 20
"""Attempts in a row that never began to run. With more, and after `backend_away_s`, the job fails:
the backends are broken in a way that waiting does not mend."""

UNCONFIRMED_FREE = 2
"""So many of them are followed by the next attempt at once; then the waits double."""

UNCONFIRMED_WAIT_LIMIT_S = 60.0
RETRY_BACKOFF_LIMIT_S = 300.0


def decide(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    """Return the next action for `job`; `truth` is None while the backend was not asked."""
    if job.is_terminal:
        return Done()
    if not job.may_be_alive:
        return _without_attempt(job, now)
    if truth is None:
        return AskTruth()
    if isinstance(truth, Ended):
        return _ended(job, truth, now)
    if now.given_up == job.attempt:
        return RecordLost(lost(job, "given_up", abandoned=not isinstance(truth, Absent)))
    if isinstance(truth, Absent):
        return _absent(job, truth, now)
    return bounds.passed(job, now, runs=isinstance(truth, Running)) or (
        _unreachable(job, truth, now) if isinstance(truth, Unreachable) else _alive(job, truth, now)
    )


def _without_attempt(job: Job, now: DecisionInputs) -> Action:
    if job.is_canceling:
        return Finish(Canceled(reason=job.reason, attempt=job.attempt))
    if (end := unfit(job, now)) is not None:
        return Finish(end)
    if job.losses > 0 and job.losses + job.retried > job.policy.retries:
        return Finish(Failed(attempt=job.attempt, failure=endings.backend_lost(job)))
    if now.refused_everywhere and job.error is not None:
        return Finish(Failed(attempt=job.attempt, failure=job.error))
    if _never_begins(job, now):
        return Finish(Failed(attempt=job.attempt, failure=endings.never_arrives(job)))
    left_s = _pause_s(job) - now.since_s(job.lost_at_ms)
    if left_s > 0 and not _is_unsure(job.lost_at_ms, job, now):
        return Postpone(left_s)
    if not now.lease_trusted:
        return Wait(0.5, "the lease must be renewed first")
    return StartAttempt(job.attempt + 1)


def _never_begins(job: Job, now: DecisionInputs) -> bool:
    away_s = job.policy.backend_away_s
    if job.unconfirmed <= UNCONFIRMED_LIMIT or away_s is None:
        return False
    if _is_unsure(job.unconfirmed_since_ms, job, now):
        return job.unconfirmed - UNCONFIRMED_LIMIT > away_s / UNCONFIRMED_WAIT_LIMIT_S
    return now.since_s(job.unconfirmed_since_ms) > away_s


def _is_unsure(at_ms: int, job: Job, now: DecisionInputs) -> bool:
    """Say whether nobody knows how long ago a time before the claim was: the clock was set since.

    What waits for it then would wait until the clock shows that time again; the pause after a loss
    is over when the job comes back from it.
    """
    return at_ms <= min(job.claimed_at_ms, now.stepped_at_ms)


def _pause_s(job: Job) -> float:
    """Return how long to wait after the last attempt that was lost before it had started."""
    beyond = job.unconfirmed - UNCONFIRMED_FREE
    return min(2.0 ** min(beyond, 10), UNCONFIRMED_WAIT_LIMIT_S) if beyond > 0 else 0.0


def _ended(job: Job, truth: Ended, now: DecisionInputs) -> Action:
    if truth.succeeded:
        return Finish(
            Succeeded(
                attempt=job.attempt,
                outputs=truth.outputs,
                outputs_reused=truth.outputs_reused,
                started_at_ms=truth.started_at_ms,
                ended_at_ms=truth.ended_at_ms,
                cached=truth.cached or UNSET,
            )
        )
    if truth.interrupted:
        return _interrupted(job, truth, now)
    failure = truth.failure or Failure(code="execution_error", message="ComfyUI gave no reason")
    return failed(job, failure, truth, now)


def failed(job: Job, failure: Failure, truth: Ended, now: DecisionInputs) -> Action:
    """Try again where the failure and the policy allow it."""
    if not failure.retryable or job.losses + job.retried >= job.policy.retries:
        return Finish(_failure(job, failure, truth))
    if job.is_canceling:
        return Finish(Canceled(reason=job.reason, attempt=job.attempt, outputs=truth.outputs))
    if bounds.is_stale(job, now):
        return Finish(_failure(job, failure, truth))
    end = unfit(job, now, may_run=True)
    return Finish(end) if end else Retry(failure, _retry_after_s(job))


def _interrupted(job: Job, truth: Ended, now: DecisionInputs) -> Action:
    """An interrupt by somebody else is a failure like others, and not the user's cancel."""
    if job.is_canceling:
        return Finish(Canceled(reason=job.reason, attempt=job.attempt, outputs=truth.outputs))
    if job.stopping in ("expired", *TAKEN_BACK):
        return bounds.stopped(job, abandoned=False)
    if job.stopping:
        return Finish(_failure(job, endings.failure_of(job, job.stopping), truth))
    if bounds.ran_too_long(job, now):
        return Finish(_failure(job, endings.failure_of(job, "run_deadline"), truth))
    return failed(job, endings.interrupted(job, truth), truth, now)


def _unreachable(job: Job, truth: Unreachable, now: DecisionInputs) -> Action:
    if (given_up := bounds.unreachable(job, now)) is not None:
        return given_up
    why = f"{job.backend} cannot be reached: {truth.why}"
    return HandOver(why) if now.reachable_elsewhere else Wait(1.0, why)


def _alive(job: Job, truth: Running | Pending, now: DecisionInputs) -> Action:
    """A prompt that lives is followed, however long ago and however often runners died."""
    running = isinstance(truth, Running)
    if job.attempt_state == "intended":
        return Adopt()
    if job.is_canceling:
        return Stop("cancel")
    if not running and bounds.queue_deadline_passed(job, now):
        return Stop("expired")
    if not running and now.backend_retired:
        return Stop("backend_retired")
    if not running and not now.backend_healthy:
        return Stop("backend_unhealthy")
    if job.stopping and job.stopping not in TAKEN_BACK:
        # Whoever meant to stop it may have died before it was told.
        return Stop(cast("StopReason", job.stopping))
    if running and bounds.ran_too_long(job, now):
        return Stop("run_deadline")
    return Stop("stalled") if running and _is_stalled(job, now) else WatchAttempt(running)


def _is_stalled(job: Job, now: DecisionInputs) -> bool:
    stall_s = job.policy.stall_deadline_s
    return stall_s is not None and now.socket_heard and now.silent_for_s > stall_s


def _absent(job: Job, truth: Absent, now: DecisionInputs) -> Action:
    if now.saw_success and truth.same_boot:
        return Finish(Succeeded(attempt=job.attempt, outputs=job.outputs))
    if job.attempt_state == "intended":
        # What was absent then may have arrived while the answer was on its way.
        left_s = (_nobody_sends_after_ms(job, now) - (now.asked_at_ms or now.now_ms)) / 1000
        if left_s > 0:
            return Wait(min(left_s, 1.0), "the submit may still arrive")
    if job.is_canceling:
        return Finish(Canceled(reason=job.reason, attempt=job.attempt))
    if job.stopping:
        return bounds.stopped(job, abandoned=False)
    end = unfit(job, now)
    return Finish(end) if end else RecordLost(lost(job, _cause(job, truth, now)))


def _cause(job: Job, truth: Absent, now: DecisionInputs) -> LostCause:
    if job.attempt_state == "intended":
        return "turned_away" if now.turned_away else "never_arrived"
    return "deleted_there" if truth.same_boot else "backend_restarted"


def _nobody_sends_after_ms(job: Job, now: DecisionInputs) -> float:
    """Return when an unconfirmed submit can no longer arrive.

    Its sender sends only while it trusts its lease. Where the present owner took the job over
    before that lease had run out, the sender may still live and trust it for the rest. A backend
    that stood still has not yet read what was sent: it must have answered for the grace.
    """
    since_ms = max(job.submitting_at_ms, job.claimed_at_ms, now.last_send_ms)
    rest_ms = 0.0
    # They are equal after the clock was set back: the entry ids of a stream stand still then.
    if job.recovered_at_ms >= job.submitting_at_ms:
        rest_ms = max(0.0, now.lease_ttl_s * 1000 - job.idle_ms)
    return max(since_ms + rest_ms, now.first_absent_ms) + now.submit_grace_s * 1000


def _retry_after_s(job: Job) -> float:
    return min(job.policy.retry_backoff_s * 2.0 ** min(job.retried, 30), RETRY_BACKOFF_LIMIT_S)


def _failure(job: Job, failure: Failure, truth: Ended) -> Failed:
    return Failed(
        attempt=job.attempt,
        failure=failure,
        outputs=truth.outputs,
        started_at_ms=truth.started_at_ms,
        ended_at_ms=truth.ended_at_ms,
    )
