"""The projection of jobs: each job's current state, with its index and its time to live.

Rule: nothing is written but by commit.lua, save the removal of a state that nobody can read.
What is kept in memory is only what was committed.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property

import anyio

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.commit import Batch, Change, commit
from everfold.projector.folding.parking import GAP, Parked, park, with_skips
from everfold.projector.folding.projection import Behind, Committed, Gap, NotOwner, Outcome, Step
from everfold.projector.folding.rebuilt import drop_jobs, fold_version, swap_jobs
from everfold.projector.folding.stored import read_state, read_states
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain, JobUnknown
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Progressed
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.keys import PROJECTOR_GROUP, JobsKeys, Keyspace
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.history import job_history

logger = logging.getLogger("everfold.projector")

_NONE = Job()


class JobsProjection:
    name = "jobs"
    group = PROJECTOR_GROUP

    def __init__(self, config: ProjectorConfig | None = None) -> None:
        self._config = config or ProjectorConfig()

    @cached_property
    def version(self) -> str:
        return fold_version()

    def place(self, keys: Keyspace, partition: int, *, rebuilding: bool = False) -> JobsKeys:
        return keys.jobs(partition, rebuilding=rebuilding)

    def folding(
        self,
        log: Log,
        partition: int,
        *,
        rebuilding: bool = False,
        archive: Archive | None = None,
    ) -> JobsFolding:
        place = self.place(log.keys, partition, rebuilding=rebuilding)
        return JobsFolding(log, partition, place, self._config, archive)

    async def swap(self, log: Log, partition: int, token: str) -> Outcome | Behind:
        return await swap_jobs(log, partition, token)

    async def drop_rebuild(self, log: Log, partition: int) -> None:
        await drop_jobs(log, log.keys.jobs(partition, rebuilding=True))


class JobsFolding:
    """One partition's jobs, with up to `config.cached_jobs` states in memory."""

    def __init__(
        self,
        log: Log,
        partition: int,
        place: JobsKeys,
        config: ProjectorConfig,
        archive: Archive | None = None,
    ) -> None:
        self.place = place
        self._archive = archive
        self._log, self._partition, self._config = log, partition, config
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._expired: set[str] = set()
        self._parked: Mapping[str, Parked] = {}

    def forget(self, parked: Mapping[str, Parked]) -> None:
        self._jobs.clear()
        self._expired.clear()
        self._parked = parked

    async def write(self, batch: Sequence[Recorded], step: Step) -> Outcome:
        while True:
            folded = await self._fold(batch)
            outcome = await self._commit(folded, step)
            if not isinstance(outcome, Gap):
                return outcome
            await self._read_again(outcome.stored)

    async def retry(self, jobs: Sequence[str], step: Step) -> Outcome:
        changes, parked = list[Change](), dict[str, Parked]()
        for job_id in jobs:
            before = await self._read(job_id) or _NONE
            try:
                told = await job_events(self._log, job_id, after_seq=before.seq)
            except JobUnknown:
                continue  # an entry that belongs to no job
            after = await self._carry_on(before, [*told], parked) if told else before
            if after.seq > before.seq:
                changes.append(Change(before, after))
        unparked = [job_id for job_id in jobs if job_id not in parked]
        batch = Batch(changes=changes, parked=parked, unparked=unparked)
        outcome = await self._commit(batch, step)
        if isinstance(outcome, Gap):
            return NotOwner("")  # the state has expired just now: begin anew
        return outcome

    async def _commit(self, batch: Batch, step: Step) -> Outcome | Gap:
        with anyio.CancelScope(shield=True):
            outcome = await commit(
                self._log,
                self._partition,
                self.place,
                step=step,
                config=self._config,
                batch=batch,
            )
        if isinstance(outcome, Committed):
            self._keep(batch)
        return outcome

    async def _fold(self, batch: Sequence[Recorded]) -> Batch:
        """Return what a batch changes; it may be folded again until it is committed."""
        stories = self._by_job(batch)
        before = await self._loaded(stories)
        changes, parked = list[Change](), dict[str, Parked]()
        for job_id, records in stories.items():
            base = before.get(job_id, _NONE)
            job = fold(records, base) if records[0].seq <= base.seq + 1 else base
            only_progress = base.seq > 0 and all(type(r.event) is Progressed for r in records)
            if job.seq < records[-1].seq or not records[-1].seq:
                job = await self._carry_on(job, records, parked)
                only_progress = False
            if job.seq > base.seq:
                is_new = job_id in self._expired
                changes.append(Change(_NONE, job) if is_new else Change(base, job, only_progress))
        return Batch(changes=changes, parked=parked, events=len(batch))

    def _by_job(self, batch: Sequence[Recorded]) -> dict[str, list[Recorded]]:
        """Return each job's events; an entry that belongs to no job goes by its entry id."""
        stories: dict[str, list[Recorded]] = {}
        for record in batch:
            name = record.job_id or record.entry_id
            if name in stories:
                stories[name].append(record)
            elif name not in self._parked:
                stories[name] = [record]
        return stories

    async def _loaded(self, stories: Mapping[str, Sequence[Recorded]]) -> dict[str, Job]:
        """Return the states before a batch, as far as there are any."""
        before = {job_id: self._jobs[job_id] for job_id in stories if job_id in self._jobs}
        missing = [
            job_id
            for job_id, records in stories.items()
            if job_id not in before and records[0].seq > 1
        ]
        keys = [self.place.job(job_id) for job_id in missing]
        found = zip(missing, await read_states(self._log, keys), strict=True)
        return before | {job_id: job for job_id, job in found if job is not None}

    async def _carry_on(
        self, job: Job, records: Sequence[Recorded], parked: dict[str, Parked]
    ) -> Job:
        """Fold on where the batch alone does not suffice; park the job where nothing does.

        A state that has ended and expired stays away.
        """
        records = await with_skips(self._log, self._partition, records)
        for record in records:
            if isinstance(record.event, Unreadable) and not record.event.skipped:
                parked[record.job_id or record.entry_id] = park(record, record.event.why)
                return job
            if record.seq <= job.seq:
                continue
            try:
                earlier = await self._until(job, record)
            except BrokenChain as error:
                parked[record.job_id] = park(record, str(error), GAP)
                return job
            if earlier.is_terminal and not job.seq:
                return job
            job = fold([record], earlier)
        return job

    async def _until(self, job: Job, record: Recorded) -> Job:
        """Return the state right before `record`; what lies between is known to the log alone.

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
        return await read_state(self._log, self.place.job(job_id))

    async def _read_again(self, stored: Mapping[str, int]) -> None:
        """Correct what is in memory after a gap; `stored` is the real seq of each job's state."""
        for job_id, seq in stored.items():
            if seq == 0 and job_id in self._jobs:
                self._expired.add(job_id)  # what is in memory is right, and is written whole
                continue
            self._jobs.pop(job_id, None)
            self._expired.discard(job_id)
            job = await self._read(job_id)
            if job is not None:
                self._jobs[job_id] = job
            elif seq:
                logger.error("state_unreadable job=%s", job_id)
                await command(self._log.redis, "DEL", self.place.job(job_id))

    def _keep(self, batch: Batch) -> None:
        """Keep in memory what was committed."""
        kept = {name: why for name, why in self._parked.items() if name not in batch.unparked}
        self._parked = kept | dict(batch.parked)
        self._expired.clear()
        for change in batch.changes:
            job = change.after
            self._jobs.pop(job.job_id, None)
            if not job.is_terminal:
                self._jobs[job.job_id] = job
        while len(self._jobs) > self._config.cached_jobs:
            self._jobs.popitem(last=False)
