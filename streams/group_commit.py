"""Group commit: appends that wait at the same time travel in one script call per partition.

Rule: whoever finds nobody writing leads; the others follow and are woken with their outcome, the
first one left over with the lead. One call per partition is in flight at a time, so that a batch
whose reply was lost can be repeated before anything newer: the event ids make that safe.
"""

from __future__ import annotations

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
    woken: anyio.Event
    outcome: Outcome | None = None


class GroupCommit:
    """Gathers the appends of one partition. `patience_s`: how long an unreachable server is
    tried again before the callers get Unavailable."""

    def __init__(self, write: Write, patience_s: float) -> None:
        self._write = write
        self._patience_s = patience_s
        self._waiting: deque[_Waiting] = deque()
        self._led = False

    async def append(self, event: NewEvent) -> Appended:
        """Append one event; raises the refusal, or Unavailable when the outcome is unknown.

        A caller that is cancelled meanwhile does not know whether its event was appended.
        """
        mine = _Waiting(event, anyio.Event())
        self._waiting.append(mine)
        if self._led:
            await self._follow(mine)
        if mine.outcome is None:
            await self._lead()
        if isinstance(mine.outcome, Appended):
            return mine.outcome
        assert mine.outcome is not None
        raise mine.outcome

    async def _follow(self, mine: _Waiting) -> None:
        try:
            await mine.woken.wait()
        except BaseException:
            # Cancelled: the place in the queue must not become a lead that nobody takes.
            if mine in self._waiting:
                self._waiting.remove(mine)
            if mine.woken.is_set() and mine.outcome is None:
                self._pass_lead_on()
            raise

    async def _lead(self) -> None:
        """Write one batch, which holds the leader's own event, and pass the lead on."""
        self._led = True
        batch = self._next_batch()
        with anyio.CancelScope(shield=True):
            outcomes = await self._write_patiently([waiting.event for waiting in batch])
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.outcome = outcome
            waiting.woken.set()
        self._pass_lead_on()

    def _pass_lead_on(self) -> None:
        self._led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].woken.set()

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

    async def _write_patiently(self, events: Sequence[NewEvent]) -> Sequence[Outcome]:
        backoff = Backoff(first_s=0.02, most_s=1.0)
        give_up_at_s = anyio.current_time() + self._patience_s
        while True:
            try:
                return await self._write(events)
            except Unavailable as error:
                if anyio.current_time() >= give_up_at_s:
                    return [error] * len(events)
            except Exception as error:  # whatever it is, no caller may be left waiting
                return [error] * len(events)
            await anyio.sleep(backoff.next_s())
