"""Compares a repeated submit with the first one of its idempotency key.

Rule: the same key of the same user means the same job. What differs is a conflict that is named,
and never a success that returns a job of other content.
"""

from __future__ import annotations

from typing import cast

from everfold.streams.errors import IdempotencyConflict
from everfold.streams.events.checks import check_job_id, check_text
from everfold.streams.events.event import Submitted
from everfold.streams.events.ids import job_id_for, new_id
from everfold.streams.events.record import RawEntry, recorded
from everfold.streams.redis.pipelining import PipeliningRedis
from everfold.streams.redis.redis_errors import command

COMPARED = ("kind", "user", "queue", "priority", "metadata", "policy", "batch", "tags", "needs")
"""`run_at` is none of them: a repeat may count it from its own now."""


def chosen_job_id(generation: str, user: str, job_id: str | None, key: str | None) -> str:
    """Return the id of a job to be submitted: the given one, that of the key, or a new one.

    Raises InvalidName or TooLarge.
    """
    if key is not None:
        check_text("idempotency key", key, least=1)
    if job_id is not None:
        return check_job_id(job_id)
    return new_id() if key is None else job_id_for(generation, user, key)


async def check_same(
    redis: PipeliningRedis, log_key: str, entry_id: str, job_id: str, again: Submitted
) -> None:
    """Raise IdempotencyConflict where the first submit, at `entry_id`, had other arguments.

    One that was trimmed cannot be compared. Raises a leaf of Unavailable.
    """
    ask = ("XRANGE", log_key, entry_id, entry_id)
    for found_id, flat in cast("list[RawEntry]", await command(redis, *ask)):
        first = recorded(found_id, flat).event
        if not isinstance(first, Submitted):
            return
        other = [name for name in COMPARED if getattr(first, name) != getattr(again, name)]
        if other:
            raise IdempotencyConflict(again.idempotency_key or job_id, job_id, ", ".join(other))
