"""Folding one partition: read in order, fold in memory, commit, again.

Rule: entries are folded in the order of the log and acknowledged only by the commit that writes
what they changed. Whatever goes wrong, the way back is the same: forget what is in memory, take
over all pending entries, read them in order, go on.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

import anyio
import msgspec
from msgspec import Struct

from projector.commit import Change, Committed, Foreign, Gap, NotOwner, commit
from projector.config import ProjectorConfig
from projector.evolve import evolve, fold
from projector.job import Job
from projector.state import from_fields
from streams.backoff import Backoff
from streams.border import NoGroup, read_hash
from streams.codec import Unreadable
from streams.errors import Unavailable
from streams.group import ConsumerGroup
from streams.keys import PROJECTOR_GROUP
from streams.log import Log
from streams.reader import job_events
from streams.record import NO_ENTRY, Recorded, entry_order

logger = logging.getLogger("everfold.projector")

BATCH = 500


class Parked(Struct, frozen=True):
    """Why a job is no longer folded, and since which event."""

    seq: int
    entry_id: str
    why: str


class OwnershipLost(Exception):
    """Another projector owns the partition; its commits count, ours do not."""


class PartitionFold:
    def __init__(
        self, log: Log, partition: int, token: str, checkpoint: str, config: ProjectorConfig
    ) -> None:
        self._log = log
        self._partition = partition
        self._token = token
        self._config = config
        self._checkpoint = checkpoint
        self._group = ConsumerGroup(log, PROJECTOR_GROUP, token)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._parked: dict[str, Parked] = {}

    async def run(self) -> None:
        """Fold until cancelled. Raises OwnershipLost."""
        backoff = Backoff()
        try:
            while True:
                try:
                    await self._start_over()
                    await self._fold_pending()
                    backoff.reset()
                    await self._fold_new()
                except NoGroup:
                    await self._group.create(self._partition, self._checkpoint)
                except Unavailable as error:
                    logger.warning("projector_waits partition=%s why=%r", self._partition, error)
                await anyio.sleep(backoff.next_s())
        finally:
            with anyio.CancelScope(shield=True):
                await self._group.aclose()

    async def _start_over(self) -> None:
        self._jobs.clear()
        await self._group.create(self._partition, self._checkpoint)
        await self._group.inherit(self._partition)
        stored = await read_hash(self._log.redis, self._log.keys.parked(self._partition))
        self._parked = {
            job_id.decode(): msgspec.json.decode(text, type=Parked)
            for job_id, text in stored.items()
        }

    async def _fold_pending(self) -> None:
        after = NO_ENTRY
        while batch := await self._group.read_pending(self._partition, after, BATCH):
            await self._fold(batch)
            after = batch[-1].entry_id

    async def _fold_new(self) -> None:
        while True:
            batch = await self._group.read_new(self._partition, BATCH)
            if batch:
                await self._fold(batch)

    async def _fold(self, batch: list[Recorded]) -> None:
        """Fold and commit a batch; after a gap, once more from what is stored."""
        while True:
            changes, parked = await self._folded(batch)
            outcome = await commit(
                self._log,
                self._partition,
                token=self._token,
                config=self._config,
                entry_ids=[record.entry_id for record in batch],
                changes=changes,
                parked=[(job_id, msgspec.json.encode(why)) for job_id, why in parked.items()],
            )
            match outcome:
                case Committed():
                    self._keep(changes, parked, batch[-1].entry_id)
                    return
                case Gap(job_id=job_id):
                    self._jobs.pop(job_id, None)
                    self._jobs[job_id] = await self._stored(job_id)
                case Foreign():
                    await self._group.inherit(self._partition)
                    self._jobs.clear()
                    await self._fold_pending()
                    return
                case NotOwner(owner=owner):
                    raise OwnershipLost(owner)

    def _keep(self, changes: list[Change], parked: dict[str, Parked], last: str) -> None:
        self._checkpoint = last
        self._parked |= parked
        for change in changes:
            self._jobs.pop(change.after.job_id, None)
            if not change.after.is_terminal:
                self._jobs[change.after.job_id] = change.after
        while len(self._jobs) > self._config.cached_jobs:
            self._jobs.popitem(last=False)

    async def _folded(self, batch: list[Recorded]) -> tuple[list[Change], dict[str, Parked]]:
        before: dict[str, Job] = {}
        after: dict[str, Job] = {}
        parked: dict[str, Parked] = {}
        committed = entry_order(self._checkpoint)
        for record in batch:
            job_id = record.job_id
            if job_id in self._parked or job_id in parked:
                continue
            if entry_order(record.entry_id) <= committed:
                continue  # folded before: an expired state must not come back to life
            if isinstance(record.event, Unreadable):
                parked[job_id or record.entry_id] = _park(record, record.event.why)
                continue
            if job_id not in after:
                before[job_id] = after[job_id] = await self._known(record)
            after[job_id] = await self._next(after[job_id], record, parked)
        changes = [
            Change(before[job_id], job)
            for job_id, job in after.items()
            if job.seq > before[job_id].seq
        ]
        return changes, parked

    async def _known(self, record: Recorded) -> Job:
        """Return the state that is stored, as the base of what will be written."""
        if record.job_id in self._jobs:
            return self._jobs[record.job_id]
        return Job() if record.seq == 1 else await self._stored(record.job_id)

    async def _stored(self, job_id: str) -> Job:
        return from_fields(await read_hash(self._log.redis, self._log.keys.job(job_id))) or Job()

    async def _next(self, job: Job, record: Recorded, parked: dict[str, Parked]) -> Job:
        if record.seq <= job.seq + 1:
            return evolve(job, record)
        # The state has expired, or was never folded: the log has it all.
        events = await job_events(self._log, record.job_id)
        wanted = [event for event in events if event.seq <= record.seq]
        folded = fold(wanted)
        if folded.seq < record.seq:
            parked[record.job_id] = _park(record, "earlier events are missing or unreadable")
            return job
        return folded


def _park(record: Recorded, why: str) -> Parked:
    logger.error("job_parked job=%s seq=%s why=%r", record.job_id, record.seq, why)
    return Parked(record.seq, record.entry_id, why)
