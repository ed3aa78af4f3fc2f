"""Every combination of what is known, what the backend says and what the policy asks for."""

from __future__ import annotations

from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Ended, Pending, Running, Truth, Unreachable
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
from everfold.streams.events.event import Canceled, Expired, Failed, Failure, Policy, Succeeded

NOW_MS = 1_000_000_000
NOW = DecisionInputs(now_ms=NOW_MS, lease_ttl_s=10.0, submit_grace_s=2.0)

PLAIN = Job(
    job_id="job",
    seq=7,
    submitted_at_ms=NOW_MS - 60_000,
    claimed_at_ms=NOW_MS - 30_000,
    backend="http://gpu:8188",
    policy=Policy(
        retries=1,
        recovery_max_age_s=600.0,
        queue_deadline_s=600.0,
        run_deadline_s=300.0,
        stall_deadline_s=60.0,
    ),
)

REFUSAL = Failure(code="invalid_workflow", message="unknown node class")

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
    "canceling in vain": ({"cancel_requested_at_ms": NOW_MS - 31_000, "status": "canceling"}, {}),
    "stale": ({"recovered": 1, "recovered_at_ms": NOW_MS - 20_000, "idle_ms": 601_000}, {}),
    "stale, was alive": (
        {"recovered": 1, "recovered_at_ms": NOW_MS - 20_000, "idle_ms": 601_000},
        {"seen_alive": True},
    ),
    "stale, no age": (
        {"recovered_at_ms": NOW_MS - 20_000, "idle_ms": 9_000_000, "policy": Policy()},
        {},
    ),
    "stale long ago": ({"recovered_at_ms": NOW_MS - 31_000, "idle_ms": 601_000}, {}),
    "third crash": ({"recovered": 3, "crashes_in_a_row": 3}, {}),
    "three forgiven": ({"recovered": 3, "recovered_at_ms": NOW_MS - 30_000}, {}),
    "queued too long": ({"submitted_at_ms": NOW_MS - 601_000}, {}),
    "far too long": ({"submitted_at_ms": NOW_MS - 631_000}, {}),
    "ran too long": ({"started_at_ms": NOW_MS - 301_000, "progress": 0.1}, {}),
    "ran far too long": ({"started_at_ms": NOW_MS - 331_000, "progress": 0.1}, {}),
    "stalled": ({"started_at_ms": NOW_MS - 100_000}, {"silent_for_s": 61.0}),
    "deaf socket": (
        {"started_at_ms": NOW_MS - 100_000},
        {"silent_for_s": 61.0, "socket_heard": False},
    ),
    "being stopped": (
        {
            "started_at_ms": NOW_MS - 100_000,
            "stopping": "stalled",
            "stopping_at_ms": NOW_MS - 1_000,
        },
        {},
    ),
    "stopped in vain": (
        {
            "started_at_ms": NOW_MS - 100_000,
            "stopping": "stalled",
            "stopping_at_ms": NOW_MS - 31_000,
        },
        {},
    ),
    "taken back": ({"stopping": "backend_unhealthy", "stopping_at_ms": NOW_MS - 31_000}, {}),
    "sick backend": ({}, {"backend_healthy": False}),
    "retired backend": ({}, {"backend_retired": True}),
    "backend gone": ({}, {"away_s": 601.0}),
    "others reach it": ({}, {"reachable_elsewhere": True}),
    "given up": ({}, {"given_up": 1}),
    "told success": ({"started_at_ms": NOW_MS - 4_000}, {"saw_success": True}),
    "refused by one": (
        {"refused_by": ("http://gpu:8188",), "unconfirmed": 1, "error": REFUSAL},
        {},
    ),
    "refused by all": (
        {"refused_by": ("http://gpu:8188",), "unconfirmed": 1, "error": REFUSAL},
        {"refused_everywhere": True},
    ),
    "no retry left": ({"losses": 1}, {}),
    "retries used up": ({"losses": 2, "reason": "backend_restarted"}, {}),
    "never begins": (
        {
            "unconfirmed": 5,
            "unconfirmed_since_ms": NOW_MS - 9_000,
            "lost_at_ms": NOW_MS - 1_000,
        },
        {},
    ),
    "clock was set": (
        {"started_at_ms": NOW_MS - 9_999_000, "progress": 0.1},
        {"stepped_at_ms": NOW_MS - 5_000, "held_s": 5.0},
    ),
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
            return f"lost: {lost.cause}" + _abandoned(lost.abandoned)
        case HandOver():
            return "hand over"
        case Postpone(after_s=after_s):
            return f"postpone {after_s:g} s"
        case Retry(failure=failure, after_s=after_s):
            return f"retry {failure.code} in {after_s:g} s"
        case Finish(event=Succeeded()):
            return "succeeded"
        case Finish(event=Failed(failure=failure, abandoned=abandoned)):
            return f"failed: {failure.code}" + _abandoned(abandoned)
        case Finish(event=Canceled(abandoned=abandoned)):
            return "canceled" + _abandoned(abandoned)
        case Finish(event=Expired(reason=reason, abandoned=abandoned)):
            return f"expired: {reason}" + _abandoned(abandoned)
        case Adopt():
            return "adopt"
        case AskTruth():
            return "ask"
        case _:
            return "done" if isinstance(action, Done) else type(action).__name__


def _abandoned(abandoned: bool) -> str:
    return ", abandoned" if abandoned else ""
