"""Appends one job's events under its lease.

Rule: an event is repeated with the same id while the server is away, until it is in the log or
the log refuses it. The state kept here is the fold of what the log has accepted. Where the server
has lost some of that, what matters of it is told again before anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import anyio
import msgspec

from everfold.projector.job.evolve import evolve
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current, from_log
from everfold.runner.backend import Attempt
from everfold.runner.decisions.attempts import attempt_of, forgotten
from everfold.runner.telemetry.job_lines import JobLines
from everfold.runner.telemetry.job_trace import trace_of
from everfold.runner.telemetry.span_reporter import SpanReporter
from everfold.streams.appending.job_input import load_keys
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import LastSeen
from everfold.streams.appending.outcomes import Appended, Lease
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.border.secrets import Secret, redacted
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import OUTAGES, EverfoldError, Unavailable, WrongExpectedSequence
from everfold.streams.events.codec import WITH_FREE_JSON, Unreadable, decode, reader_level
from everfold.streams.events.event import Event, Fact, Lost, Released, Retried, Submitting
from everfold.streams.events.record import Recorded
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.scripts import NewEvent
from everfold.streams.telemetry import tracing

T = TypeVar("T")
E = TypeVar("E", bound=Fact)

KEYS_EVERY_S = 600.0
"""Seconds between two reads of a job's keys for partner nodes, each of which keeps them."""

SHORT_HISTORY = 10
"""Up to so many events a job is read faster from the log alone than from its projection."""


class ToldByAnother(Exception):
    """Internal: events that the server had lost were told again, and this one says nothing new."""


def _is_told(job: Job, event: Event) -> bool:
    """Say whether the job's attempt has begun, or ended, without this event."""
    if isinstance(event, Submitting):
        return job.may_be_alive or event.attempt <= job.attempt
    return isinstance(event, Lost) and not (job.may_be_alive and event.attempt == job.attempt)


class JobLog:
    """One job's log, for the holder of one lease. `job` is the newest known state."""

    def __init__(
        self, log: Log, dispatch: Dispatch, lease: Lease, lines: JobLines, spans: SpanReporter
    ) -> None:
        self._log, self._dispatch, self._lines, self._spans = log, dispatch, lines, spans
        self.lease = lease
        self.job = fold(lease.history, Job(job_id=lease.job_id))
        self._keys: Mapping[str, Secret] = {}
        self._read_keys_at_s = 0.0
        """When the job's keys for partner nodes are to be read next, as steady_s()."""

    @property
    def is_current(self) -> bool:
        """Whether `job` is at least as new as the lease: if not, call `catch_up` first."""
        return self.job.seq == self.lease.seq

    async def catch_up(self) -> Job:
        """Read the job's present state from the projection and the log; waits for the server.

        Raises JobUnknown when the log has no such job, and a kind of CorruptLog when one of its
        events is missing or unknown here: what was read is then not the job's present state.
        """
        backoff = Backoff()
        while True:
            try:
                self.job = await self._read()
            except OUTAGES:
                await anyio.sleep(backoff.next_s())
            else:
                return self.job

    def attempt(self, number: int) -> Attempt:
        """Return the identity of attempt `number` (from 1) of this job."""
        return attempt_of(self.lease.job_id, number, self._log.generation)

    async def _read(self) -> Job:
        is_short = max(self.lease.seq, self.job.seq) <= SHORT_HISTORY
        return await (from_log if is_short else current)(self._log, self.lease.job_id)

    async def append(self, event: Event) -> Job:
        """Append an event and return the state after it; waits while the server is away.

        Raises Fenced, JobClosed or JobUnknown when the lease or the job is over, ToldByAnother
        where the attempt has begun or ended meanwhile: the event is not in the log then. Events
        that others appended meanwhile are read, and events that the server has lost are recorded
        and told again, before the event is appended.
        """
        traced = self._traced(await self.redacted(event))
        stamped = await self._sealed(self._log.stamp(traced))
        while True:
            try:
                new = self._new(stamped)
                appended = await self._commit(new)
                break
            except WrongExpectedSequence:
                await self.refresh()
                if _is_told(self.job, event):
                    raise ToldByAnother from None
        if appended.seq != self.job.seq + 1:
            await self.catch_up()  # an earlier try was not answered
            return self._changed(event)
        # What was written may be shortened, or of an older version.
        is_other = type(stamped) in WITH_FREE_JSON or self._log.levels.writes < reader_level()
        written = decode(new.payload) if is_other else stamped
        self.job = evolve(self.job, self._recorded(written, new.payload, appended))
        return self._changed(event)

    def _changed(self, event: Event) -> Job:
        """Tell of an event that was appended; return the state after it."""
        self._lines.changed(self.without_keys(event), self.job)
        if self.job.is_terminal:
            self._spans.ended(self.job)
        return self.job

    async def release(
        self,
        event: Released | Retried,
        *,
        wait_s: float | None = None,
        to: str = "",
        unreadable_for_s: float | None = None,
    ) -> None:
        """Release the lease as `Dispatch.release` does; one that is over stays so, or runs out."""
        traced, for_s = self._traced(event), unreadable_for_s
        try:
            await self._dispatch.release(
                self.lease, traced, wait_s=wait_s, to=to, unreadable_for_s=for_s
            )
        except EverfoldError:
            return
        self._lines.changed(self.without_keys(event), self.job)

    def _traced(self, event: E) -> E:
        """Return an event with the span that it belongs to; that of the caller where this process
        exports none."""
        job = self.job
        if not tracing.is_on():
            return msgspec.structs.replace(event, trace=job.trace) if job.trace else event
        trace = trace_of(job, self._log.generation)
        if not trace.is_told:
            return event
        span = trace.of_event(event, self.lease.epoch, job.attempt)
        return msgspec.structs.replace(event, trace=str(span))

    async def redacted(self, told: T) -> T:
        """Return what is to be recorded without the job's keys for partner nodes: a server, or a
        node, may repeat what it was sent."""
        await self.keep_keys()
        return redacted(told, self._keys.values())

    def without_keys(self, told: T) -> T:
        """Return the same by the keys that were read last, at once."""
        return redacted(told, self._keys.values())

    async def _sealed(self, stamped: Event) -> Event:
        """Return the event as the log is to have it; waits for the server."""
        backoff = Backoff()
        while True:
            try:
                return await self._log.sealed(self.lease.job_id, stamped)
            except OUTAGES:
                await anyio.sleep(backoff.next_s())

    async def why_locked(self) -> str:
        """Return why this runner cannot read what the job sends, because it is sealed; empty where
        it can. Waits for the server."""
        backoff = Backoff()
        while is_sealed(self.job.metadata):
            try:
                return await self._log.why_locked(self.job.metadata)
            except OUTAGES:
                await anyio.sleep(backoff.next_s())
        return ""

    async def keep_keys(self) -> None:
        """Read the job's keys for partner nodes every KEYS_EVERY_S, which keeps them; waits for the
        server until they are known."""
        backoff = Backoff()
        while self.job.partner_keys and steady_s() >= self._read_keys_at_s:
            try:
                self._keys = await load_keys(self._log, self.job) or self._keys
                self._read_keys_at_s = steady_s() + KEYS_EVERY_S
            except OUTAGES:
                if self._keys:
                    return
                await anyio.sleep(backoff.next_s())

    def _new(self, stamped: Event) -> NewEvent:
        lease = self.lease
        return self._log.new_event(
            lease.job_id,
            stamped,
            epoch=lease.epoch,
            holder=lease.runner,
            expected=self.job.seq,
            trusted=True,
        )

    async def refresh(self) -> None:
        """Read what others have appended; record what the server has lost, and tell it again.

        Raises what `append` raises.
        """
        seen = self.job
        await self.catch_up()
        kept = await job_events(self._log, seen.job_id, after_seq=max(0, seen.seq - 1))
        if kept and kept[0].entry_id == seen.entry_id:
            return
        lost = LastSeen(seen.job_id, seen.seq, seen.entry_id)
        await self._log.memory_watch.put_back.put_back(seen.job_id, lost)
        await self.catch_up()
        for event in forgotten(seen, self.job):
            await self.append(event)

    async def _commit(self, new: NewEvent) -> Appended:
        backoff = Backoff()
        while True:
            try:
                return await self._log.commit(new)
            except Unavailable:
                continue  # append has waited already, longer each time
            except OUTAGES:
                await anyio.sleep(backoff.next_s())

    def _recorded(self, event: Event | Unreadable, payload: bytes, appended: Appended) -> Recorded:
        return Recorded(
            entry_id=appended.entry_id,
            job_id=self.lease.job_id,
            seq=appended.seq,
            epoch=self.lease.epoch,
            previous=self.job.entry_id,
            event=event,
            payload=payload,
        )
