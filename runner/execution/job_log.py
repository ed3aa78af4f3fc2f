"""Tells a job's story into the log, under its lease.

Rule: it never gives up on an event: while the server is away it tries again with the same event
id, until the event is in the log or the lease is lost. The state it holds is the fold of what
the log has accepted.
"""

from __future__ import annotations

import anyio

from everfold.projector.job.evolve import evolve
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current, from_log
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Appended, Lease
from everfold.streams.errors import Unavailable
from everfold.streams.events.codec import encode
from everfold.streams.events.event import Event
from everfold.streams.events.record import Recorded
from everfold.streams.redis.retry import Backoff
from everfold.streams.retention.lost_writes import LostWrites, record_lost_writes

SHORT = 10
"""Events of a history that is read faster from the log alone, where its claim did not bring it."""


class JobLog:
    """One job's events, appended by the holder of one lease."""

    def __init__(self, log: Log, lease: Lease) -> None:
        self._log = log
        self.lease = lease
        self.job = fold(lease.history, Job(job_id=lease.job_id))

    @property
    def knows_the_job(self) -> bool:
        """Say whether the lease came with all that was told so far."""
        return self.job.seq == self.lease.seq

    async def catch_up(self) -> Job:
        """Read the job's present state from the projection and the log."""
        backoff = Backoff()
        while True:
            try:
                self.job = await self._read()
            except Unavailable:
                await anyio.sleep(backoff.next_s())
            else:
                return self.job

    async def _read(self) -> Job:
        if max(self.lease.seq, self.job.seq) <= SHORT:
            return await from_log(self._log, self.lease.job_id)
        return await current(self._log, self.lease.job_id)

    async def append(self, event: Event) -> Job:
        """Append an event and return the state after it.

        Raises Fenced, JobClosed or JobUnknown: the work is over, another runner has it.
        """
        stamped = self._log.stamp(event)
        appended = await self._append(stamped)
        if appended.seq <= self.job.seq:
            await record_lost_writes(
                self._log, LostWrites(self.job.job_id, self.job.seq, appended.seq - 1)
            )
        if appended.seq != self.job.seq + 1:
            return await self.catch_up()
        self.job = evolve(self.job, self._recorded(stamped, appended))
        return self.job

    async def _append(self, event: Event) -> Appended:
        lease = self.lease
        while True:
            try:
                return await self._log.append(
                    lease.job_id, event, epoch=lease.epoch, holder=lease.runner
                )
            except Unavailable:
                continue  # append has waited already, longer each time

    def _recorded(self, event: Event, appended: Appended) -> Recorded:
        return Recorded(
            entry_id=appended.entry_id,
            job_id=self.lease.job_id,
            seq=appended.seq,
            epoch=self.lease.epoch,
            previous=self.job.entry_id,
            event=event,
            payload=encode(event),
        )
