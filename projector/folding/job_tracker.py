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
from everfold.streams.events.event import Progressed
from everfold.streams.events.record import Recorded
from everfold.streams.retention.history import job_history

CACHED_JOBS = 20_000

CACHED_BYTES = 16 * 1024 * 1024
"""Bytes of cached jobs, counted as the JSON of the events that they were folded from."""

JOB_BYTES = 1024
"""What a cached job costs beside what its events say."""


class JobTracker:
    """Follows the jobs of one partition through its log, with open ones cached: CACHED_JOBS of
    them and CACHED_BYTES at most, or one that is larger.

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
        self._jobs: OrderedDict[str, tuple[Job, int]] = OrderedDict()
        """Job id -> the job, and its bytes."""
        self.cached_bytes = 0

    def clear(self) -> None:
        """Drop all cached jobs."""
        self._jobs.clear()
        self.cached_bytes = 0

    def size_of(self, job_id: str) -> int:
        """Return the bytes of a cached job, 0 for one that is not cached."""
        return self._jobs[job_id][1] if job_id in self._jobs else 0

    async def after(self, record: Recorded) -> Job:
        """Return the job after an event; reads its history unless the event before is cached.

        Raises BrokenChain where earlier events are missing, JobUnknown where none is left, and
        Unavailable. Caches the job, in the place of those that were not used for longest.
        """
        before, size = self._jobs.pop(record.job_id, (Job(), 0))
        self.cached_bytes -= size
        if before.seq != record.seq - 1:
            before, size = await self._before(record)
        job = evolve(before, record)
        size += _bytes_of(record)
        self._jobs[record.job_id] = job, size
        self.cached_bytes += size
        while len(self._jobs) > 1 and (
            self.cached_bytes > CACHED_BYTES or len(self._jobs) > CACHED_JOBS
        ):
            self._drop(next(iter(self._jobs)))
        return job

    def evict(self) -> None:
        """Drop the jobs that have ended: nothing follows."""
        for job_id in [name for name, (job, _) in self._jobs.items() if job.is_terminal]:
            self._drop(job_id)

    def _drop(self, job_id: str) -> None:
        self.cached_bytes -= self._jobs.pop(job_id)[1]

    async def _before(self, record: Recorded) -> tuple[Job, int]:
        history = await job_history(self.log, record.job_id, self._archive, until=record.entry_id)
        earlier = await self._marked([event for event in history if event.seq < record.seq])
        job = fold(earlier)
        if job.seq != record.seq - 1:
            raise BrokenChain(record.job_id, job.seq + 1, record.seq)
        size = sum(map(_bytes_of, earlier))
        return replace(job, unreadable_seq=self._first_unreadable(history, record)), size

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


def _bytes_of(record: Recorded) -> int:
    """Return what a job keeps of an event; of progress only the last one counts."""
    if isinstance(record.event, Progressed):
        return 0
    return len(record.payload) + (JOB_BYTES if record.seq == 1 else 0)
