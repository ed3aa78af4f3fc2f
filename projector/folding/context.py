"""The job of each event, as it is right after it, for projections that look at both.

Rule: it is folded from the log alone, so that it fits to the event however far other projections
are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from everfold.projector.folding.parking import with_skips, without
from everfold.projector.job.evolve import evolve
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain
from everfold.streams.events.record import Recorded
from everfold.streams.retention.history import job_history

CACHED_JOBS = 20_000


class Context:
    """The jobs of one partition, in the order of its log.

    With `past_unreadable` a job is folded on without the events that nobody can read.
    """

    def __init__(
        self,
        log: Log,
        partition: int,
        archive: Archive | None = None,
        *,
        past_unreadable: bool = False,
    ) -> None:
        self.log, self.partition, self._archive = log, partition, archive
        self._past_unreadable = past_unreadable
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def forget(self) -> None:
        self._jobs.clear()

    async def after(self, record: Recorded) -> Job:
        """Return the job after an event. Raises BrokenChain where events before it are missing."""
        before = self._jobs.pop(record.job_id, None) or Job()
        if before.seq != record.seq - 1:
            before = await self._before(record)
        job = evolve(before, record)
        self._jobs[record.job_id] = job
        return job

    def keep(self) -> None:
        """Forget what is not needed any more: the batch was committed."""
        while len(self._jobs) > CACHED_JOBS:
            self._jobs.popitem(last=False)

    async def _before(self, record: Recorded) -> Job:
        events = await job_history(self.log, record.job_id, self._archive)
        told = await self._told([event for event in events if event.seq < record.seq])
        job = fold(told)
        if job.seq != record.seq - 1:
            raise BrokenChain(record.job_id, job.seq + 1, record.seq)
        return job

    async def _told(self, events: Sequence[Recorded]) -> Sequence[Recorded]:
        if self._past_unreadable:
            return [without(event) for event in events]
        return await with_skips(self.log, self.partition, events)
