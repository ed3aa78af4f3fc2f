"""What happened to jobs while a reader of the farm was away, by the place that it was at.

Rule: nothing is left out in silence. EVENTS_LIMIT events are read; where there were more, or where
some are not in the log any more, it says so, and the reader asks the lists again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.events.record import entry_order
from everfold.streams.reading.reader import merged, partition_events
from everfold.streams.reading.readers import trimmed_to
from everfold.web.farm.reading import AT_ONCE, jobs_at_least
from everfold.web.own.events.cursors import Cursors

EVENTS_LIMIT = 50_000


class ComingBack:
    """Reads which jobs changed after a place."""

    def __init__(self, log: Log, cursors: Cursors) -> None:
        self._log, self._cursors = log, cursors
        self.has_missed = False
        """Whether more may have changed than was read."""

    async def jobs(self) -> AsyncIterator[list[Job]]:
        """Yield the jobs as they are now, some at a time. Raises a leaf of Unavailable."""
        after = self._cursors.entry_ids
        gone = await asyncio.gather(*(trimmed_to(self._log, partition) for partition in after))
        self.has_missed = any(
            entry_order(bound.entry_id) > entry_order(after[partition])
            for partition, bound in zip(after, gone, strict=True)
        )
        readers = [partition_events(self._log, p, entry_id) for p, entry_id in after.items()]
        changed, events = dict[str, int](), 0
        async for record in merged(readers):
            if record.job_id:
                changed[record.job_id] = record.seq
            events += 1
            if events > EVENTS_LIMIT:
                self.has_missed = True
                break
        job_ids = list(changed)
        for first in range(0, len(job_ids), AT_ONCE):
            some = {job_id: changed[job_id] for job_id in job_ids[first : first + AT_ONCE]}
            yield await jobs_at_least(self._log, some)
