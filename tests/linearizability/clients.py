"""Clients that submit, append and read a few jobs at once, and note what they were answered.

Rule: a call that raised Unavailable stays open: nobody knows whether it took effect. Every client
has connections of its own, and asks again by itself as the product does.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from everfold.streams.appending.log import Log
from everfold.streams.errors import JobUnknown, Unavailable, WrongExpectedSequence
from everfold.streams.events.event import Progressed
from everfold.streams.events.ids import new_id
from everfold.streams.reading.reader import job_events
from tests.linearizability.checker import NEVER, Call
from tests.linearizability.job_model import ANY, SUBMITTED, Append, Conflict, Read, Submit

CLIENTS = 6
PAUSE_S = 0.02
RETRY_FOR_S = 3.0
"""Less than a failover takes, so that some calls stay open."""
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


class Clients:
    def __init__(self, logs: Sequence[Log], jobs: Sequence[str], chance: random.Random) -> None:
        self.histories: dict[str, list[Call]] = defaultdict(list)
        """Job -> its calls."""
        self._logs, self._jobs, self._chance = logs, jobs, chance

    @property
    def keys(self) -> list[str]:
        """A key of each job."""
        return [self._logs[0].keys.head(job_id) for job_id in self._jobs]

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Let all clients call until this is left; calls that are under way then stay open."""
        async with anyio.create_task_group() as tasks:
            for log in self._logs:
                tasks.start_soon(self._call_on, log)
            yield
            tasks.cancel_scope.cancel()

    async def _call_on(self, log: Log) -> None:
        seen: dict[str, int] = {}
        while True:
            job_id = self._chance.choice(self._jobs)
            await self._call(log, job_id, seen)
            await anyio.sleep(PAUSE_S * self._chance.random())

    async def _call(self, log: Log, job_id: str, seen: dict[str, int]) -> None:
        asked = self._asked(seen.get(job_id, 0))
        begin_s = time.monotonic()
        end_s, answer = NEVER, None
        try:
            answer = await _answered(log, job_id, asked)
            end_s = time.monotonic()
        except Unavailable:
            pass
        finally:
            # Also when it is cancelled: it may have been sent.
            self.histories[job_id].append(Call(begin_s, end_s, asked, answer))
        if isinstance(answer, tuple):
            seen[job_id] = len(answer)

    def _asked(self, at: int) -> Submit | Append | Read:
        number = self._chance.random()
        if number < 0.05 or (not at and number < 0.3):
            return Submit()
        if number < 0.55:
            return Read()
        return Append(new_id(), at if number < 0.75 and at else ANY)


async def _answered(log: Log, job_id: str, asked: Submit | Append | Read) -> object:
    match asked:
        case Submit():
            await log.submit(GRAPH, job_id=job_id, queue="idle")
            return True
        case Read():
            try:
                ids = [record.event.id for record in await job_events(log, job_id)]  # type: ignore[union-attr]
            except JobUnknown:
                return ()
            return (SUBMITTED, *ids[1:])
        case Append(event_id, expected):
            event = Progressed(id=event_id, attempt=1, value=0.5, nodes_done=0, nodes_total=1)
            try:
                return (await log.append(job_id, event, epoch=0, expected=expected)).seq
            except WrongExpectedSequence as wrong:
                return Conflict(wrong.actual)
            except JobUnknown:
                return Conflict(0)


@asynccontextmanager
async def clients(
    url: str, namespace: str, seed: int, *, jobs: int = 4, replicas: int = 0
) -> AsyncIterator[Clients]:
    """Open the clients of a namespace with 8 partitions; with `replicas`, all writes WAIT."""
    chance = random.Random(seed)
    async with AsyncExitStack() as opened:
        logs = list[Log]()
        for _ in range(CLIENTS):
            log = await opened.enter_async_context(
                Log.open(
                    url,
                    namespace=namespace,
                    partitions=8,
                    replicas=replicas,
                    replicas_for="all",
                )
            )
            log.retry_for_s = RETRY_FOR_S
            logs.append(log)
        yield Clients(logs, [f"job-{seed}-{number}" for number in range(jobs)], chance)
