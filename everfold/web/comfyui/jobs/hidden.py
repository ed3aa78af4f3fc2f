"""Jobs that a user has deleted from the history: hidden from that user, and from nobody else.

Rule: the log keeps every job. What is remembered is bounded: a time up to which all ended jobs are
hidden, the newest HIDDEN_LIMIT ids since, and nothing for longer than KEPT_S after the last change.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.server import server_time_ms

HIDDEN_LIMIT = 10_000
KEPT_S = 30 * 86_400
ALL = "*"
"""Stands for all jobs that had ended by its time; it is no job's id."""


class Hidden(Struct, frozen=True):
    """What of a user's history is hidden."""

    before_ms: int = 0
    job_ids: Collection[str] = frozenset()

    def __contains__(self, job: Job) -> bool:
        return job.ended_at_ms <= self.before_ms or job.job_id in self.job_ids


def has_entry(job: Job) -> bool:
    """Say whether a job that has ended is in the history: of one that was deleted while it waited
    nothing is left, as with ComfyUI."""
    return job.status != "canceled" or job.started_at_ms > 0


def is_left(job: Job, hidden: Hidden) -> bool:
    """Say whether a user finds a job that has ended in the history."""
    return has_entry(job) and job not in hidden


async def hidden_of(log: Log, user: str) -> Hidden:
    """Return what is hidden of a user's history. Raises a leaf of Unavailable."""
    key = log.keys.hidden(user)
    found = cast("list[bytes]", await command(log.redis, "ZRANGE", key, 0, -1))
    before = await command(log.redis, "ZSCORE", key, ALL)
    job_ids = frozenset(one.decode(errors="replace") for one in found)
    return Hidden(int(float(before)) if isinstance(before, bytes) else 0, job_ids - {ALL})


async def is_hidden(log: Log, user: str, job: Job) -> bool:
    """Say whether one job is hidden from a user. Raises a leaf of Unavailable."""
    asked = [("ZSCORE", log.keys.hidden(user), one) for one in (ALL, job.job_id)]
    before, own = cast("list[bytes | None]", await commands(log.redis, asked))
    return own is not None or (before is not None and job.ended_at_ms <= int(float(before)))


async def hide_all(log: Log, user: str) -> None:
    """Hide all jobs that have ended by now. Raises a leaf of Unavailable."""
    key, now_ms = log.keys.hidden(user), await server_time_ms(log.redis)
    await commands(
        log.redis,
        [
            ("ZREMRANGEBYSCORE", key, "-inf", now_ms),
            ("ZADD", key, now_ms, ALL),
            ("PEXPIRE", key, KEPT_S * 1000),
        ],
    )


async def hide(log: Log, user: str, job_ids: Sequence[str]) -> None:
    """Hide these jobs; beyond HIDDEN_LIMIT, about, those that were hidden first are shown again.

    Raises a leaf of Unavailable.
    """
    if not job_ids:
        return
    key, now_ms = log.keys.hidden(user), await server_time_ms(log.redis)
    members = [part for job_id in job_ids for part in (now_ms, job_id)]
    await commands(log.redis, [("ZADD", key, *members), ("PEXPIRE", key, KEPT_S * 1000)])
    asked = ("ZRANGE", key, -HIDDEN_LIMIT - 1, -HIDDEN_LIMIT - 1, "WITHSCORES")
    beyond = cast("list[bytes]", await command(log.redis, *asked))
    if beyond and beyond[0] != ALL.encode():
        mark = await command(log.redis, "ZSCORE", key, ALL)
        since = f"({float(mark)}" if isinstance(mark, bytes) else "-inf"
        await command(log.redis, "ZREMRANGEBYSCORE", key, since, beyond[1])
