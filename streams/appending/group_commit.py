"""Group commit: appends that wait at the same time travel in one script call per partition.

Rule: one call per partition is in flight at a time, so that a batch whose reply was lost can be
repeated before anything newer: the event ids make that safe. A caller that is cancelled leaves
its event on its way, if it is on its way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from everfold.streams.appending.outcomes import Appended
from everfold.streams.errors import Unavailable
from everfold.streams.redis.pipelining import resolve
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.scripts import NewEvent

BATCH_LIMIT = 256
"""Events per script call: long enough to pay, short enough (about 4 ms) for other clients."""

PER_JOB_LIMIT = 8
"""A head remembers its last eight event ids, so no more of one job may be in doubt at once."""

Outcome = Appended | Exception
Write = Callable[[Sequence[NewEvent]], Awaitable[Sequence[Outcome]]]


class _Waiting(Struct, eq=False):
    event: NewEvent
    give_up_at_s: float
    appended: asyncio.Future[Appended]

    @property
    def is_over(self) -> bool:
        """Say whether its caller has its outcome, or was cancelled."""
        return self.appended.done()


class GroupCommit:
    """Gathers the appends of one partition. `retry_for_s`: how long each caller waits for an
    unreachable server before it gets Unavailable."""

    def __init__(self, write: Write, retry_for_s: float) -> None:
        self._write = write
        self._retry_for_s = retry_for_s
        self._waiting: deque[_Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None
        """Writes while anything waits."""

    async def append(self, event: NewEvent) -> Appended:
        """Append one event; raises the refusal, or Unavailable when the outcome is unknown.

        A caller that is cancelled meanwhile does not know whether its event was appended.
        """
        give_up_at_s = time.monotonic() + self._retry_for_s
        mine = _Waiting(event, give_up_at_s, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        return await mine.appended

    async def _write_all(self) -> None:
        """Write batch by batch until nothing waits."""
        try:
            while self._waiting:
                await self._write_with_retry(self._next_batch())
                # Whoever was woken by this reply appends in the same turn of the loop.
                await asyncio.sleep(0)
        finally:
            self._writer = None

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        per_job: dict[str, int] = {}
        while self._waiting and len(batch) < BATCH_LIMIT:
            if self._waiting[0].is_over:
                self._waiting.popleft()
                continue
            job_id = self._waiting[0].event.job_id
            per_job[job_id] = per_job.get(job_id, 0) + 1
            if per_job[job_id] > PER_JOB_LIMIT:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _write_with_retry(self, batch: Sequence[_Waiting]) -> None:
        """Write until everybody has an outcome, or no patience any more."""
        backoff = Backoff(first_s=0.02, most_s=1.0)
        while batch:
            await self._try(batch)
            batch = [one for one in batch if not one.is_over]
            if batch:
                await asyncio.sleep(backoff.next_s())

    async def _try(self, batch: Sequence[_Waiting]) -> None:
        outcomes: Sequence[Outcome]
        try:
            outcomes = await self._write([waiting.event for waiting in batch])
        except Unavailable as error:
            self._give_up(batch, error)
            return
        except Exception as error:  # whatever it is, no caller may be left waiting
            outcomes = [error] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            resolve(waiting.appended, outcome)

    def _give_up(self, batch: Sequence[_Waiting], error: Unavailable) -> None:
        """Tell everybody whose patience is over, also those that were never sent: each of them
        would else wait out the patience of all batches in front."""
        now_s = time.monotonic()
        for waiting in (*batch, *self._waiting):
            if waiting.give_up_at_s <= now_s:
                resolve(waiting.appended, error)
