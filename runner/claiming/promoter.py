"""Moves jobs whose time has come to dispatch, and ends those that waited too long.

Rule: every runner does it for every partition; the script makes that harmless.
"""

from __future__ import annotations

import anyio

from everfold.runner.execution.shared import Shared
from everfold.streams.appending.log import UNLEASED
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.events.event import Expired
from everfold.streams.redis.retry import Backoff

EVERY_S = 0.5


class Promoter:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                for partition in range(self._shared.log.keys.partitions):
                    await self._promote(partition)
                backoff.reset()
                await anyio.sleep(EVERY_S)
            except Unavailable:
                await anyio.sleep(backoff.next_s())

    async def _promote(self, partition: int) -> None:
        promotion = await self._shared.dispatch.promote(partition)
        for job_id in promotion.overdue:
            await self._expire(job_id)

    async def _expire(self, job_id: str) -> None:
        try:
            await self._shared.log.append(job_id, Expired(reason="queue_deadline"), epoch=UNLEASED)
        except Unavailable:
            raise
        except EverfoldError:
            return  # a runner has just taken it, or it has ended
