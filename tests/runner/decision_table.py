"""Every combination of what is known, what the backend says and what the policy asks for."""

from __future__ import annotations

from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Ended, Pending, Running, Truth, Unreachable
from everfold.runner.decisions.decide import (
    Action,
    Adopt,
    AskTruth,
    DecisionInputs,
    Done,
    Finish,
    RecordLost,
    Retry,
    StartAttempt,
    Stop,
    Wait,
    WatchAttempt,
)
from everfold.streams.events.event import Canceled, Expired, Failed, Failure, Policy, Succeeded

NOW_MS = 1_000_000_000
NOW = DecisionInputs(now_ms=NOW_MS, lease_ttl_s=10.0, submit_grace_s=2.0)

PLAIN = Job(
    job_id="job",
    seq=7,
    submitted_at_ms=NOW_MS - 60_000,
    claimed_at_ms=NOW_MS - 30_000,
    backend="http://gpu:8188",
    policy=Policy(retries=1, queue_deadline_s=600.0, run_deadline_s=300.0, stall_deadline_s=60.0),
)

KNOWN: dict[str, Job] = {
    "none": PLAIN,
    "just intended": replace(
        PLAIN, attempt=1, attempt_state="intended", submitting_at_ms=NOW_MS - 500
    ),
    "intended": replace(
        PLAIN, attempt=1, attempt_state="intended", submitting_at_ms=NOW_MS - 5_000
    ),
    "accepted": replace(
        PLAIN, attempt=1, attempt_state="accepted", submitting_at_ms=NOW_MS - 5_000
    ),
    "over": replace(PLAIN, attempt=1, attempt_state="over"),
}


def _ended(**given: object) -> Ended:
    values: dict[str, object] = {
        "succeeded": False,
        "interrupted": False,
        "outputs": {},
        "outputs_reused": False,
        "failure": None,
        "started_at_ms": NOW_MS - 4_000,
        "ended_at_ms": NOW_MS - 1_000,
    }
    return Ended(**{**values, **given})  # type: ignore[arg-type]


TRUTHS: dict[str, Truth | None] = {
    "not asked": None,
    "pending": Pending(0),
    "running": Running(),
    "succeeded": _ended(succeeded=True),
    "failed": _ended(failure=Failure(code="execution_error", message="boom")),
    "out of memory": _ended(
        failure=Failure(code="out_of_memory", message="no room", retryable=True)
    ),
    "interrupted": _ended(interrupted=True),
    "absent, same boot": Absent(same_boot=True),
    "absent, restarted": Absent(same_boot=False),
    "unreachable": Unreachable("connection refused"),
}

CASES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "plain": ({}, {}),
    "canceling": ({"cancel_requested_at_ms": NOW_MS - 100, "status": "canceling"}, {}),
    "stale": ({"recovered": 1, "recovered_at_ms": NOW_MS - 30_000, "idle_ms": 601_000}, {}),
    "third crash": ({"recovered": 3, "recovered_at_ms": NOW_MS - 30_000}, {}),
    "queued too long": ({"submitted_at_ms": NOW_MS - 601_000}, {}),
    "ran too long": ({"started_at_ms": NOW_MS - 301_000, "progress": 0.1}, {}),
    "stalled": ({"started_at_ms": NOW_MS - 100_000}, {"silent_for_s": 61.0}),
    "being stopped": ({"started_at_ms": NOW_MS - 100_000, "stopping": "stalled"}, {}),
    "broke us thrice": ({"recovered": 1, "broken": 2}, {}),
    "sick backend": ({}, {"backend_healthy": False}),
    "no retry left": ({"losses": 1}, {}),
    "retries used up": ({"losses": 2, "reason": "backend_restarted"}, {}),
}


def job_and_now(known: str, case: str) -> tuple[Job, DecisionInputs]:
    job_changes, now_changes = CASES[case]
    return replace(KNOWN[known], **job_changes), replace(NOW, **now_changes)


def in_words(action: Action) -> str:
    match action:
        case StartAttempt(attempt=number):
            return f"start {number}"
        case WatchAttempt(running=running):
            return "watch running" if running else "watch pending"
        case Stop(why=why):
            return f"stop: {why}"
        case Wait():
            return "wait"
        case RecordLost(lost=lost):
            return f"lost: {lost.cause}"
        case Retry(failure=failure, after_s=after_s):
            return f"retry {failure.code} in {after_s:g} s"
        case Finish(event=Succeeded()):
            return "succeeded"
        case Finish(event=Failed(failure=failure)):
            return f"failed: {failure.code}"
        case Finish(event=Canceled(reason=reason)):
            return "canceled: " + reason if reason else "canceled"
        case Finish(event=Expired(reason=reason)):
            return f"expired: {reason}"
        case Adopt():
            return "adopt"
        case AskTruth():
            return "ask"
        case _:
            return "done" if isinstance(action, Done) else type(action).__name__
