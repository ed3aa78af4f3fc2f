"""Group commit: appends that wait at the same time are written by one script call.

Rule: of each partition one call is in flight at a time, so that a batch whose reply was lost can be
repeated before anything newer: the event ids make that safe. Cancelling a caller does not recall
an event that was already sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

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


class GroupCommit:
    """Gathers the appends of some partitions and writes them in batches, in the order they came.

    `write` writes a batch and returns one outcome per event. `retry_for_s` is how many seconds
    each caller waits for an unreachable server before it gets Unavailable. What too few replicas
    have is written, so it is repeated with what came after it.
    """

    def __init__(self, write: Write, retry_for_s: float) -> None:
        self._write = write
        self._retry_for_s = retry_for_s
        self._pending: deque[_PendingAppend] = deque()
        self._writer: asyncio.Task[None] | None = None
        """Runs while an append is pending."""

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
        self._pending.append(mine)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        return mine.appended

    async def _write_all(self) -> None:
        """Write batch by batch until nothing is pending."""
        try:
            while self._pending:
                await self._write_with_retry(self._next_batch())
                # Callers that this reply has woken append in the same turn of the loop.
                await asyncio.sleep(0)
        finally:
            self._writer = None

    def _next_batch(self) -> list[_PendingAppend]:
        batch: list[_PendingAppend] = []
        per_job: dict[str, int] = {}
        size = 0
        while self._pending and len(batch) < BATCH_LIMIT:
            if self._pending[0].is_over:
                self._pending.popleft()
                continue
            job_id = self._pending[0].event.job_id
            per_job[job_id] = per_job.get(job_id, 0) + 1
            size += len(self._pending[0].event.payload)
            if per_job[job_id] > PER_JOB_LIMIT or (batch and size > BATCH_BYTES):
                break
            batch.append(self._pending.popleft())
        return batch

    async def _write_with_retry(self, batch: Sequence[_PendingAppend]) -> None:
        """Write until every caller of the batch has an outcome, or its time to retry is over."""
        backoff = Backoff(first_s=0.02, most_s=1.0)
        while batch:
            is_written = await self._try(batch)
            batch = [pending for pending in batch if not pending.is_over]
            if batch:
                await asyncio.sleep(backoff.next_s())
            if is_written:
                self._pending.extendleft(reversed(batch))
                batch = self._next_batch()

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
        for pending in (*batch, *self._pending):
            if pending.give_up_at_s <= now_s:
                resolve(pending.appended, error)
