"""Proving, on a live namespace, that log, guards, dispatch and projection agree.

Rule: reads only, and in bounded memory: closed jobs are forgotten as the log is walked. Because
others write meanwhile, a difference counts only when it was seen between two equal readings of
the job's guard.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import cast

from msgspec import Struct

from projector.evolve import evolve, fold
from projector.invariants import Difference, Trace, check
from projector.job import Job
from projector.state import from_fields, to_fields
from streams.border import command, read_hash
from streams.keys import PRIORITIES
from streams.log import Log
from streams.reader import Entries, ends, job_events, partition_events
from streams.record import NO_ENTRY, Recorded

READ_AGAIN = 20
"""Readings of a job that changes all the time before it is left to the next verify."""

PAGE = 500


class Report(Struct, frozen=True):
    events: int
    jobs: int
    open_jobs: int
    differences: list[Difference]

    @property
    def is_sound(self) -> bool:
        return not self.differences


async def verify(log: Log, progress: Callable[[int], None] = lambda _: None) -> Report:
    """Check every partition; `progress` is called with the number of events read so far."""
    verifier = _Verifier(log, progress)
    last = await ends(log)
    for partition in range(log.keys.partitions):
        await verifier.walk(partition, last[partition])
        await verifier.dispatched(partition)
    return Report(verifier.events, verifier.jobs, verifier.open_jobs, verifier.differences)


class _Verifier:
    def __init__(self, log: Log, progress: Callable[[int], None]) -> None:
        self._log = log
        self._progress = progress
        self.events = self.jobs = self.open_jobs = 0
        self.differences: list[Difference] = []

    async def walk(self, partition: int, until: str) -> None:
        """Check each history of the partition, and what else is known of its job at its end."""
        traces: dict[str, Trace] = {}
        async for record in partition_events(self._log, partition, until=until):
            self.events += 1
            if self.events % PAGE == 0:
                self._progress(self.events)
            if not record.job_id:
                continue
            trace = traces.pop(record.job_id, None) or await self._begin(record)
            trace, found = check(trace, record)
            self.differences += found
            if trace.status:
                await self._compare(record.job_id)
            else:
                traces[record.job_id] = trace
        for job_id in traces:
            await self._compare(job_id)
        self.open_jobs += len(traces)
        self._progress(self.events)

    async def _begin(self, record: Recorded) -> Trace:
        """Return the trace of a job that is met for the first time, or again after its end."""
        blank = Trace(job_id=record.job_id)
        if record.seq == 1:
            self.jobs += 1
            return blank
        if await self._was_trimmed(record):
            self.jobs += 1
            return Trace(
                job_id=record.job_id,
                seq=record.seq - 1,
                epoch=record.epoch,
                entry_id=record.previous,
                attempt=_attempt_before(record),
            )
        before = [e for e in await job_events(self._log, record.job_id) if e.seq < record.seq]
        for earlier in before:
            blank, _ = check(blank, earlier)
        return blank

    async def _was_trimmed(self, record: Recorded) -> bool:
        """Say whether the job's earlier events are no longer in the log."""
        if record.previous == NO_ENTRY:
            return False
        key = self._log.keys.log(self._log.keys.partition_of(record.job_id))
        ask = ("XRANGE", key, record.previous, record.previous)
        return not await command(self._log.redis, *ask)

    async def _compare(self, job_id: str) -> None:
        """Compare head, projection and place in dispatch with the log, between equal heads."""
        for _ in range(READ_AGAIN):
            head = await self._head(job_id)
            found = [difference async for difference in self._differences_of(job_id, head)]
            if not found:
                return
            if head == await self._head(job_id):
                self.differences += found
                return

    async def _head(self, job_id: str) -> dict[bytes, bytes]:
        return await read_hash(self._log.redis, self._log.keys.head(job_id))

    async def _differences_of(
        self, job_id: str, head: dict[bytes, bytes]
    ) -> AsyncIterator[Difference]:
        if not head:
            yield Difference(1, job_id, "head", "a guard", "none")
            return
        events = await job_events(self._log, job_id)
        job = fold(events)
        head_seq = int(head[b"seq"])
        if head_seq != events[-1].seq:
            yield Difference(1, job_id, "head", f"seq {events[-1].seq}", f"seq {head_seq}")
        status = head[b"status"].decode()
        if (status != "open") != job.is_terminal:
            yield Difference(2, job_id, "head", job.status, status)
        stored = await read_hash(self._log.redis, self._log.keys.job(job_id))
        state = from_fields(stored)
        if stored and state is None:
            yield Difference(4, job_id, "state", "a state", "a hash that cannot be read")
        if state is not None:
            for difference in _projection(job_id, state, events):
                yield difference
        places = await self._places(job_id, head)
        expected = 1 if status == "open" else 0
        if places != expected:
            where = f"dispatch or later (phase {head[b'phase'].decode()})"
            yield Difference(5, job_id, where, f"{expected} place(s)", f"{places}")

    async def _places(self, job_id: str, head: dict[bytes, bytes]) -> int:
        """Return in how many of the places that its guard names the job is."""
        keys, redis = self._log.keys, self._log.redis
        partition = keys.partition_of(job_id)
        score = await command(redis, "ZSCORE", keys.later(partition), job_id)
        ticket = head.get(b"dispatch", b"").decode()
        if not ticket:
            return int(score is not None)
        key = keys.dispatch(partition, head[b"queue"].decode(), head[b"priority"].decode())
        rows = cast("Entries", await command(redis, "XRANGE", key, ticket, ticket))
        return len(rows) + int(score is not None)

    async def dispatched(self, partition: int) -> None:
        """Check that each entry of dispatch and later is the only place of an open job."""
        keys, redis = self._log.keys, self._log.redis
        names = cast("list[bytes]", await command(redis, "SMEMBERS", keys.queues(partition)))
        for name in names:
            for priority in PRIORITIES:
                key = keys.dispatch(partition, name.decode(), priority)
                async for ticket, job_id in self._entries(key):
                    await self._placed(job_id, ticket, key)
        later = cast("list[bytes]", await command(redis, "ZRANGE", keys.later(partition), 0, -1))
        for member in later:
            await self._placed(member.decode(), "", keys.later(partition))

    async def _entries(self, key: str) -> AsyncIterator[tuple[str, str]]:
        after = "-"
        while True:
            ask = ("XRANGE", key, after, "+", "COUNT", PAGE)
            rows = cast("Entries", await command(self._log.redis, *ask))
            for entry_id, fields in rows:
                yield entry_id.decode(), (fields or [b"", b""])[1].decode()
            if len(rows) < PAGE:
                return
            after = f"({rows[-1][0].decode()}"

    async def _placed(self, job_id: str, ticket: str, key: str) -> None:
        for _ in range(READ_AGAIN):
            head = await self._head(job_id)
            phase = head.get(b"phase", b"no such job").decode()
            is_right = head.get(b"status") == b"open" and (
                head.get(b"dispatch", b"").decode() == ticket
            )
            if is_right or not await self._still_there(key, ticket, job_id):
                return
            if head == await self._head(job_id):
                expected = f"an open job whose place is {ticket or 'later'}"
                self.differences.append(Difference(5, job_id, key, expected, f"phase {phase}"))
                return

    async def _still_there(self, key: str, ticket: str, job_id: str) -> bool:
        if ticket:
            return bool(await command(self._log.redis, "XRANGE", key, ticket, ticket))
        return await command(self._log.redis, "ZSCORE", key, job_id) is not None


def _attempt_before(record: Recorded) -> int:
    """Return the attempt that a trimmed history must have been at before this event."""
    number = getattr(record.event, "attempt", 0)
    return number - 1 if type(record.event).__name__ == "Submitting" else number


def _projection(job_id: str, state: Job, events: list[Recorded]) -> list[Difference]:
    """Return how the projected state differs from the fold at the same sequence number."""
    job = Job()
    for record in events:
        if record.seq > state.seq:
            break
        job = evolve(job, record)
    if job == state:
        return []
    names = set(to_fields(job, state)) | set(to_fields(state, job))
    return [
        Difference(
            4,
            job_id,
            f"field {name} at event {state.seq}",
            str(getattr(job, name, "?")),
            str(getattr(state, name, "?")),
        )
        for name in sorted(names)
        if hasattr(job, name)
    ]
