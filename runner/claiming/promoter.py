"""Dispatches delayed jobs that are due, and ends waiting jobs that are overdue: their queue
deadline has passed, or they were asked to be canceled as they waited.

Rule: every runner does this for every partition; the script makes repetition harmless.
"""

from __future__ import annotations

import logging

import anyio

from everfold.projector.reading.queries import from_log
from everfold.runner.execution.shared import Shared
from everfold.streams.appending.log import UNLEASED
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.events.event import Canceled, Expired
from everfold.streams.redis.retry import Backoff

logger = logging.getLogger("everfold.runner")

EVERY_S = 0.5


class Promoter:
    """Promotes every EVERY_S seconds."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def run(self) -> None:
        """Promote until cancelled; back off while the server is away."""
        backoff = Backoff()
        while True:
            try:
                for partition in range(self._shared.log.keys.partitions):
                    await self._promote(partition)
                backoff.reset()
                await anyio.sleep(EVERY_S)
            except EverfoldError as error:
                logger.warning("promoter_waits why=%r", str(error))
                await anyio.sleep(backoff.next_s())

    async def _promote(self, partition: int) -> None:
        promotion = await self._shared.dispatch.promote(partition)
        for job_id in promotion.overdue:
            await self._end(job_id)

    async def _end(self, job_id: str) -> None:
        log, end = self._shared.log, Expired(reason="queue_deadline")
        try:
            job = await from_log(log, job_id)
            canceled = Canceled(reason=job.reason, attempt=job.attempt)
            await log.append(job_id, canceled if job.is_canceling else end, epoch=UNLEASED)
        except Unavailable:
            raise
        except EverfoldError:
            return  # it was claimed or has ended in the meantime
