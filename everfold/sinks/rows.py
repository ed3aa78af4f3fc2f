"""Turns a delivery into rows of the SQL sink's tables. Rule: reads no clock and nothing else."""

from __future__ import annotations

from everfold.moments import moment_of
from everfold.projector.job.job import Job
from everfold.projector.subscribing.delivery import Delivery
from everfold.streams.events.json_text import NotJson, read_json

Row = dict[str, object]


def job_row(namespace: str, generation: str, job: Job) -> Row:
    """Return a row of `everfold_jobs`; times are UTC, None where it did not happen yet."""
    error = job.error
    return {
        "namespace": namespace,
        "job_id": job.job_id,
        "generation": generation,
        "seq": job.seq,
        "rewound": job.rewound,
        "status": job.status,
        "reason": _clean(job.reason),
        "kind": job.kind,
        "user_id": job.user,
        "queue": job.queue,
        "priority": job.priority,
        "prompt_id": job.prompt_id,
        "backend": job.backend,
        "owner": job.owner,
        "attempt": job.attempt,
        "recovered": job.recovered,
        "retried": job.retried,
        "progress": job.progress,
        "error_code": error.code if error else None,
        "error_message": _clean(error.message) if error else None,
        "outputs": _clean(job.outputs),
        "metadata": _clean(job.metadata),
        "workflow_sha256": job.workflow,
        "idempotency_key": job.idempotency_key,
        "submitted_at": moment_of(job.submitted_at_ms),
        "started_at": moment_of(job.started_at_ms),
        "recovered_at": moment_of(job.recovered_at_ms),
        "ended_at": moment_of(job.ended_at_ms),
        "updated_at": moment_of(job.updated_at_ms),
    }


def event_row(namespace: str, delivery: Delivery) -> Row:
    """Return a row of `everfold_events`; `event` holds the event's JSON as stored."""
    record = delivery.record
    return {
        "namespace": namespace,
        "job_id": record.job_id,
        "seq": record.seq,
        "entry_id": record.entry_id,
        "time": moment_of(record.time_ms),
        "type": delivery.type,
        "epoch": record.epoch,
        "actor": delivery.event.actor,
        "event": _clean(_event(record.shown_payload)),
    }


def _event(payload: bytes) -> object:
    """Return the event's JSON, as a text where a field that is not known here cannot be read."""
    text = payload.decode(errors="replace")
    try:
        return read_json(text)
    except NotJson:
        return text


def _clean(value: object) -> object:
    """Replace NUL characters, which PostgreSQL cannot store in a text."""
    match value:
        case str():
            return value.replace("\x00", "\ufffd")
        case dict():
            return {_clean(name): _clean(part) for name, part in value.items()}
        case list():
            return [_clean(part) for part in value]
    return value
