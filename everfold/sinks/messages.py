"""What webhooks and callbacks say of an event: its type, its time, and the job right after it."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from everfold.moments import moment_of, rfc3339
from everfold.projector.job.job import Job
from everfold.projector.subscribing.delivery import Delivery

_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


def message_id(delivery: Delivery) -> str:
    """Return the id of the message: the event's, by which a receiver recognizes a repeat."""
    # An event of another program may have an id that no header can hold.
    return f"msg_{quote(delivery.event.id, safe=_VISIBLE)}"


def message(delivery: Delivery) -> bytes:
    """Return the JSON body of the message about an event."""
    told = {
        "type": delivery.type,
        "timestamp": _iso(delivery.record.time_ms),
        "data": public_state(delivery.job),
    }
    return msgspec.json.encode(told)


def public_state(job: Job) -> dict[str, object]:
    """Return the fields that receivers get; the graph is not among them."""
    return {
        "job_id": job.job_id,
        "seq": job.seq,
        "status": job.status,
        "reason": job.reason,
        "kind": job.kind,
        "user_id": job.user,
        "metadata": job.metadata,
        "prompt_id": job.prompt_id,
        "attempt": job.attempt,
        "recovered": job.recovered,
        "progress": job.progress,
        "outputs": job.outputs,
        "error": job.error,
        "submitted_at": _iso(job.submitted_at_ms),
        "started_at": _iso(job.started_at_ms),
        "ended_at": _iso(job.ended_at_ms),
    }


def _iso(milliseconds: int) -> str | None:
    moment = moment_of(milliseconds)
    return None if moment is None else rfc3339(moment)
