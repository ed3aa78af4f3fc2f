"""Group commit: appends that wait at the same time travel in one script call per partition.

Rule: whoever finds nobody writing leads; the others follow and are woken with their outcome, the
first one left over with the lead. One call per partition is in flight at a time, so that a batch
whose reply was lost can be repeated before anything newer: the event ids make that safe.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import anyio
from msgspec import Struct

from streams.backoff import Backoff
from streams.errors import Unavailable
from streams.outcomes import Appended
from streams.scripts import NewEvent

BATCH_LIMIT = 256
"""Events per script call: long enough to pay, short enough (about 4 ms) for other clients."""

PER_JOB_LIMIT = 8
"""A head remembers its last eight event ids, so no more of one job may be in doubt at once."""

Outcome = Appended | Exception
Write = Callable[[Sequence[NewEvent]], Awaitable[Sequence[Outcome]]]


class _Waiting(Struct, eq=False):
    event: NewEvent
    give_up_at_s: float
    woken: asyncio.Future[None] | None = None
    """Of a follower. A plain future: an event for each append would cost as much as the append."""
    chosen: bool = False
    """It was woken to lead."""
    outcome: Outcome | None = None
    gone: bool = False
    """Its caller was cancelled: nobody would take the lead."""

    def settle(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.wake()

    def wake(self) -> None:
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)


class GroupCommit:
    """Gathers the appends of one partition. `patience_s`: how long each caller waits for an
    unreachable server before it gets Unavailable."""

    def __init__(self, write: Write, patience_s: float) -> None:
        self._write = write
        self._patience_s = patience_s
        self._waiting: deque[_Waiting] = deque()
        self._led = False

    async def append(self, event: NewEvent) -> Appended:
        """Append one event; raises the refusal, or Unavailable when the outcome is unknown.

        A caller that is cancelled meanwhile does not know whether its event was appended.
        """
        mine = _Waiting(event, time.monotonic() + self._patience_s)
        self._waiting.append(mine)
        if self._led:
            await self._follow(mine)
        if mine.outcome is None:
            await self._lead(mine)
        if isinstance(mine.outcome, Appended):
            return mine.outcome
        assert mine.outcome is not None
        raise mine.outcome

    async def _follow(self, mine: _Waiting) -> None:
        mine.woken = asyncio.get_running_loop().create_future()
        try:
            await mine.woken
        except BaseException:
            # Cancelled: the place in the queue must not become a lead that nobody takes.
            mine.gone = True
            if mine in self._waiting:
                self._waiting.remove(mine)
            if mine.chosen and mine.outcome is None:
                self._pass_lead_on()
            raise

    async def _lead(self, mine: _Waiting) -> None:
        """Write one batch, which begins with the leader's own event, and pass the lead on."""
        self._led = True
        batch: list[_Waiting] = []
        try:
            with anyio.CancelScope(shield=True):
                if not mine.chosen:
                    # Whoever was woken by the same reply appends in the same turn of the loop.
                    await asyncio.sleep(0)
                batch = self._next_batch()
                await self._write_patiently(batch)
        finally:
            if not batch:
                self._waiting.remove(mine)
            # The leader is out of patience, or asyncio's own cancellation broke through the
            # shield: the others' events go first in the next batch, as safe as any repeat.
            left = [one for one in batch[1:] if one.outcome is None and not one.gone]
            self._waiting.extendleft(reversed(left))
            self._pass_lead_on()

    def _pass_lead_on(self) -> None:
        self._led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].chosen = True
            self._waiting[0].wake()

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        per_job: dict[str, int] = {}
        while self._waiting and len(batch) < BATCH_LIMIT:
            job_id = self._waiting[0].event.job_id
            per_job[job_id] = per_job.get(job_id, 0) + 1
            if per_job[job_id] > PER_JOB_LIMIT:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _write_patiently(self, batch: Sequence[_Waiting]) -> None:
        """Write until everybody has an outcome, or the leader's patience is over."""
        backoff = Backoff(first_s=0.02, most_s=1.0)
        while True:
            await self._try(batch)
            if batch[0].outcome is not None:
                return
            await anyio.sleep(backoff.next_s())

    async def _try(self, batch: Sequence[_Waiting]) -> None:
        try:
            outcomes = await self._write([waiting.event for waiting in batch])
        except Unavailable as error:
            self._give_up(batch, error)
            return
        except Exception as error:  # whatever it is, no caller may be left waiting
            outcomes = [error] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.settle(outcome)

    def _give_up(self, batch: Sequence[_Waiting], error: Unavailable) -> None:
        """Tell everybody whose patience is over, also those that were never sent: each of them
        would else wait out the patience of all batches in front."""
        now_s = time.monotonic()
        for waiting in (*batch, *self._waiting):
            if waiting.give_up_at_s <= now_s:
                waiting.settle(error)
        self._waiting = deque(waiting for waiting in self._waiting if waiting.outcome is None)
