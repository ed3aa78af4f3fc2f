"""Evolve: the job after one more event.

Rule: pure and total. An event that the job has seen already changes nothing. A terminal job keeps
its state: later events only move its sequence number.
"""

from __future__ import annotations

from typing import Any, assert_never

from msgspec.structs import replace

from everfold.projector.job.job import TERMINAL_STATUSES, Job
from everfold.streams.events import event as events
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.policies import bounded
from everfold.streams.events.record import Recorded, shown_callback
from everfold.streams.telemetry.trace_context import read_traceparent

_OF_ATTEMPT = (
    events.Progressed
    | events.Submitting
    | events.Queued
    | events.Started
    | events.OutputSaved
    | events.Stopping
    | events.Lost
)

PROGRESS_FIELDS = (
    *("progress", "nodes_done", "nodes_total", "node", "node_class", "step", "steps", "left_s"),
    *("epoch", "seq", "entry_id", "updated_at_ms", "crashes_in_a_row"),
)
"""All fields that a `progressed` event changes."""

Changes = dict[str, Any]
"""Field of the job -> its value after an event; the others are as they were."""

PROGRESS_BEFORE_END = 0.99
"""Highest progress of an open job; only `succeeded` makes it 1."""

MOST_LEFT_S = 366 * 86_400


def evolve(job: Job, record: Recorded) -> Job:
    """Return the job after one more event; the same job when the event changes nothing.

    Nothing changes for an event at or before `job.seq`, or for one that cannot be read and was not
    skipped. A gap in the sequence is not checked here; see `fold`.
    """
    event = record.event
    if record.seq <= job.seq or (isinstance(event, Unreadable) and not event.skipped):
        return job
    now_ms = record.time_ms
    changes: Changes = {}
    if not (
        isinstance(event, Unreadable) or job.status in TERMINAL_STATUSES or _is_outdated(job, event)
    ):
        changes = _apply(job, event, now_ms)
    # One copy of the job for each event: copies are what costs.
    return replace(
        job,
        job_id=record.job_id,
        epoch=record.epoch,
        seq=record.seq,
        entry_id=record.entry_id,
        updated_at_ms=now_ms,
        **changes,
    )


def _progressed(job: Job, event: events.Progressed) -> Changes:
    return {
        "progress": max(job.progress, min(event.value, PROGRESS_BEFORE_END)),
        "nodes_done": event.nodes_done,
        "nodes_total": event.nodes_total,
        "node": event.node or "",
        "node_class": event.node_class or "",
        "step": event.step or 0,
        "steps": event.steps or 0,
        "left_s": min(max(0, event.left_s or 0), MOST_LEFT_S),
        "crashes_in_a_row": 0,
    }


def _is_outdated(job: Job, event: events.Event) -> bool:
    """Say whether `event` is about another attempt than the job's. An append that nobody waited for
    may arrive when the next attempt is under way; and a server that lost its newest writes may
    have forgotten the intent, without which nothing is known of where the attempt is."""
    if isinstance(event, events.Submitting):
        return event.attempt < job.attempt
    if not isinstance(event, _OF_ATTEMPT):
        return False
    begins_later = not job.submitted_at_ms  # the history before was trimmed
    return event.attempt < job.attempt if begins_later else event.attempt != job.attempt


def _apply(job: Job, event: events.Event, now_ms: int) -> Changes:
    match event:
        case events.Progressed():
            return _progressed(job, event)
        case events.Submitted():
            return _submitted(job, event, now_ms)
        case events.Claimed():
            return {"owner": event.owner, "claimed_at_ms": now_ms, "reason": _reason(job, "")}
        case events.Recovered():
            return _recovered(job, event, now_ms)
        case events.Submitting():
            return _submitting(job, event, now_ms)
        case events.Queued():
            return _queued(job, event, now_ms)
        case events.Started():
            return _started(job, now_ms)
        case events.OutputSaved():
            outputs = {**job.outputs, event.node: event.output}
            return {"outputs": outputs, "crashes_in_a_row": 0}
        case events.CancelRequested():
            return _cancel_requested(job, event, now_ms)
        case events.Released():
            return _released(job, event)
        case events.Stopping():
            return _stopping(job, event, now_ms)
        case events.Lost():
            return _lost(job, event, now_ms)
        case events.Retried():
            return _retried(job, event)
        case events.Rewound():
            return {"rewound": job.rewound + 1}
        case events.Succeeded() | events.Failed() | events.Canceled() | events.Expired():
            return _ended(job, event, now_ms)
        case _:
            assert_never(event)


def _submitted(job: Job, event: events.Submitted, now_ms: int) -> Changes:
    return {
        "kind": event.kind,
        "user": event.user,
        "queue": event.queue,
        "priority": event.priority,
        "metadata": event.metadata,
        "workflow": event.workflow,
        "body": event.body or "",
        "partner_keys": tuple(event.partner_keys or ()),
        "policy": bounded(event.policy),
        "idempotency_key": event.idempotency_key or "",
        "batch": event.batch or "",
        "tags": event.tags or (),
        "rerun_of": event.rerun_of or "",
        "needs": tuple(event.needs or ()),
        "inputs": event.inputs or {},
        "trace": _trace(event),
        "callback": shown_callback(event),
        "run_at_ms": event.run_at_ms or 0,
        "submitted_at_ms": now_ms,
    }


def _trace(event: events.Fact) -> str:
    """Return the trace that an event names; empty for what is none."""
    return str(read_traceparent(event.trace) or "") if event.trace else ""


def _recovered(job: Job, event: events.Recovered, now_ms: int) -> Changes:
    return {
        "owner": event.owner,
        "claimed_at_ms": now_ms,
        "recovered_at_ms": now_ms,
        "recovered": event.crashes,
        "crashes_in_a_row": job.crashes_in_a_row + 1,
        "idle_ms": event.idle_ms,
        "reason": _reason(job, event.reason),
    }


def _submitting(job: Job, event: events.Submitting, now_ms: int) -> Changes:
    return {
        "attempt": event.attempt,
        "attempt_state": "intended",
        "trace": job.trace or _trace(event),
        "stopping": "",
        "stopping_at_ms": 0,
        "backend": event.backend,
        "boot": event.boot,
        "server": event.server,
        "prompt_id": event.prompt_id,
        "client_id": event.client_id,
        "number": -1,
        "submitting_at_ms": now_ms,
        "queued_at_ms": 0,
        "started_at_ms": 0,
        "node": "",
        "node_class": "",
        "step": 0,
        "steps": 0,
        "left_s": 0,
        "nodes_done": 0,
        "outputs": {},
        "executed": (),
        "cached": (),
        "problems": [],
    }


def _queued(job: Job, event: events.Queued, now_ms: int) -> Changes:
    return {
        "attempt_state": "accepted",
        "queued_at_ms": now_ms,
        "crashes_in_a_row": 0,
        "number": -1 if event.number is None else event.number,
        "problems": event.problems,
    }


def _started(job: Job, now_ms: int) -> Changes:
    status = "running" if job.status == "queued" else job.status
    return {
        "status": status,
        "attempt_state": "accepted",
        "started_at_ms": now_ms,
        "unconfirmed": 0,
        "unconfirmed_since_ms": 0,
        "crashes_in_a_row": 0,
    }


def _cancel_requested(job: Job, event: events.CancelRequested, now_ms: int) -> Changes:
    at_ms = job.cancel_requested_at_ms or now_ms
    return {"status": "canceling", "cancel_requested_at_ms": at_ms, "reason": event.reason}


def _reason(job: Job, otherwise: str) -> str:
    """Return `otherwise`, but keep the reason of a job that is canceling."""
    return job.reason if job.is_canceling else otherwise


def _waiting_status(job: Job) -> str:
    return "canceling" if job.is_canceling else "queued"


def _released(job: Job, event: events.Released) -> Changes:
    broken = event.reason == "broken"
    return {
        "owner": "",
        "broken": job.broken + broken,
        "crashes_in_a_row": job.crashes_in_a_row + broken,
        "released": job.released + (not broken),
        "reason": _reason(job, event.why or event.reason),
    }


def _stopping(job: Job, event: events.Stopping, now_ms: int) -> Changes:
    at_ms = job.stopping_at_ms if event.why == job.stopping else 0
    return {"stopping": event.why, "stopping_at_ms": at_ms or now_ms}


def _lost(job: Job, event: events.Lost, now_ms: int) -> Changes:
    """Charge the loss only where the attempt had started: what merely waited is not to blame."""
    ran = job.started_at_ms > 0
    is_counted = not ran and event.cause not in ("refused", "turned_away")
    refused_by = job.refused_by
    if event.cause == "refused" and event.backend not in refused_by:
        refused_by = (*refused_by, event.backend)
    return {
        "status": _waiting_status(job),
        "left_s": 0,
        "attempt_state": "over",
        "losses": job.losses + ran,
        "unconfirmed": job.unconfirmed + is_counted,
        "unconfirmed_since_ms": job.unconfirmed_since_ms or (now_ms if is_counted else 0),
        "lost_at_ms": now_ms,
        "abandoned": job.abandoned + event.abandoned,
        "refused_by": refused_by,
        "error": event.failure or job.error,
        "reason": _reason(job, event.cause),
    }


def _retried(job: Job, event: events.Retried) -> Changes:
    return {
        "status": _waiting_status(job),
        "left_s": 0,
        "attempt_state": "over",
        "owner": "",
        "retried": job.retried + 1,
        "run_at_ms": event.not_before_ms,
        "error": event.failure,
        "reason": _reason(job, event.failure.code),
    }


def _ended(job: Job, event: events.Terminal, now_ms: int) -> Changes:
    changes: Changes = {
        "owner": "",
        "ended_at_ms": now_ms,
        "attempt_state": "over" if job.attempt else "",
        "abandoned": job.abandoned + (not isinstance(event, events.Succeeded) and event.abandoned),
        "node": "",
        "node_class": "",
        "left_s": 0,
    }
    match event:
        case events.Succeeded():
            return changes | _succeeded(job, event)
        case events.Failed():
            return changes | _failed(job, event)
        case events.Canceled():
            outputs, reason = event.outputs or job.outputs, event.reason or job.reason
            return changes | {"status": "canceled", "reason": reason, "outputs": outputs}
        case events.Expired():
            return changes | {"status": "expired", "reason": event.reason}


def _failed(job: Job, event: events.Failed) -> Changes:
    failure = event.failure
    return {
        "status": "failed",
        "error": failure,
        "reason": failure.code,
        "outputs": event.outputs or job.outputs,
        "executed": failure.executed or (),
        "cached": failure.cached or (),
    }


def _succeeded(job: Job, event: events.Succeeded) -> Changes:
    return {
        "status": "succeeded",
        "reason": "",
        "progress": 1.0,
        "nodes_done": job.nodes_total,
        "outputs": event.outputs,
        "outputs_reused": event.outputs_reused,
        "executed": event.executed or (),
        "cached": event.cached or (),
        "started_at_ms": job.started_at_ms or event.started_at_ms or 0,
        "error": None,
    }
