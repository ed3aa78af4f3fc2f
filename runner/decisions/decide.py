"""Decides what to do next with a job; the rules are the same for a new and a recovered job.

Rule: pure. The job's state (with its policy), the backend's truth and the clock go in, one action
comes out. What cannot be seen is unknown, never lost. In each function the first rule that applies
wins. Source: the recovery table of docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Ended, Pending, Running, Truth, Unreachable
from everfold.streams.events.event import (
    Canceled,
    Expired,
    Failed,
    Failure,
    Lost,
    Succeeded,
    Terminal,
)

UNCONFIRMED_LIMIT = 20
"""After more submits in a row that never arrived the job fails: waiting would not help."""

RETRY_BACKOFF_LIMIT_S = 300.0
"""Longest wait before a retry."""


class Done(Struct, frozen=True):
    """Do nothing: the job has ended."""


class AskTruth(Struct, frozen=True):
    """Ask the backend for the truth, then decide again: an attempt may be alive there."""


class StartAttempt(Struct, frozen=True):
    """Submit attempt `attempt` (from 1) to a backend with room."""

    attempt: int


class Adopt(Struct, frozen=True):
    """Record that the unconfirmed submit was accepted: it did arrive."""


class WatchAttempt(Struct, frozen=True):
    """Watch the attempt: it lives at its backend."""

    running: bool


class Stop(Struct, frozen=True):
    """End the attempt at the backend, then decide again on its truth."""

    why: str


class Wait(Struct, frozen=True):
    """Do nothing for so many seconds, then decide again. `why` is for people."""

    seconds: float
    why: str


class RecordLost(Struct, frozen=True):
    """Append that the attempt is gone, then decide again."""

    lost: Lost


class Retry(Struct, frozen=True):
    """Release the lease; the next attempt may start after `after_s` seconds."""

    failure: Failure
    after_s: float


class Finish(Struct, frozen=True):
    """End the job: append this terminal event."""

    event: Terminal


Action = (
    Done
    | AskTruth
    | StartAttempt
    | Adopt
    | WatchAttempt
    | Stop
    | Wait
    | RecordLost
    | Retry
    | Finish
)


class DecisionInputs(Struct, frozen=True, kw_only=True):
    """What the runner knows besides the log. Times are the server's, in milliseconds."""

    now_ms: int
    lease_ttl_s: float
    submit_grace_s: float
    backend_healthy: bool = True
    """False: the backend answers but its worker is dead; nothing that waits there will run."""
    silent_for_s: float = 0.0
    """How long the running attempt has shown no progress."""
    last_send_ms: int = 0
    """When this run's last POST came to its end, 0 when it made none."""
    lease_trusted: bool = True
    """False: nothing may be sent before the lease is renewed."""
    asked_at_ms: int = 0
    """When the truth was asked for, 0 for now. An answer says nothing about any later time."""


def decide(job: Job, truth: Truth | None, now: DecisionInputs) -> Action:
    """Return the next action for `job`. `truth` is None when the backend was not asked.

    Total: there is an action for every state and truth; never raises.
    """
    if job.is_terminal:
        return Done()
    if job.attempt_state not in ("intended", "accepted"):
        return _without_attempt(job, now)
    match truth:
        case None:
            return AskTruth()
        case Ended():
            return _ended(job, truth, now)
        case Running() | Pending():
            return _alive(job, truth, now)
        case Absent():
            return _absent(job, truth, now)
        case Unreachable():
            return Wait(1.0, f"{job.backend} cannot be reached: {truth.why}")


def _without_attempt(job: Job, now: DecisionInputs) -> Action:
    """No attempt is alive: end the job or start its next attempt."""
    if job.is_canceling:
        return Finish(Canceled(reason=job.reason, attempt=job.attempt))
    unfit = _unfit(job, now)
    if unfit is not None:
        return Finish(unfit)
    if job.losses > 0 and job.losses + job.retried > job.policy.retries:
        return Finish(Failed(attempt=job.attempt, failure=_backend_lost(job)))
    if job.unconfirmed > UNCONFIRMED_LIMIT:
        return Finish(Failed(attempt=job.attempt, failure=_never_arrives(job)))
    if not now.lease_trusted:
        return Wait(0.5, "the lease must be renewed first")
    return StartAttempt(job.attempt + 1)


def _unfit(job: Job, now: DecisionInputs, running: bool = False) -> Expired | Failed | None:
    """Return how the job ends when it must not go on: too old, poisoned, or waited too long."""
    if job.idle_ms > job.policy.recovery_max_age_s * 1000:
        return Expired(reason="stale")
    if job.recovered + job.broken >= job.policy.crash_limit:
        return Failed(attempt=job.attempt, failure=_poisoned(job))
    if not running and _queue_deadline_passed(job, now):
        return Expired(reason="queue_deadline")
    return None


def _queue_deadline_passed(job: Job, now: DecisionInputs) -> bool:
    limit_s = job.policy.queue_deadline_s
    never_ran = job.progress == 0.0 and job.started_at_ms == 0 and job.retried == 0
    if limit_s is None or not never_ran or job.losses:
        return False
    begin_ms = max(job.submitted_at_ms, job.run_at_ms)
    return now.now_ms > begin_ms + limit_s * 1000


def _ended(job: Job, truth: Ended, now: DecisionInputs) -> Action:
    """The attempt is over: its success counts before anything else."""
    if truth.succeeded:
        return Finish(
            Succeeded(
                attempt=job.attempt,
                outputs=truth.outputs,
                outputs_reused=truth.outputs_reused,
                started_at_ms=truth.started_at_ms,
                ended_at_ms=truth.ended_at_ms,
            )
        )
    if truth.interrupted:
        return Finish(_interrupted(job, truth, now))
    failure = truth.failure or Failure(code="execution_error", message="ComfyUI gave no reason")
    if not failure.retryable or job.losses + job.retried >= job.policy.retries:
        return Finish(_failed(job, failure, truth))
    if job.is_canceling:
        return Finish(Canceled(reason=job.reason, attempt=job.attempt, outputs=truth.outputs))
    unfit = _unfit(job, now, running=True)
    return Finish(unfit) if unfit else Retry(failure, _retry_after_s(job))


def _interrupted(job: Job, truth: Ended, now: DecisionInputs) -> Terminal:
    """The attempt was interrupted: the job ends by the reason for which it was stopped."""
    if job.is_canceling:
        return Canceled(reason=job.reason, attempt=job.attempt, outputs=truth.outputs)
    unfit = _unfit(job, now, running=job.stopping != "expired")
    if unfit is not None:
        return unfit
    if job.stopping == "stalled":
        return _failed(job, _stalled(job), truth)
    if job.stopping == "run_deadline" or _ran_too_long(job, truth.ended_at_ms or now.now_ms):
        return _failed(job, _run_deadline(job), truth)
    return Canceled(reason="interrupted at the backend", attempt=job.attempt, outputs=truth.outputs)


def _alive(job: Job, truth: Running | Pending, now: DecisionInputs) -> Action:
    """The attempt waits or runs at the backend: stop it for a reason, else watch it."""
    running = isinstance(truth, Running)
    if job.attempt_state == "intended":
        return Adopt()
    if job.is_canceling:
        return Stop("cancel")
    unfit = _unfit(job, now, running)
    if unfit is not None:
        return Stop("expired" if isinstance(unfit, Expired) else "poisoned")
    if not running and not now.backend_healthy:
        return Stop("backend_unhealthy")
    if job.stopping and job.stopping != "backend_unhealthy":
        return Stop(job.stopping)  # recorded; the backend may not have been asked yet
    if running and _ran_too_long(job, now.now_ms):
        return Stop("run_deadline")
    stall_s = job.policy.stall_deadline_s
    if running and stall_s is not None and now.silent_for_s > stall_s:
        return Stop("stalled")
    return WatchAttempt(running)


def _absent(job: Job, truth: Absent, now: DecisionInputs) -> Action:
    """The backend does not have the attempt: wait while it may still arrive, else it is lost."""
    if job.attempt_state == "intended":
        # It may have arrived after the question: count the wait from then.
        left_s = (_nobody_sends_after_ms(job, now) - (now.asked_at_ms or now.now_ms)) / 1000
        if left_s > 0:
            return Wait(min(left_s, 1.0), "the submit may still arrive")
    if job.is_canceling:
        return Finish(Canceled(reason=job.reason, attempt=job.attempt))
    unfit = _unfit(job, now)
    if unfit is not None:
        return Finish(unfit)
    return RecordLost(Lost(attempt=job.attempt, backend=job.backend, cause=_cause(job, truth, now)))


def _cause(job: Job, truth: Absent, now: DecisionInputs) -> str:
    if job.attempt_state == "intended":
        return "never_arrived"
    if job.stopping == "backend_unhealthy":
        return "backend_unhealthy"
    return "deleted_there" if truth.same_boot else "backend_restarted"


def _nobody_sends_after_ms(job: Job, now: DecisionInputs) -> float:
    """Return the time (ms) after which an unconfirmed submit can no longer arrive.

    Its sender sends only while it trusts its lease. If the job was taken over before that lease
    ran out, the sender may be alive and may trust the lease for the rest of its length.
    """
    since_ms = max(job.submitting_at_ms, job.claimed_at_ms, now.last_send_ms)
    rest_ms = 0.0
    if job.recovered_at_ms > job.submitting_at_ms:
        rest_ms = max(0.0, now.lease_ttl_s * 1000 - job.idle_ms)
    return since_ms + rest_ms + now.submit_grace_s * 1000


def _ran_too_long(job: Job, until_ms: int) -> bool:
    limit_s = job.policy.run_deadline_s
    return (
        limit_s is not None
        and job.started_at_ms > 0
        and until_ms >= job.started_at_ms + limit_s * 1000
    )


def _retry_after_s(job: Job) -> float:
    return min(job.policy.retry_backoff_s * 2.0**job.retried, RETRY_BACKOFF_LIMIT_S)


def _failed(job: Job, failure: Failure, truth: Ended) -> Failed:
    return Failed(
        attempt=job.attempt,
        failure=failure,
        outputs=truth.outputs,
        started_at_ms=truth.started_at_ms,
        ended_at_ms=truth.ended_at_ms,
    )


def _backend_lost(job: Job) -> Failure:
    tries = job.losses + job.retried
    message = f"{job.backend} lost the job {tries} time(s) ({job.reason}); no retry is left"
    return Failure(code="backend_lost", message=message, retryable=True)


def _never_arrives(job: Job) -> Failure:
    message = f"{job.unconfirmed} submits in a row never arrived at {job.backend}"
    return Failure(code="submit_rejected", message=message, retryable=True)


def _poisoned(job: Job) -> Failure:
    message = f"{job.recovered + job.broken} runners died while they worked on this job"
    return Failure(code="poisoned", message=message)


def _run_deadline(job: Job) -> Failure:
    message = f"it ran longer than the run deadline of {job.policy.run_deadline_s:g} s"
    return Failure(code="run_deadline", message=message)


def _stalled(job: Job) -> Failure:
    message = f"it showed no progress for {job.policy.stall_deadline_s:g} s"
    return Failure(code="stalled", message=message)
