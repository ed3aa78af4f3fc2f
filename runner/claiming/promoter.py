"""Dispatches delayed jobs that are due and jobs that only others could not read. Ends waiting jobs
that are overdue: their deadline has passed, they are to be canceled, or nobody could read them.

Rule: every runner does this for every partition; the script makes repetition harmless.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from everfold.projector.folding.parking import is_blocked
from everfold.projector.reading.queries import from_log
from everfold.runner.claiming.clock_check import wait_for_other_looks
from everfold.runner.claiming.trouble import note_trouble
from everfold.runner.claiming.work_finder import WorkFinder
from everfold.runner.decisions.bounds import has_started
from everfold.runner.execution.shared import Shared
from everfold.runner.execution.unreadable_job import end_blocked, read_remains
from everfold.streams.appending.log import UNLEASED
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.events.event import Canceled, Expired
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.rounds import Rounds

EVERY_S = 0.5


class Promoter:
    """Promotes every EVERY_S seconds."""

    def __init__(self, shared: Shared, work: WorkFinder) -> None:
        self._shared, self._work = shared, work

    async def run(self) -> None:
        """Promote until cancelled; a partition that does not answer holds back no other one."""
        backoff = Backoff()
        async with Rounds(self._shared.log) as rounds:
            while True:
                looks = await rounds.together(self._look)
                found = [partition for partition, is_due in looks.values.items() if is_due]
                outcomes = await rounds.go(self._promote, found)
                if (failure := looks.failure or outcomes.failure) is not None:
                    note_trouble("promoter", failure)
                does_answer = bool(outcomes.values if found else looks.values)
                if does_answer:
                    backoff.reset()
                await anyio.sleep(EVERY_S if does_answer else backoff.next_s())

    async def _look(self, partitions: Sequence[int]) -> dict[int, bool]:
        """Say of partitions of one server whether there is something to promote."""
        work = await self._work.of_all(partitions)
        return {partition: found.is_due for partition, found in work.items()}

    async def _promote(self, partition: int) -> None:
        await wait_for_other_looks(self._shared.dispatch.clock, partition)
        promotion = await self._shared.dispatch.promote(partition)
        for job_id in promotion.overdue:
            await self._end(partition, job_id)
        for job_id in (await self._shared.dispatch.promote_blocked(partition)).over:
            await end_blocked(self._shared.log, job_id)

    async def _end(self, partition: int, job_id: str) -> None:
        log, end = self._shared.log, Expired(reason="queue_deadline")
        try:
            if await is_blocked(log, job_id):
                await self._end_unstarted(partition, job_id)
                return
            job = await from_log(log, job_id)
            if has_started(job) and not job.is_canceling:
                await self._forget_deadline(partition, job_id)
                return
            canceled = Canceled(reason=job.reason, attempt=job.attempt)
            await log.append(job_id, canceled if job.is_canceling else end, epoch=UNLEASED)
        except Unavailable:
            raise
        except EverfoldError:
            return  # it was claimed or has ended in the meantime

    async def _end_unstarted(self, partition: int, job_id: str) -> None:
        """End a job that was blocked and is overdue; one that has started meets its deadline."""
        log = self._shared.log
        remains = await read_remains(log, job_id)
        if remains.has_started and remains.cancel is None:
            await self._forget_deadline(partition, job_id)
        else:
            await end_blocked(log, job_id, "queue_deadline")

    async def _forget_deadline(self, partition: int, job_id: str) -> None:
        """The job has met its deadline, and waits for its next attempt."""
        log = self._shared.log
        await command(log.redis, "ZREM", log.keys.deadlines(partition), job_id)
