"""Proves, on a live namespace, that log, heads, dispatch and projection agree.

Rule: it only reads, and in bounded memory: a closed job is dropped as soon as it is checked.
Because others write meanwhile, a difference counts only when it was found between two equal
readings of the job's head.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from everfold.projector.folding.parking import with_skips
from everfold.projector.folding.stored_jobs import read_stored_state
from everfold.projector.job.agreement import Head, head_differences, state_differences, text
from everfold.projector.job.fold import fold
from everfold.projector.job.invariants import Difference, Trace, check, trace_before
from everfold.projector.job.job import Job
from everfold.projector.job.overdue import MARGIN_S, overdue
from everfold.projector.job.state import from_fields
from everfold.projector.reading.index_check import index_differences, stray_members
from everfold.projector.reading.sound_jobs import dispatch_entry, not_sound, waiting_places
from everfold.projector.reading.walk import Walk
from everfold.streams.appending.log import Log
from everfold.streams.connections.replies import NoGroup
from everfold.streams.errors import CorruptLog, JobUnknown, ServerError, ServerUnreachable
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.events.stored_fields import is_entry_id
from everfold.streams.reading.reader import (
    job_tail,
    last_entry_id,
    log_size,
    partition_pages,
)
from everfold.streams.redis import scripts
from everfold.streams.redis.each import GRACE_S, each
from everfold.streams.redis.keys import PRIORITIES, RUNNERS_GROUP
from everfold.streams.redis.pages import PAGE, Entries, entry_page
from everfold.streams.redis.redis_errors import command, commands, read_hash

EVENTS = 2_000
"""Events that are read in one call."""

JOBS = 100
"""Jobs that are compared in a few trips."""

KEPT_BYTES = 64 * 2**20
"""Of the events of a partition's jobs that have not ended, and of a page. Beyond that they are
forgotten: the events of those jobs are read once more."""

AT_ONCE = 2
"""Partitions of a server that are read at once: while one is asked for, another is checked."""

READ_AGAIN = 20
"""Attempts at a job that changes all the time, before it is counted as unsettled."""

UNREADABLE_JOB = (CorruptLog, JobUnknown, ServerError, ValueError)
"""What reading a job raises whose keys another program has changed."""


class Report(Struct, frozen=True):
    """What was checked, and what was found."""

    events: int
    """Events read."""
    jobs: int
    open_jobs: int
    differences: list[Difference]
    unsettled: int = 0
    """Jobs that looked wrong and changed during every look: nothing is known about them."""
    missing: tuple[int, ...] = ()
    """Partitions that did not answer, or not to the end: what was not read there is not known."""

    @property
    def is_sound(self) -> bool:
        """Whether no difference was found, and every partition was read."""
        return not self.differences and not self.missing


async def verify(
    log: Log,
    progress: Callable[[int, int], None] = lambda _, __: None,
    *,
    margin_s: float = MARGIN_S,
    partial: bool = False,
) -> Report:
    """Check every partition up to its present end.

    `progress` is called with the number of events read so far, and of all events. `margin_s` is
    how long after a bound a job may still be open. Raises Unavailable; nothing is then
    known. PartitionsUnavailable names the partitions that do not answer; with `partial` the
    report names them and tells of the others.
    """
    missing = set[int]()
    left_out = missing if partial else None
    ends = await each(log, functools.partial(_end, log), grace_s=GRACE_S)
    verifier = _Verifier(log, progress, sum(end.size for end in ends.some(left_out)), margin_s)

    async def check_partition(partition: int) -> None:
        await verifier.check_partition(partition, ends.values[partition].last)

    checked = await each(log, check_partition, ends.values, at_once=AT_ONCE)
    checked.some(left_out)
    return verifier.report(missing)


async def verify_job(log: Log, job_id: str, *, margin_s: float = MARGIN_S) -> Report:
    """Check one job as `verify` does. Raises JobUnknown, a leaf of Unavailable."""
    verifier = _Verifier(log, lambda _, __: None, 0, margin_s)
    await verifier.check_job(job_id)
    return verifier.report()


class _End(Struct, frozen=True):
    """How far a partition's log goes now."""

    size: int
    last: str


async def _end(log: Log, partition: int) -> _End:
    return _End(await log_size(log, partition), await last_entry_id(log, partition))


class _Verifier:
    def __init__(
        self, log: Log, progress: Callable[[int, int], None], total: int, margin_s: float
    ) -> None:
        self._log, self._margin_s = log, margin_s
        self._progress = progress
        self._total = total
        self._events = self._jobs = self._open_jobs = self._unsettled = 0
        self._differences: list[Difference] = []

    def report(self, missing: Collection[int] = ()) -> Report:
        found = sorted(self._differences, key=lambda difference: difference.partition)
        counts = self._events, self._jobs, self._open_jobs
        return Report(*counts, found, self._unsettled, tuple(sorted(missing)))

    async def check_partition(self, partition: int, until: str) -> None:
        """Check all of a partition up to an entry. Raises a leaf of Unavailable."""
        await self.check_histories(partition, until)
        await self.check_dispatch(partition)
        await self.check_index(partition)

    async def check_histories(self, partition: int, until: str) -> None:
        """Check each job's history up to an entry, then its head, state and dispatch entry."""
        walks: dict[str, Walk] = {}
        ended, kept_bytes = list[Walk](), 0
        async for page in partition_pages(self._log, partition, until=until, size=EVENTS):
            for record in page:
                if not record.job_id:
                    continue
                walk = walks.get(record.job_id) or Walk(await self._begin(record))
                walks[record.job_id] = walk
                walk.trace, found = check(walk.trace, record)
                if found:
                    self._note(found)
                kept_bytes += walk.keep(record)
                if walk.trace.status:
                    kept_bytes -= walk.size_bytes
                    ended.append(walks.pop(record.job_id))
            if kept_bytes > KEPT_BYTES:
                for walk in walks.values():
                    walk.forget()
                kept_bytes = 0
            self._events += len(page)
            self._progress(self._events, self._total)
            await self._compare_all(partition, ended)
            ended.clear()
        self._open_jobs += len(walks)
        await self._compare_all(partition, [*walks.values()])
        self._progress(self._events, self._total)

    async def check_job(self, job_id: str) -> None:
        """Check one job's history, as far as the log has it, then its head, state and dispatch."""
        trace = Trace(job_id=job_id)
        for record in (await job_tail(self._log, job_id)).events:
            self._events += 1
            if record.seq > 1 and not trace.seq:
                trace = trace_before(record)
            trace, found = check(trace, record)
            self._note(found)
        self._jobs = 1
        await self._compare(trace)

    def _note(self, found: Sequence[Difference]) -> None:
        partition_of = self._log.keys.partition_of
        self._differences += [replace(d, partition=partition_of(d.job_id)) for d in found]

    async def _begin(self, record: Recorded) -> Trace:
        """Return the trace before a job's first event, or before one that follows its end."""
        trace = Trace(job_id=record.job_id)
        if record.seq == 1:
            self._jobs += 1
            return trace
        if await self._is_trimmed(record.job_id, record.previous):
            self._jobs += 1
            return trace_before(record)
        try:
            events = (await job_tail(self._log, record.job_id)).events
        except UNREADABLE_JOB:
            self._jobs += 1
            return trace_before(record)  # its head is compared later, and found wrong
        for earlier in events:
            if earlier.seq < record.seq:
                trace, _ = check(trace, earlier)
        return trace

    async def _is_trimmed(self, job_id: str, entry_id: str) -> bool:
        """Say whether an event of a job is no longer in the log."""
        if entry_id == NO_ENTRY or not is_entry_id(entry_id.encode()):
            return False
        key = self._log.keys.log(self._log.keys.partition_of(job_id))
        return not await command(self._log.redis, "XRANGE", key, entry_id, entry_id)

    async def _compare_all(self, partition: int, walks: Sequence[Walk]) -> None:
        """Compare many jobs with the log; those that the first look does not find sound, alone."""
        for at in range(0, len(walks), JOBS):
            some = walks[at : at + JOBS]
            with suppress(*UNREADABLE_JOB, ServerUnreachable):  # whose keys it is, one by one
                some = await not_sound(self._log, partition, some, self._margin_s)
            for walk in some:
                await self._compare(walk.trace)

    async def _compare(self, trace: Trace) -> None:
        """Compare head, state and dispatch entry with the log, between two equal heads."""
        for _ in range(READ_AGAIN):
            head = await self._head(trace.job_id)
            found = await self._all_differences(trace, head)
            if not found:
                return
            if head == await self._head(trace.job_id):
                self._note(found)
                return
        self._unsettled += 1

    async def _all_differences(self, trace: Trace, head: Head) -> list[Difference]:
        try:
            return [difference async for difference in self._differences_of(trace, head)]
        except UNREADABLE_JOB as error:
            return [Difference(1, trace.job_id, "its keys", "readable", str(error))]

    async def _head(self, job_id: str) -> Head:
        return await read_hash(self._log.redis, self._log.keys.head(job_id))

    async def _differences_of(self, trace: Trace, head: Head) -> AsyncIterator[Difference]:
        job_id = trace.job_id
        try:
            tail = await job_tail(self._log, job_id)
            events = await with_skips(self._log, self._log.keys.partition_of(job_id), tail.events)
        except JobUnknown:
            if not await self._is_trimmed(job_id, trace.entry_id):
                yield Difference(1, job_id, "head", "a head", "none")
            return
        if tail.strange_entry:
            found = f"entry {tail.strange_entry}, which is none"
            yield Difference(1, job_id, "chain of its entries", "an earlier event", found)
        for difference in head_differences(trace, head, events, fold(events)):
            yield difference
        stored = await read_stored_state(self._log, job_id)
        state = from_fields(stored)
        if stored and state is None:
            yield Difference(4, job_id, "state", "a state", "what cannot be read")
        if state is not None and events and events[0].seq == 1:
            for difference in state_differences(job_id, state, events):
                yield difference
        for difference in await index_differences(self._log, job_id):
            yield difference
        entries = await self._entry_count(job_id, head)
        if head.get(b"status") == b"open":
            for difference in await self._overdue(job_id, head, events, state):
                yield difference
        expected = int(head.get(b"status") == b"open")
        if entries != expected:
            where = f"dispatch, waiting or later (phase {text(head, b'phase')})"
            yield Difference(5, job_id, where, f"{expected} entries", f"{entries}")

    async def _overdue(
        self, job_id: str, head: Head, events: Sequence[Recorded], state: Job | None
    ) -> list[Difference]:
        """Return the bounds that an open job has passed; none where its beginning is unknown."""
        has_beginning = bool(events) and events[0].seq == 1
        job = fold(events) if has_beginning else fold(events, state)
        if not (has_beginning or state):
            return []
        keys, redis = self._log.keys, self._log.redis
        clock = keys.clock(keys.partition_of(job_id))
        now_ms, _, _, unsure_to_ms, _ = await scripts.look_at_clock(redis, clock=clock)
        idle_ms = await self._lease_idle_ms(job_id, head) if job.owner else 0
        return overdue(
            job, now_ms, margin_s=self._margin_s, idle_ms=idle_ms, unsure_to_ms=unsure_to_ms
        )

    async def _lease_idle_ms(self, job_id: str, head: Head) -> int:
        """Return for how long the job's lease was not renewed; 0 where nobody has one."""
        keys, entry = self._log.keys, text(head, b"dispatch")
        if text(head, b"phase") != "leased" or not entry:
            return 0
        partition = keys.partition_of(job_id)
        key = keys.dispatch(partition, text(head, b"queue"), text(head, b"priority"))
        ask = ("XPENDING", key, RUNNERS_GROUP, entry, entry, 1)
        try:
            rows = cast("list[list[int]]", await command(self._log.redis, *ask))
        except NoGroup:
            return 0
        return int(rows[0][2]) if rows else 0

    async def _entry_count(self, job_id: str, head: Head) -> int:
        """Return how many entries the job has where its head says that it may stand."""
        keys, redis = self._log.keys, self._log.redis
        partition = keys.partition_of(job_id)
        sets = waiting_places(keys, partition, head)
        places = [await command(redis, "ZSCORE", key, job_id) for key in sets]
        count = sum(place is not None for place in places[:2])
        if places[1] is not None and places[1] != places[2]:
            count += 1  # a job that waits stands at the same place in its line
        if (at := dispatch_entry(keys, partition, head)) is None:
            return count
        key, entry_id = at
        rows = cast("Entries", await command(redis, "XRANGE", key, entry_id, entry_id))
        return len(rows) + count

    async def check_dispatch(self, partition: int) -> None:
        """Check that each entry of dispatch, waiting and later is that of an open job."""
        keys, redis = self._log.keys, self._log.redis
        names = cast("list[bytes]", await command(redis, "SMEMBERS", keys.queues(partition)))
        queues = [name.decode(errors="replace") for name in names]
        for queue in queues:
            for priority in PRIORITIES:
                key = keys.dispatch(partition, queue, priority)
                async for entries in self._entries(key):
                    await self._check_entries(entries, key)
        for key in (keys.later(partition), *(keys.waiting(partition, queue) for queue in queues)):
            async for members in self._members(key):
                await self._check_entries([(job_id, "") for job_id in members], key)

    async def check_index(self, partition: int) -> None:
        """Check that each member of the index is one of a job that has it."""
        async for difference in stray_members(self._log, partition):
            self._note([difference])

    async def _entries(self, key: str) -> AsyncIterator[list[tuple[str, str]]]:
        """Yield pages of job and entry id."""
        after = "-"
        while rows := await entry_page(self._log.redis, key, after):
            yield [
                ((fields or [b"", b""])[1].decode(errors="replace"), entry_id.decode())
                for entry_id, fields in rows
            ]
            after = f"({rows[-1][0].decode()}"

    async def _members(self, key: str) -> AsyncIterator[list[str]]:
        """Yield pages of the members of a sorted set; one may come twice."""
        cursor = b"0"
        while True:
            reply = await command(self._log.redis, "ZSCAN", key, cursor, "COUNT", PAGE)
            cursor, flat = cast("tuple[bytes, list[bytes]]", reply)
            yield [member.decode(errors="replace") for member in flat[::2]]
            if cursor == b"0":
                return

    async def _check_entries(self, entries: Sequence[tuple[str, str]], key: str) -> None:
        """Check a page of jobs and entries of dispatch; those that are wrong now, alone."""
        names = [self._log.keys.head(job_id) for job_id, _ in entries]
        asked = [("HMGET", name, "status", "dispatch") for name in names]
        found: Sequence[object] = [(None, None)] * len(entries)
        with suppress(*UNREADABLE_JOB, ServerUnreachable):  # whose head it is, one by one
            found = await commands(self._log.redis, asked)
        heads = cast("Sequence[tuple[bytes | None, bytes | None]]", found)
        for (job_id, entry_id), (status, at) in zip(entries, heads, strict=True):
            if (status, at or b"") != (b"open", entry_id.encode()):
                await self._check_entry(job_id, entry_id, key)

    async def _check_entry(self, job_id: str, dispatch_id: str, key: str) -> None:
        """Check one entry of dispatch, or of waiting or later when `dispatch_id` is empty."""
        for _ in range(READ_AGAIN):
            head = await self._head(job_id)
            is_right = head.get(b"status") == b"open" and text(head, b"dispatch") == dispatch_id
            if is_right or not await self._still_there(key, dispatch_id, job_id):
                return
            if head == await self._head(job_id):
                expected = f"an open job whose entry is {dispatch_id or 'in this set'}"
                phase = f"phase {text(head, b'phase') or 'no such job'}"
                self._note([Difference(5, job_id, key, expected, phase)])
                return
        self._unsettled += 1

    async def _still_there(self, key: str, dispatch_id: str, job_id: str) -> bool:
        if dispatch_id:
            return bool(await command(self._log.redis, "XRANGE", key, dispatch_id, dispatch_id))
        return await command(self._log.redis, "ZSCORE", key, job_id) is not None
