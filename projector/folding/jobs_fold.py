"""Folds one partition's jobs into their stored states.

Rule: only commit_jobs.lua writes, except that a state which cannot be read is deleted. The cache
holds only what was committed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import anyio

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.job_measures import count_events
from everfold.projector.folding.jobs_commit import FoldedBatch, Part, StateChange
from everfold.projector.folding.jobs_commits import JobsCommits
from everfold.projector.folding.parking import GAP, Parked, park, with_skips
from everfold.projector.folding.projection import (
    CommitRequest,
    Committed,
    Gap,
    NotOwner,
    Outcome,
)
from everfold.projector.folding.run_times import RunTimes
from everfold.projector.folding.stored_jobs import read_stored_job, read_stored_jobs
from everfold.projector.job.fold import begun_anew, fold
from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import BrokenChain, JobUnknown
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Progressed
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.partition_keys import JobsKeys
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.history import job_history

logger = get_logger("everfold.projector")

_NONE = Job()


class JobsFold:
    """Folds one partition, with up to `config.cached_jobs` open jobs cached.

    `commits` writes; `archive` has what is no longer in the log. One that is not `is_live` measures
    nothing: what it folds has happened before. See PartitionFold for the methods.
    """

    def __init__(
        self,
        log: Log,
        partition: int,
        keys: JobsKeys,
        config: ProjectorConfig,
        commits: JobsCommits,
        archive: Archive | None = None,
        *,
        is_live: bool = True,
    ) -> None:
        self.keys = keys
        self._commits = commits
        self._is_live = is_live
        self._run_times = RunTimes(log) if is_live else None
        self._archive = archive
        self._log, self._partition, self._config = log, partition, config
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._expired: set[str] = set()
        self._parked: Mapping[str, Parked] = {}

    def start_over(self, parked: Mapping[str, Parked]) -> None:
        self._jobs.clear()
        self._expired.clear()
        self._parked = parked

    async def commit(self, batch: Sequence[Recorded], request: CommitRequest) -> Outcome:
        while True:
            folded = await self._fold(batch)
            outcome = await self._commit(folded, request)
            if not isinstance(outcome, Gap):
                break
            await self._read_again(outcome.stored)
        if self._run_times is not None:
            await self._run_times.write_due()
        return outcome

    async def retry(self, jobs: Sequence[str], request: CommitRequest) -> Outcome:
        changes, parked = list[StateChange](), dict[str, Parked]()
        for job_id in jobs:
            before = await self._read(job_id) or _NONE
            try:
                events = await job_events(self._log, job_id, after_seq=before.seq)
            except JobUnknown:
                continue  # an entry that belongs to no job
            after = await self._fold_on(before, [*events], parked) if events else before
            if after.seq > before.seq:
                changes.append(StateChange(before, after, records=events))
        unparked = [job_id for job_id in jobs if job_id not in parked]
        batch = FoldedBatch(changes=changes, parked=parked, unparked=unparked)
        outcome = await self._commit(batch, request)
        if isinstance(outcome, Gap):
            # A state has just expired, or is none: give the partition up, begin anew.
            await self._read_again(outcome.stored)
            return NotOwner("")
        return outcome

    async def _commit(self, batch: FoldedBatch, request: CommitRequest) -> Outcome | Gap:
        with anyio.CancelScope(shield=True):
            outcome = await self._commits.write(Part(self._partition, self.keys, request, batch))
        if isinstance(outcome, Committed):
            self._cache(batch)
            if self._run_times is not None:
                _measure(batch, self._run_times)
        return outcome

    async def _fold(self, batch: Sequence[Recorded]) -> FoldedBatch:
        """Return what a batch changes; it may be folded again until it is committed."""
        by_job = self._by_job(batch)
        before = await self._states_before(by_job)
        changes, parked = list[StateChange](), dict[str, Parked]()
        for job_id, records in by_job.items():
            base = before.get(job_id, _NONE)
            begins_at = begun_anew(records, base)
            is_anew = begins_at is not None
            if is_anew:
                base, records = _NONE, records[begins_at:]
            job = fold(records, base) if records[0].seq <= base.seq + 1 else base
            only_progress = base.seq > 0 and all(type(r.event) is Progressed for r in records)
            if job.seq < records[-1].seq or not records[-1].seq:
                job = await self._fold_on(job, records, parked)
                only_progress = False
            if job.seq > base.seq:
                stored = _NONE if job_id in self._expired else base
                is_short = only_progress and stored is base
                noted = () if only_progress else records
                changes.append(StateChange(stored, job, is_short, base, noted, is_anew))
        return FoldedBatch(changes=changes, parked=parked, events=len(batch))

    def _by_job(self, batch: Sequence[Recorded]) -> dict[str, list[Recorded]]:
        """Return each job's events; an entry without a job goes by its entry id."""
        by_job: dict[str, list[Recorded]] = {}
        for record in batch:
            name = record.job_id or record.entry_id
            if name in by_job:
                by_job[name].append(record)
            elif name not in self._parked:
                by_job[name] = [record]
        return by_job

    async def _states_before(self, by_job: Mapping[str, Sequence[Recorded]]) -> dict[str, Job]:
        """Return the states before a batch, cached or stored; those of new jobs are missing.

        An archive may have an earlier job of the same id, whose state is there.
        """
        before = {job_id: self._jobs[job_id] for job_id in by_job if job_id in self._jobs}
        missing = [
            job_id
            for job_id, records in by_job.items()
            if job_id not in before and (records[0].seq > 1 or self._archive is not None)
        ]
        stored = await read_stored_jobs(self._log, missing, rebuilding=not self._is_live)
        found = zip(missing, stored, strict=True)
        return before | {job_id: job for job_id, job in found if job is not None}

    async def _fold_on(
        self, job: Job, records: Sequence[Recorded], parked: dict[str, Parked]
    ) -> Job:
        """Fold with the history where the batch alone does not suffice; else park the job.

        A terminal state that has expired is not stored again.
        """
        records = await with_skips(self._log, self._partition, records)
        for record in records:
            if isinstance(record.event, Unreadable) and not record.event.skipped:
                parked[record.job_id or record.entry_id] = park(record, record.event.why)
                return job
            if record.seq <= job.seq:
                continue
            try:
                earlier = await self._state_before(record, job)
            except BrokenChain as error:
                parked[record.job_id] = park(record, str(error), GAP)
                return job
            if earlier.is_terminal and not job.seq:
                return job
            job = fold([record], earlier)
        return job

    async def _state_before(self, record: Recorded, job: Job) -> Job:
        """Return the state right before `record`; reads the events between `job` and it.

        Raises BrokenChain.
        """
        if record.seq == job.seq + 1:
            return job
        try:
            events = await job_history(self._log, record.job_id, self._archive, job.seq)
        except JobUnknown:
            events = []
        between = [event for event in events if event.seq < record.seq]
        earlier = fold(await with_skips(self._log, self._partition, between), job)
        if len(between) != record.seq - job.seq - 1 or earlier.seq != record.seq - 1:
            raise BrokenChain(record.job_id, job.seq + 1, record.seq)
        return earlier

    async def _read(self, job_id: str) -> Job | None:
        return await read_stored_job(self._log, job_id, rebuilding=not self._is_live)

    async def _read_again(self, stored: Mapping[str, int]) -> None:
        """Correct the cache after a gap; `stored` is the real seq of each job's state."""
        for job_id, seq in stored.items():
            if seq == 0 and job_id in self._jobs:
                self._expired.add(job_id)  # the cached state is right, and is written whole
                continue
            self._jobs.pop(job_id, None)
            self._expired.discard(job_id)
            job = await self._read(job_id)
            if job is not None:
                self._jobs[job_id] = job
            elif seq:
                logger.error("state_unreadable job=%s", job_id)
                rebuilt = self._log.keys.jobs(self._partition, rebuilding=True)
                keys = (self.keys.job(job_id), rebuilt.job(job_id))
                await command(self._log.redis, "DEL", *keys)

    def _cache(self, batch: FoldedBatch) -> None:
        """Cache what was committed."""
        still = {name: found for name, found in self._parked.items() if name not in batch.unparked}
        self._parked = still | dict(batch.parked)
        self._expired.clear()
        for change in batch.changes:
            job = change.after
            self._jobs.pop(job.job_id, None)
            if not job.is_terminal:
                self._jobs[job.job_id] = job
        while len(self._jobs) > self._config.cached_jobs:
            self._jobs.popitem(last=False)


def _measure(batch: FoldedBatch, run_times: RunTimes) -> None:
    """Count what was committed."""
    for change in batch.changes:
        if not change.records:
            continue
        before = change.known or change.before
        if (seconds := count_events(before, change.after, change.records)) is not None:
            run_times.note(change.after.queue, seconds)
