"""Appends one job's events under its lease.

Rule: an event is repeated with the same id while the server is away, until it is in the log or
the log refuses it. What another program could learn from the world may be sent without waiting for
its outcome; an intent and an end are waited for. Where the server has lost some of what it had
accepted, what matters of it is told again before anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

import anyio
import msgspec
from msgspec import Struct

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
from everfold.streams.appending.outcomes import Appended, Lease, OldId
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

SENT_LIMIT = 4
"""Events that are sent and not answered: a head knows the last eight ids of an author."""

SHORT_HISTORY = 10
"""Up to so many events a job is read faster from the log alone than from its projection."""


class ToldByAnother(Exception):
    """Internal: events that the server had lost were told again, and this one says nothing new."""


def _is_told(job: Job, event: Event) -> bool:
    """Say whether the job's attempt has begun, or ended, without this event."""
    if isinstance(event, Submitting):
        return job.may_be_alive or event.attempt <= job.attempt
    return isinstance(event, Lost) and not (job.may_be_alive and event.attempt == job.attempt)


TOLD_AGAIN = (*OUTAGES, WrongExpectedSequence, OldId)
"""Refusals of an event that may be in the log, or have a place in it, all the same."""


def _refusal(appended: asyncio.Future[Appended]) -> BaseException | None:
    return None if appended.cancelled() else appended.exception()


class _Sent(Struct, eq=False):
    """An event on its way into the log."""

    event: Event
    stamped: Event
    written: Event | Unreadable
    """As readers will see it."""
    payload: bytes
    appended: asyncio.Future[Appended]


class JobLog:
    """One job's log, for the holder of one lease. `acknowledged` is the newest state that the log
    has confirmed, `job` the same with what was sent since then.

    `now_ms` returns the server's time; `on_refused` is called when what nobody waits for was not
    taken, so that `refresh` is called soon.
    """

    def __init__(
        self,
        log: Log,
        dispatch: Dispatch,
        lease: Lease,
        lines: JobLines,
        spans: SpanReporter,
        now_ms: Callable[[], int],
        on_refused: Callable[[], None],
    ) -> None:
        self._log, self._dispatch, self._lines, self._spans = log, dispatch, lines, spans
        self._now_ms, self._on_refused = now_ms, on_refused
        self.lease = lease
        self.job = self.acknowledged = fold(lease.history, Job(job_id=lease.job_id))
        self._sent = list[_Sent]()
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
                self.job = self.acknowledged = await self._read()
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
        if isinstance(event, Submitting | Lost):
            await self.flush()  # each is decided by all that came before
        await self._send(event)
        await self.flush()
        return self.job

    async def append_soon(self, event: Event) -> None:
        """Send an event, in its order, and do not wait until it is in the log: `flush` does.

        Raises what `append` raises, for what was sent before.
        """
        if len(self._sent) >= SENT_LIMIT:
            await self.flush()
        sent = await self._send(event)
        sent.appended.add_done_callback(self._look)
        time_ms = max(self._now_ms(), self.job.updated_at_ms)
        self.job = self._after(sent, self.job, Appended(self.job.seq + 1, f"{time_ms}-0"))

    def _look(self, appended: asyncio.Future[Appended]) -> None:
        if _refusal(appended) is not None:
            self._on_refused()

    async def _send(self, event: Event) -> _Sent:
        stamped = await self._sealed(self._log.stamp(self._traced(await self.redacted(event))))
        new = self._new(stamped)
        # What was written may be shortened, or of an older version.
        is_other = type(stamped) in WITH_FREE_JSON or self._log.levels.writes < reader_level()
        written = decode(new.payload) if is_other else stamped
        sent = _Sent(event, stamped, written, new.payload, self._log.committing(new))
        sent.appended.add_done_callback(_refusal)  # asyncio reports what nobody has looked at
        self._sent.append(sent)
        return sent

    async def flush(self) -> None:
        """Wait until the log has all that was sent, and tell again what it had no place for.

        Raises what `append` raises; what was sent is forgotten then.
        """
        while self._sent:
            sent = self._sent[0]
            if not sent.appended.done():
                # A caller that is cancelled recalls nothing: what was sent is in the log, or will
                # be. Why it was refused is looked at below.
                with suppress(Exception):
                    await asyncio.shield(sent.appended)
            refusal = _refusal(sent.appended)
            if refusal is not None and not isinstance(refusal, TOLD_AGAIN):
                self._sent, self.job = [], self.acknowledged
                raise refusal
            if refusal is not None or sent.appended.result().seq != self.acknowledged.seq + 1:
                await self._tell_again()
                return
            del self._sent[0]
            self._note(sent, sent.appended.result())

    async def _tell_again(self) -> None:
        """Read what is in the log, then tell one by one, by the same ids, what is not."""
        unsure, self._sent, self.job = self._sent, [], self.acknowledged
        await asyncio.wait([sent.appended for sent in unsure])
        is_told = [_refusal(sent.appended) is None for sent in unsure]
        if any(is_told):
            await self.catch_up()
        for sent, is_in_log in zip(unsure, is_told, strict=True):
            if is_in_log:
                self._changed(sent.event)
            elif not self.job.is_terminal or not any(is_told):
                await self._append_alone(sent)

    async def _append_alone(self, sent: _Sent) -> None:
        while True:
            try:
                new = self._new(sent.stamped)
                appended = await self._commit(new)
                break
            except WrongExpectedSequence:
                await self.refresh()
                if _is_told(self.job, sent.event):
                    raise ToldByAnother from None
        if appended.seq == self.job.seq + 1:
            self._note(sent, appended)
        else:
            await self.catch_up()  # an earlier try was not answered
            self._changed(sent.event)

    def _note(self, sent: _Sent, appended: Appended) -> None:
        self.acknowledged = self._after(sent, self.acknowledged, appended)
        if not self._sent:
            self.job = self.acknowledged
        self._changed(sent.event)

    def _after(self, sent: _Sent, job: Job, appended: Appended) -> Job:
        """Return a job's state after an event at its place in the log."""
        record = Recorded(
            entry_id=appended.entry_id,
            job_id=self.lease.job_id,
            seq=appended.seq,
            epoch=self.lease.epoch,
            previous=job.entry_id,
            event=sent.written,
            payload=sent.payload,
        )
        return evolve(job, record)

    def _changed(self, event: Event) -> None:
        """Tell of an event that was appended."""
        self._lines.changed(self.without_keys(event), self.acknowledged)
        if self.acknowledged.is_terminal:
            self._spans.ended(self.acknowledged)

    async def release(
        self,
        event: Released | Retried,
        *,
        wait_s: float | None = None,
        to: str = "",
        unreadable_for_s: float | None = None,
    ) -> None:
        """Release the lease as `Dispatch.release` does; one that is over stays so, or runs out."""
        if self._sent:
            # They get an answer in bounded time, and come before the release.
            await asyncio.wait([sent.appended for sent in self._sent])
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
        await self.flush()
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
