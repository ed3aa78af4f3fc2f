"""What the jobs of a line need of a server, read once from the graph of one of them.

Rule: jobs of one signature need the same. What cannot be read needs nothing that is known: whoever
takes such a job finds out why.
"""

from __future__ import annotations

from collections import OrderedDict

from everfold.streams.appending.earlier_submit import read_first
from everfold.streams.appending.job_input import load_needs
from everfold.streams.appending.log import Log
from everfold.streams.events.needs import Needs
from everfold.streams.queues.waiting_jobs import WaitingJob

KEPT = 2_000
"""Signatures that a runner remembers."""


class WaitingNeeds:
    """The needs of waiting jobs, by signature."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: OrderedDict[str, Needs] = OrderedDict()

    async def of(self, job: WaitingJob) -> Needs:
        """Return what a waiting job needs. Raises a leaf of Unavailable, or CorruptLog."""
        signature = job.signature
        if not signature:
            return Needs()
        if signature in self._known:
            self._known.move_to_end(signature)
            return self._known[signature]
        needs = await self._read(job)
        if needs.signature == signature:
            self._known[signature] = needs
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return needs

    async def _read(self, job: WaitingJob) -> Needs:
        first = await read_first(self._log.redis, self._log.keys, job.job_id)
        if first is None:
            return Needs()
        return await load_needs(self._log, job.job_id, first.stored, first.needs or ())
