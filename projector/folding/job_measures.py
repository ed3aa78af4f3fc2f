"""Counts what happened to jobs, where it is committed: each event once in the whole farm.

Rule: what was not committed is not counted, nor what a rebuild folds again. A projector that is
killed right after a commit has not counted it; none counts anything twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from everfold.projector.job.job import Job
from everfold.streams.events.event import Recovered, Rewound, Started, Submitted
from everfold.streams.events.record import Recorded
from everfold.streams.telemetry.measures import counter, histogram

SUBMITTED = counter("everfold_jobs_submitted", "Jobs that were submitted.", ("queue", "priority"))
ENDED = counter(
    "everfold_jobs_ended",
    "Jobs that ended. The code is that of a failure, or why a job expired.",
    ("queue", "status", "code"),
)
WAIT_S = histogram(
    "everfold_job_wait_seconds",
    "Time from a submit, or from when a job was to run, until it first started.",
    ("queue",),
)
RUN_S = histogram(
    "everfold_job_run_seconds",
    "Time from the start of a job's last attempt to the end of the job.",
    ("kind",),
)
RECOVERIES = counter(
    "everfold_recoveries", "Jobs taken over from a runner that is taken for dead.", ("reason",)
)
for _reason in ("lease_expired", "connection_gone"):
    # A rate does not see the first step of a series that was not there before.
    RECOVERIES.add(_reason, amount=0)
RECOVERY_S = histogram(
    "everfold_recovery_seconds", "Time from a dead runner's last sign of life to the takeover."
)
RETRIED = counter("everfold_jobs_retried", "Jobs that went back to wait for another attempt.")
REWOUND = counter("everfold_rewound_jobs", "Times that the server had lost events of a job.")


_COUNTED = frozenset((Submitted, Started, Recovered, Rewound))
"""The types of events that are looked at; others tell what they have to by the states."""


def count_events(before: Job, after: Job, records: Sequence[Recorded]) -> float | None:
    """Count what led from one state of a job to another: those of `records` between them.

    Return how many seconds a job ran that has ended now, None for any other.
    """
    has_started = bool(before.started_at_ms or before.losses or before.retried)
    for record in records:
        if type(record.event) not in _COUNTED or not before.seq < record.seq <= after.seq:
            continue
        match record.event:
            case Submitted(queue=queue, priority=priority):
                SUBMITTED.add(queue, priority)
            case Recovered(reason=reason, idle_ms=idle_ms):
                RECOVERIES.add(reason)
                RECOVERY_S.observe(idle_ms / 1000)
            case Rewound():
                REWOUND.add()
            case _:  # started
                if not has_started:
                    _count_wait(before, after, record)
                has_started = True
    if after.retried > before.retried:
        RETRIED.add(amount=after.retried - before.retried)
    is_end = after.is_terminal and not before.is_terminal
    return _count_end(after) if is_end else None


def _count_wait(before: Job, after: Job, record: Recorded) -> None:
    due_ms = max(after.submitted_at_ms, before.run_at_ms if before.seq else 0)
    if due_ms:
        WAIT_S.observe((record.time_ms - due_ms) / 1000, after.queue)


def _count_end(job: Job) -> float | None:
    code = job.error.code if job.status == "failed" and job.error else ""
    ENDED.add(job.queue, job.status, job.reason if job.status == "expired" else code)
    if not job.started_at_ms:
        return None
    seconds = max(0, job.ended_at_ms - job.started_at_ms) / 1000
    RUN_S.observe(seconds, job.kind)
    return seconds
