"""Group commit: appends that wait at the same time are written by one script call.

Rule: of each job one call is in flight at a time, so that a batch whose reply was lost can be
repeated before anything newer: the event ids make that safe. Cancelling a caller does not recall
an event that was already sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain
from typing import TypeVar, cast

from msgspec import Struct

from everfold.streams.appending.outcomes import Appended
from everfold.streams.connections.pipelining import resolve
from everfold.streams.errors import Fenced, TooFewReplicas, Unavailable
from everfold.streams.events.limits import BATCH_LIMIT_BYTES
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.scripts import NewEvent
from everfold.streams.telemetry.measures import counter

BATCH_LIMIT = 256
"""Events per script call: many enough to pay, few enough (4 to 9 ms) for other clients."""

BATCH_BYTES = BATCH_LIMIT_BYTES
"""Bytes per script call, unless one event alone is larger: what one call cannot carry in time, a
repeat of it could not either."""

PER_JOB_LIMIT = 8
"""A head remembers its last eight event ids, so no more of one job may be in doubt at once."""

CALLS = 2
"""Script calls in flight at most, each with the events of a part of the jobs."""

MANY = 64
"""Fewer events of a part wait for the call in flight and travel together: a call costs the server,
and this process, more than an event does. With more, one call is made ready during the other."""

Outcome = Appended | Exception
Write = Callable[[Sequence[NewEvent]], Awaitable[Sequence[Outcome]]]


FENCED = counter(
    "everfold_fenced_appends", "Events refused because another runner has taken the job over."
)

Kind = TypeVar("Kind")


def counted(outcome: Kind) -> Kind:
    """Return an outcome; one that is Fenced is counted, and nothing was written then."""
    if isinstance(outcome, Fenced):
        FENCED.add()
    return outcome


class _PendingAppend(Struct, eq=False):
    event: NewEvent
    give_up_at_s: float
    appended: asyncio.Future[Appended]

    @property
    def is_over(self) -> bool:
        """Whether its caller has its outcome, or was cancelled."""
        return self.appended.done()


def _part_of(event: NewEvent) -> int:
    """Return in which part of the jobs an event's is, the same for all of this process."""
    return hash(event.job_id) % CALLS


class GroupCommit:
    """Gathers the appends of some partitions and writes them in batches, each job's in its order.

    `write` writes a batch and returns one outcome per event. `retry_for_s` is how many seconds
    each caller waits for an unreachable server before it gets Unavailable. What too few replicas
    have is written, so it is repeated with what came after it.
    """

    def __init__(self, write: Write, retry_for_s: float) -> None:
        self._write = write
        self._retry_for_s = retry_for_s
        self._pending = tuple(deque[_PendingAppend]() for _ in range(CALLS))
        """By the part to which the job belongs."""
        self._writers: set[asyncio.Task[None]] = set()
        """One runs while an append is pending, another one while MANY are."""
        self._under_way = set[int]()
        """Parts with events in a call that is in flight, or is to be repeated."""

    async def append(self, event: NewEvent) -> Appended:
        """Append one event, with others of the same moment.

        Raises what `write` returned for it, or Unavailable after `retry_for_s`: then the event may
        have been appended. A caller that is cancelled does not know either.
        """
        return await self.append_soon(event)

    def append_soon(self, event: NewEvent) -> asyncio.Future[Appended]:
        """Put an event among those that are written next; to be awaited as `append`."""
        give_up_at_s = time.monotonic() + self._retry_for_s
        mine = _PendingAppend(event, give_up_at_s, asyncio.get_running_loop().create_future())
        part = _part_of(event)
        self._pending[part].append(mine)
        self._wake_writer(part)
        return mine.appended

    def _wake_writer(self, part: int) -> None:
        """Start a writer where there is none, or where a part has enough for a call of its own."""
        count = len(self._writers)
        if count == 0 or (count < CALLS and len(self._pending[part]) >= MANY):
            self._writers.add(asyncio.create_task(self._write_all()))

    async def _write_all(self) -> None:
        """Write batch by batch until nothing is pending, or is left to the other writer."""
        backoff = Backoff(first_s=0.02, most_s=1.0)
        try:
            while parts := self._next_parts():
                self._under_way.update(parts)
                for other in set(range(CALLS)) - self._under_way:
                    self._wake_writer(other)
                try:
                    left = await self._write_with_retry(self._next_batch(parts), backoff)
                finally:
                    self._under_way.difference_update(parts)
                for pending in reversed(left):
                    self._pending[_part_of(pending.event)].appendleft(pending)
                await self._until_gathered()
        finally:
            self._writers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _until_gathered(self) -> None:
        """Give callers that the last reply has woken the turns of the event loop that they need for
        their next append: those of one moment stay together. Ends when a turn brings none."""
        before, count = -1, 0
        while before < count < MANY:
            before = sum(map(len, self._pending))
            await asyncio.sleep(0)
            count = sum(map(len, self._pending))

    def _next_parts(self) -> list[int]:
        """Return whose events the next call carries: all while few wait, else those of one part;
        none while few wait and a call is in flight."""
        free = [part for part in range(CALLS) if part not in self._under_way]
        many = [part for part in free if len(self._pending[part]) >= MANY]
        if many or self._under_way:
            return many[:1]
        waiting = [part for part in free if self._pending[part]]
        return sorted(waiting, key=lambda part: self._pending[part][0].give_up_at_s)

    def _next_batch(self, parts: Iterable[int]) -> list[_PendingAppend]:
        batch: list[_PendingAppend] = []
        per_job: dict[str, int] = {}
        size = 0
        for pending in (self._pending[part] for part in parts):
            while pending and len(batch) < BATCH_LIMIT:
                if pending[0].is_over:
                    pending.popleft()
                    continue
                job_id = pending[0].event.job_id
                per_job[job_id] = per_job.get(job_id, 0) + 1
                size += len(pending[0].event.payload)
                if per_job[job_id] > PER_JOB_LIMIT or (batch and size > BATCH_BYTES):
                    break
                batch.append(pending.popleft())
        return batch

    async def _write_with_retry(
        self, batch: Sequence[_PendingAppend], backoff: Backoff
    ) -> Sequence[_PendingAppend]:
        """Write until it is written, or every caller has an outcome; return those without one,
        which too few replicas have."""
        while batch:
            is_written = await self._try(batch)
            batch = [pending for pending in batch if not pending.is_over]
            if not batch:
                backoff.reset()
                break
            await asyncio.sleep(backoff.next_s())
            if is_written:
                break
        return batch

    async def _try(self, batch: Sequence[_PendingAppend]) -> bool:
        """Write a batch; say whether it is written, also where too few replicas have it."""
        outcomes: Sequence[Outcome]
        try:
            outcomes = await self._write([pending.event for pending in batch])
        except Unavailable as error:
            self._give_up(batch, error)
            return False
        except Exception as error:  # whatever it is, no caller may be left waiting
            outcomes = [error] * len(batch)
        for pending, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, TooFewReplicas):
                resolve(pending.appended, counted(outcome))
            elif pending.give_up_at_s <= time.monotonic():
                resolve(pending.appended, outcome)
        return True

    def _give_up(self, batch: Sequence[_PendingAppend], error: Unavailable) -> None:
        """Raise it in every caller whose time to retry is over, also in those that were never
        sent: each of them would else wait for the retries of all batches in front."""
        now_s = time.monotonic()
        for pending in chain(batch, *self._pending):
            if pending.give_up_at_s <= now_s:
                resolve(pending.appended, error)
