"""Jobs that wait for a time: let them wait for a runner when it has come, end those that are
overdue.

Rule: nothing is moved by a clock that this process cannot explain. A job that waits for a runner
that can read it is moved for one that reads something else than those before it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from msgspec import Struct

from everfold.streams.appending.job_page import job_chain
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import JobClosed, JobLeased, JobUnknown, WrongExpectedSequence
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Expired,
    Progressed,
    Retried,
    Started,
    Submitting,
)
from everfold.streams.events.record import Recorded
from everfold.streams.leases.server_clock import ServerClock
from everfold.streams.redis import scripts
from everfold.streams.redis.redis_errors import command

PROMOTE_LIMIT = 500
"""Jobs moved from later to those that wait for a runner in one call."""

BLOCKED_PAGE = 200
"""Blocked jobs looked at in one call."""


class Promotion(Struct, frozen=True):
    """What one call of `promote` did in one partition."""

    promoted: int
    """Jobs whose time has come, PROMOTE_LIMIT at most: call again when it is that."""
    next_due_ms: int
    """When the partition's next job is due, Unix ms of the server; 0 when none waits for a time."""
    overdue: tuple[str, ...]
    """Ids of jobs that still wait past their queue deadline, until somebody ends them."""


class BlockedPage(Struct, frozen=True):
    """What one call of `promote_blocked` did in one partition."""

    promoted: int
    """Jobs that wait for a runner now: this program reads something else than those before."""
    over: tuple[str, ...]
    """Ids of jobs that have waited too long, or are to be canceled, until somebody ends them."""


class DueJobs:
    """The jobs of one namespace that wait for a time. `reads` is what this program can read."""

    def __init__(self, log: Log, clock: ServerClock, reads: str) -> None:
        self._keys, self._redis = log.keys, log.redis
        self._clock, self._reads = clock, reads
        self._blocked_page: dict[int, int] = {}
        """Partition -> index at which the next page of its blocked jobs begins."""

    async def promote(self, partition: int) -> Promotion:
        """Let jobs of a partition whose time has come wait for a runner, PROMOTE_LIMIT at most.

        Runners are woken. Nothing is moved right after the server's clock was set. Raises a leaf of
        Unavailable, without a retry; it may be repeated.
        """
        clock = await self._clock.of(partition)
        asked_s = steady_s()
        reply = await scripts.promote(
            self._redis,
            later=self._keys.later(partition),
            deadlines=self._keys.deadlines(partition),
            clock=self._keys.clock(partition),
            tag=self._keys.tag(partition),
            most=PROMOTE_LIMIT,
            wake_channel=self._keys.wake_at(partition),
            wake_message=f"dispatch {partition}",
            latest_ms=clock.latest_ms(asked_s),
        )
        if reply is None or clock.wants_look(int(reply[0]), asked_s):
            await self._clock.look(partition)
        if reply is None:
            return Promotion(0, 0, ())
        overdue = tuple(cast("bytes", job).decode() for job in reply[3:])
        return Promotion(int(reply[1]), int(reply[2]), overdue)

    async def promote_blocked(self, partition: int) -> BlockedPage:
        """Let blocked jobs of a partition wait for a runner that only programs other than this one
        could not read; look at one page per call. Raises a leaf of Unavailable, without a retry.
        """
        if (await self._clock.of(partition)).is_holding(steady_s()):
            return BlockedPage(0, ())  # the server's clock was just set: nobody is late by it
        reply = await scripts.promote_blocked(
            self._redis,
            blocked=self._keys.blocked(partition),
            later=self._keys.later(partition),
            tag=self._keys.tag(partition),
            reads=self._reads,
            first=self._blocked_page.get(partition, 0),
            most=BLOCKED_PAGE,
            wake_channel=self._keys.wake_at(partition),
            wake_message=f"dispatch {partition}",
        )
        self._blocked_page[partition] = int(reply[0])
        return BlockedPage(int(reply[1]), tuple(cast("bytes", job).decode() for job in reply[2:]))


async def end_overdue(log: Log, job_id: str) -> None:
    """End a job that waits past its deadline; one that has started has met it, and waits on.

    A runner of Everfold does the same by itself. One that cannot be read is left to a runner that
    can; what was claimed or has ended in the meantime stays as it is. Raises a leaf of
    Unavailable, a leaf of CorruptLog where its keys hold something else.
    """
    if await command(log.redis, "HGET", log.keys.head(job_id), "blocked"):
        return
    chain = await job_chain(log, job_id)
    records = chain.events
    if chain.outcome != b"page" or not records:
        return  # some of its events are not in the log
    if any(isinstance(record.event, Unreadable) for record in records):
        return
    if (end := _end_of(records)) is None:
        key = log.keys.deadlines(log.keys.partition_of(job_id))
        await command(log.redis, "ZREM", key, job_id)
        return
    with suppress(JobLeased, JobClosed, JobUnknown, WrongExpectedSequence):
        await log.append(job_id, end, epoch=UNLEASED, expected=records[0].seq)


def _end_of(newest_first: list[Recorded]) -> Canceled | Expired | None:
    """Return how the job ends, None where its queue deadline is met."""
    events = [record.event for record in newest_first]
    for event in events:
        if isinstance(event, CancelRequested):
            attempts = [other.attempt for other in events if isinstance(other, Submitting)]
            return Canceled(reason=event.reason, attempt=max(attempts, default=0))
    if any(isinstance(event, Started | Progressed | Retried) for event in events):
        return None
    return Expired(reason="queue_deadline")
