"""Compares a repeated submit with the first one of its idempotency key.

Rule: the same key of the same user means the same job. What differs is a conflict that is named,
and never a success that returns a job of other content.
"""

from __future__ import annotations

from typing import cast

import msgspec
from msgspec import Struct

from everfold.streams.border.sealed_form import key_id_of, sealed_text
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.errors import IdempotencyConflict
from everfold.streams.events.checks import check_job_id
from everfold.streams.events.event import Submitted
from everfold.streams.events.ids import job_id_for, new_job_id
from everfold.streams.events.record import RawEntry, Recorded, recorded
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.redis_errors import command

COMPARED = (
    *("workflow", "kind", "user", "queue", "priority", "metadata", "policy", "batch", "tags"),
    *("needs", "partner_keys", "rerun_of", "idempotency_key", "inputs", "callback"),
)
"""Besides extra_data and the time; of partner keys the names: a token may have been renewed."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class Repeat(Struct, frozen=True):
    """A submit of a job that is known already."""

    job_id: str
    key: str
    """Its idempotency key, else the job's id."""
    event: Submitted
    is_moving: bool
    """Its time was given as a delay: each repeat has another one."""


def chosen_job_id(generation: str, user: str, job_id: str | None, key: str | None) -> str:
    """Return the id of a job to be submitted: the given one, that of the key, or a new one.

    User and key are checked before. Raises InvalidName or TooLarge.
    """
    if job_id is not None:
        return check_job_id(job_id)
    return new_job_id() if key is None else job_id_for(generation, user, key)


async def read_first(redis: LedgerRedis, keys: Keyspace, job_id: str) -> Submitted | None:
    """Return the event that made a job; None where it was trimmed.

    Raises a leaf of Unavailable.
    """
    record = await first_record(redis, keys, job_id)
    return record.event if record and isinstance(record.event, Submitted) else None


async def first_record(redis: LedgerRedis, keys: Keyspace, job_id: str) -> Recorded | None:
    """Return the same as it is recorded. Raises a leaf of Unavailable."""
    first = await command(redis, "HGET", keys.head(job_id), "first")
    if not isinstance(first, bytes):
        return None
    log_key = keys.log(keys.partition_of(job_id))
    found = await command(redis, "XRANGE", log_key, first, first)
    for entry_id, flat in cast("list[RawEntry]", found):
        record = recorded(entry_id, flat)
        if isinstance(record.event, Submitted):
            return record
    return None


def check_same(first: Submitted | None, again: Repeat, *, is_other_body: bool) -> None:
    """Raise IdempotencyConflict where the first submit had other arguments, and name them.

    One that was trimmed cannot be compared, but for what it stored (`is_other_body`).
    """
    if first is not None and _is_erased(first, again.event):
        raise IdempotencyConflict(again.key, again.job_id, "content, which was erased since")
    other = _differences(first, again) if first is not None else []
    if is_other_body and not other:
        other = ["workflow"]
    if other:
        raise IdempotencyConflict(again.key, again.job_id, ", ".join(other))


def _is_erased(first: Submitted, again: Submitted) -> bool:
    """Say whether both are sealed, with different keys: the first one was thrown away."""
    texts = sealed_text(first.metadata), sealed_text(again.metadata)
    return all(texts) and key_id_of(texts[0]) != key_id_of(texts[1])


def _differences(first: Submitted, again: Repeat) -> list[str]:
    # As JSON, in which 1, 1.0 and true differ.
    event = again.event
    other = [n for n in COMPARED if _json(getattr(first, n)) != _json(getattr(event, n))]
    if "workflow" not in other and first.body != event.body:
        other.insert(0, "extra_data")
    is_timed, was_timed = event.run_at_ms is not None, first.run_at_ms is not None
    is_other_time = not again.is_moving and event.run_at_ms != first.run_at_ms
    return [*other, "run_at"] if is_timed != was_timed or is_other_time else other


def _json(value: object) -> bytes:
    return _encode(None if value is msgspec.UNSET else value)
