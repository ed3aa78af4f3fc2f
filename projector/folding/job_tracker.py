"""The job as it is right after each event, for subscriptions and custom projections.

Rule: it is folded from the log alone, so it matches the event whatever the lag of the stored jobs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from msgspec.structs import replace

from everfold.projector.folding.parking import with_skips, without
from everfold.projector.job.evolve import evolve
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded
from everfold.streams.retention.history import job_history

CACHED_JOBS = 20_000


class JobTracker:
    """Follows the jobs of one partition through its log, with up to CACHED_JOBS of them cached.

    With `past_unreadable` a job is folded on without its unreadable events, and says so by its
    `unreadable_seq`; without it, only without those that an operator skipped.
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

    def clear(self) -> None:
        """Drop all cached jobs."""
        self._jobs.clear()

    async def after(self, record: Recorded) -> Job:
        """Return the job after an event; reads its history unless the event before is cached.

        Raises BrokenChain where earlier events are missing, JobUnknown where none is left, and
        Unavailable. Caches the job, even beyond the limit; see `evict`.
        """
        before = self._jobs.pop(record.job_id, None) or Job()
        if before.seq != record.seq - 1:
            before = await self._before(record)
        job = evolve(before, record)
        self._jobs[record.job_id] = job
        return job

    def evict(self) -> None:
        """Drop cached jobs above the limit, the least recently used first."""
        while len(self._jobs) > CACHED_JOBS:
            self._jobs.popitem(last=False)

    async def _before(self, record: Recorded) -> Job:
        history = await job_history(self.log, record.job_id, self._archive)
        earlier = await self._marked([event for event in history if event.seq < record.seq])
        job = fold(earlier)
        if job.seq != record.seq - 1:
            raise BrokenChain(record.job_id, job.seq + 1, record.seq)
        return replace(job, unreadable_seq=self._first_unreadable(history, record))

    async def _marked(self, events: Sequence[Recorded]) -> Sequence[Recorded]:
        if self._past_unreadable:
            return [without(event) for event in events]
        return await with_skips(self.log, self.partition, events)

    def _first_unreadable(self, history: Sequence[Recorded], record: Recorded) -> int:
        """Return the first event before `record` that a job is folded on without, 0 for none."""
        if not self._past_unreadable:
            return 0
        passed = (
            event.seq
            for event in history
            if event.seq < record.seq
            and isinstance(event.event, Unreadable)
            and not event.event.skipped
        )
        return next(passed, 0)
