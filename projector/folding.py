"""Folding entries in memory: from the states before a batch to what must be written after it.

Rule: nothing is written here but the removal of a state that nobody can read. What is kept in
memory is only what was committed.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from projector.commit import Change
from projector.evolve import evolve, fold
from projector.job import Job
from projector.stored import read_state, read_states
from streams.border import command
from streams.codec import Unreadable
from streams.errors import BrokenChain, JobUnknown
from streams.log import Log
from streams.reader import job_events
from streams.record import Recorded

logger = logging.getLogger("everfold.projector")

_NONE = Job()


class Parked(Struct, frozen=True):
    """Why a job is no longer folded, and since which event."""

    seq: int
    entry_id: str
    why: str
    at_ms: int = 0
    """Time of that event, Unix ms."""


class Folded(Struct, frozen=True):
    changes: list[Change]
    parked: dict[str, Parked]


class Folding:
    """The states of one partition's jobs, as many as `most` of them in memory."""

    def __init__(self, log: Log, most: int) -> None:
        self._log, self._most = log, most
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._expired: set[str] = set()
        self._parked: dict[str, Parked] = {}

    def forget(self, parked: Mapping[bytes, bytes]) -> None:
        """Begin anew, with only what the partition's hash of parked jobs says."""
        self._jobs.clear()
        self._expired.clear()
        self._parked = {
            job_id.decode(): msgspec.json.decode(text, type=Parked)
            for job_id, text in parked.items()
        }

    async def fold(self, batch: Sequence[Recorded]) -> Folded:
        """Return what a batch changes; it may be folded again until `keep` is called."""
        before: dict[str, Job] = await self._loaded(batch)
        after: dict[str, Job] = {}
        parked: dict[str, Parked] = {}
        for record in batch:
            job_id = record.job_id
            if job_id in self._parked or job_id in parked:
                continue
            if isinstance(record.event, Unreadable):
                parked[job_id or record.entry_id] = _park(record, record.event.why)
                continue
            job = after.get(job_id) or before.get(job_id, _NONE)
            if record.seq <= job.seq + 1:
                after[job_id] = evolve(job, record)
                continue
            try:
                after[job_id] = await self._from_log(job, record)
            except BrokenChain as error:
                parked[job_id] = _park(record, str(error))
        return Folded(self._changes(before, after), parked)

    def _changes(self, before: Mapping[str, Job], after: Mapping[str, Job]) -> list[Change]:
        changes = []
        for job_id, job in after.items():
            base = before.get(job_id, _NONE)
            if job.seq > base.seq:
                changes.append(Change(_NONE if job_id in self._expired else base, job))
        return changes

    async def _loaded(self, batch: Sequence[Recorded]) -> dict[str, Job]:
        """Return the states before the batch, as far as there are any."""
        job_ids = {record.job_id for record in batch}
        before = {job_id: self._jobs[job_id] for job_id in job_ids & self._jobs.keys()}
        begun = {record.job_id for record in batch if record.seq == 1}
        missing = list(job_ids - before.keys() - begun - {""})
        found = zip(missing, await read_states(self._log, missing), strict=True)
        return before | {job_id: job for job_id, job in found if job is not None}

    async def _from_log(self, job: Job, record: Recorded) -> Job:
        """Return the state after `record` where the events between are known to the log alone.

        A state that has ended and expired stays away. Raises BrokenChain.
        """
        try:
            events = await job_events(self._log, record.job_id, after_seq=job.seq)
        except JobUnknown:
            events = []
        between = [event for event in events if event.seq < record.seq]
        earlier = fold(between, job)
        if len(between) != record.seq - job.seq - 1 or earlier.seq != record.seq - 1:
            raise BrokenChain(record.job_id, job.seq + 1, record.seq)
        return job if earlier.is_terminal and not job.seq else evolve(earlier, record)

    async def read_again(self, stored: Mapping[str, int]) -> None:
        """Correct what is in memory after a gap; `stored` is the real seq of each job's state."""
        for job_id, seq in stored.items():
            if seq == 0 and job_id in self._jobs:
                self._expired.add(job_id)  # what is in memory is right, and is written whole
                continue
            self._jobs.pop(job_id, None)
            self._expired.discard(job_id)
            job = await read_state(self._log, job_id)
            if job is not None:
                self._jobs[job_id] = job
            elif seq:
                logger.error("state_unreadable job=%s", job_id)
                await command(self._log.redis, "DEL", self._log.keys.job(job_id))

    def keep(self, folded: Folded) -> None:
        """Keep in memory what was committed."""
        self._parked |= folded.parked
        self._expired.clear()
        for change in folded.changes:
            job = change.after
            self._jobs.pop(job.job_id, None)
            if not job.is_terminal:
                self._jobs[job.job_id] = job
        while len(self._jobs) > self._most:
            self._jobs.popitem(last=False)


def _park(record: Recorded, why: str) -> Parked:
    logger.error("job_parked job=%s seq=%s why=%r", record.job_id, record.seq, why)
    return Parked(record.seq, record.entry_id, why, record.time_ms)
