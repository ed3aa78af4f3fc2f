"""runner/execution/job_log.py as steps: events appended under a lease, and their fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Unavailable
from everfold.streams.events.event import Event
from everfold.streams.events.record import Recorded
from tests.simulation.process import REDIS
from tests.simulation.server import Outcome
from tests.simulation.tasks import Steps, ask
from tests.simulation.unreadable import CannotRead, job_seen_by

if TYPE_CHECKING:
    from tests.simulation.runner import Runner

PAUSE_MS = 150


class LeaseOver(Exception):
    """Fenced, closed or unknown: the log refuses this run's events."""


class JobLog:
    def __init__(self, runner: Runner, lease: Lease) -> None:
        self._runner, self._server, self.lease = runner, runner.world.server, lease
        self.job = Job(job_id=lease.job_id)

    def catch_up(self) -> Steps[None]:
        job_id = self.lease.job_id
        while True:
            try:
                job = yield from ask(REDIS, lambda: self._read(job_id), "read_job")
            except Unavailable:
                yield PAUSE_MS
            else:
                break
        if job is None:
            raise CannotRead(job_id)
        self.job = job

    def _read(self, job_id: str) -> Job | None:
        return job_seen_by(self._server, self._runner.reads, job_id)

    def append(self, event: Event) -> Steps[None]:
        event_id = self._runner.world.new_id()
        lease, server = self.lease, self._server
        self._runner.note(lease.job_id, "appends", event)
        outcome: Outcome = ()
        while not outcome:
            try:
                outcome = yield from ask(
                    REDIS,
                    lambda: server.append(lease.job_id, event_id, event, lease.epoch, lease.runner),
                    "append",
                    is_append=True,
                )
            except Unavailable:
                yield PAUSE_MS
        if outcome[0] not in ("appended", "duplicate"):
            raise LeaseOver(str(outcome))
        yield from self._take_in(event, int(outcome[1]), str(outcome[2]))

    def _take_in(self, event: Event, seq: int, entry_id: str) -> Steps[None]:
        if seq != self.job.seq + 1:
            yield from self.catch_up()
            return
        record = Recorded(
            entry_id=entry_id,
            job_id=self.lease.job_id,
            seq=seq,
            epoch=self.lease.epoch,
            previous=self.job.entry_id,
            event=event,
            payload=b"",
        )
        self.job = evolve(self.job, record)
        self._runner.world.checker.knows(self._runner.name, self.job)
