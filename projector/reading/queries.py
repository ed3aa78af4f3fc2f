"""Reads jobs, one or pages of them: from the projection, and from the log where that has nothing.

Rule: a read never scans the keyspace, and writes nothing, except that index entries of jobs that
are gone are deleted. A job whose state has expired is folded from the log again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from everfold.projector.folding.parking import with_skips
from everfold.projector.folding.stored_jobs import (
    jobs_by_partition,
    read_stored_job,
    read_stored_jobs,
)
from everfold.projector.job.evolve import evolve
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.job.job_filter import JobFilter, check_filter
from everfold.projector.reading.positions import Position, Positions, cursor_at, read_cursor
from everfold.projector.reading.selected import is_selected
from everfold.streams.appending.log import Log
from everfold.streams.border.plain import Plain
from everfold.streams.errors import (
    BrokenChain,
    CorruptLog,
    JobUnknown,
    ServerRefusesAccess,
    UndecodableEvent,
    WrongExpectedSequence,
    WrongKeyType,
)
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Expired, Terminal
from everfold.streams.events.ranges import check_number
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events, job_tail
from everfold.streams.redis.each import each
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.script import Script

UNREADABLE = "unreadable"
"""Reason of a job that expired because nobody could read its events."""

PAGE_LIMIT = 1000
"""Most jobs of one page."""

LOOK_LIMIT = 2_000
"""Jobs that are read for one page, about: then it ends, with a cursor."""

LOOKED_AT_ONCE = 200
"""Jobs that are read together where a filter leaves most of them out."""

_drop_stale_index_entry = Script("everfold.projector", "drop_stale_index_entry")


class Page(Plain, Struct, frozen=True):
    """Some jobs of a list, the one with the newest event first."""

    jobs: list[Job]
    cursor: str | None
    """Ask with it for the next page; None when this is the last one."""
    behind_s: float = 0.0
    """Age in seconds of the oldest event that the list may not show yet, 0 when there is none. It
    grows while no projector runs: then newer jobs are missing."""
    unread: tuple[str, ...] = ()
    """Keys that could not be read, because another program wrote to them: their jobs may be
    missing, or shown as they were. `everfold doctor` names them, too."""
    missing: tuple[int, ...] = ()
    """Partitions that did not answer: their jobs are missing."""
    is_unindexed: bool = False
    """Whether all jobs of a partition were looked at, because its index does not have what the
    filter asks for. `everfold projector rebuild` makes it."""


async def get(log: Log, job_id: str, at_least_seq: int = 0) -> Job:
    """Return the projected job; fold the log where that is missing or before `at_least_seq`.

    The result is before `at_least_seq` only when the log does not have that event. Raises as
    `current` does; a job that is parked is read as `current` reads it.
    """
    check_number("at_least_seq", at_least_seq)
    job = await _projected(log, job_id)
    if job is None or job.seq < at_least_seq:
        return await _caught_up(log, job or Job(job_id=job_id))
    is_parked = not job.is_terminal and bool(await _parked_in(log, [job_id], set()))
    return await _caught_up(log, job) if is_parked else job


async def current(log: Log, job_id: str) -> Job:
    """Return the job after its last event: the projected one, folded on with the log.

    Raises JobUnknown, Unavailable, and UndecodableEvent or BrokenChain where an event cannot be
    read or is missing: what came before is not the job's present state. Only of a job that has
    ended its end is returned, with `unreadable_seq` set.
    """
    job = await _projected(log, job_id)
    if job is not None and job.is_terminal:
        return job  # nothing can follow, and its events may have been trimmed
    return await _caught_up(log, job or Job(job_id=job_id))


async def from_log(log: Log, job_id: str) -> Job:
    """Return what `current` returns, from the log alone: one read, which suits a short history.

    Raises as `current` does.
    """
    return await _caught_up(log, Job(job_id=job_id))


async def at(log: Log, job_id: str, seq: int) -> Job:
    """Return the job right after its event `seq` (from 1), folded from the log alone.

    Raises JobUnknown, Unavailable, BrokenChain or UndecodableEvent where an event up to there is
    missing or cannot be read, WrongExpectedSequence where the job has no event `seq`.
    """
    events = await job_events(log, job_id)
    records = await with_skips(log, log.keys.partition_of(job_id), events)
    if events and events[0].seq != 1:
        raise BrokenChain(job_id, 1, events[0].seq)
    job = fold([record for record in records if record.seq <= seq])
    if job.seq == seq and seq > 0:
        return job
    for record in records[job.seq : job.seq + 1]:
        if isinstance(record.event, Unreadable):
            raise UndecodableEvent(job_id, record.seq, record.entry_id, record.event.why)
    raise WrongExpectedSequence(job_id, seq, job.seq)


async def _projected(log: Log, job_id: str) -> Job | None:
    return await with_retry(lambda: read_stored_job(log, job_id), log.retry_for_s)


async def _caught_up(log: Log, job: Job) -> Job:
    tail = await job_tail(log, job.job_id, after_seq=job.seq)
    if not tail.events:
        if tail.is_cut and (newest := await _head_seq(log, job.job_id)) > job.seq:
            raise BrokenChain(job.job_id, job.seq + 1, newest)
        return job
    records = await with_skips(log, log.keys.partition_of(job.job_id), tail.events)
    first, last = records[0], records[-1]
    is_broken = first.seq != job.seq + 1
    folded = job if is_broken else fold(records, job)
    if folded.seq == last.seq:
        return folded
    if (end := _end_of(folded, last)) is not None:
        return end
    if is_broken:
        raise BrokenChain(job.job_id, job.seq + 1, first.seq)
    raise _why_stopped(folded, records)


def _end_of(job: Job, last: Recorded) -> Job | None:
    """Return the end of a job whose history cannot all be read, None while it is open.

    A terminal event says by itself how the job ended, whatever was before. Where not even the
    beginning is known, only an end for that very reason counts.
    """
    event = last.event
    if not isinstance(event, Terminal):
        return None
    if not job.submitted_at_ms and not (isinstance(event, Expired) and event.reason == UNREADABLE):
        return None
    attempt = job.attempt if isinstance(event, Expired) else event.attempt
    return replace(evolve(job, last), unreadable_seq=job.seq + 1, attempt=attempt)


def _why_stopped(job: Job, records: Sequence[Recorded]) -> UndecodableEvent | BrokenChain:
    """Return why the fold of `records` went no further than `job`."""
    following = next(record for record in records if record.seq > job.seq)
    if isinstance(following.event, Unreadable) and following.seq == job.seq + 1:
        why = following.event.why
        return UndecodableEvent(job.job_id, following.seq, following.entry_id, why)
    return BrokenChain(job.job_id, job.seq + 1, following.seq)


async def _head_seq(log: Log, job_id: str) -> int:
    key = log.keys.head(job_id)
    seq = await with_retry(lambda: command(log.redis, "HGET", key, "seq"), log.retry_for_s)
    return int(seq) if isinstance(seq, bytes) and seq.isdigit() else 0


async def list_jobs(
    log: Log,
    *,
    statuses: Collection[str] = (),
    user: str | None = None,
    kind: str | None = None,
    backend: str | None = None,
    newer_than_ms: int | None = None,
    older_than_ms: int | None = None,
    cursor: str | None = None,
    limit: int = 50,
    newer: Mapping[str, Job] | None = None,
    behind_s: float = 0.0,
) -> Page:
    """Return what `page_of` returns for a filter of these."""
    selects = JobFilter(
        statuses=statuses,
        user=user,
        kind=kind,
        backend=backend,
        newer_than_ms=newer_than_ms,
        older_than_ms=older_than_ms,
    )
    return await page_of(
        log, selects, cursor=cursor, limit=limit, newer=newer or {}, behind_s=behind_s
    )


async def page_of(
    log: Log,
    selects: JobFilter,
    *,
    cursor: str | None = None,
    limit: int = 50,
    newer: Mapping[str, Job] | None = None,
    behind_s: float = 0.0,
    missing: set[int] | None = None,
) -> Page:
    """Return a page of jobs, the one with the newest event first.

    `limit` is at most PAGE_LIMIT. A page that has looked at LOOK_LIMIT jobs ends there: it may have
    fewer jobs, even none, and a cursor. A job that changes while pages are read moves to the front,
    so it is in no later page. Jobs of `newer`, by id, are listed as given, whatever the projection
    says of them. `behind_s` is that of the page. Raises InvalidName for a malformed cursor or
    filter, a limit below 1; Unavailable. The page names keys that have another type, and partitions
    that do not answer: these are added to `missing`, without which they raise Unavailable.
    """
    selects = check_filter(selects)
    check_number("limit", limit)
    limit, newer = min(limit, PAGE_LIMIT), newer or {}
    before = read_cursor(cursor)
    found: list[Job] = []
    unread: set[str] = set()
    positions, looked = Positions(log, selects, newer, unread, missing), 0
    while True:
        at_once = limit if looked == 0 else max(limit, LOOKED_AT_ONCE)
        following = await positions.after(before, min(at_once, PAGE_LIMIT))
        jobs = await jobs_at(log, following.positions, newer, unread)
        looked += len(jobs)
        before = max(following.stops, default=None)
        for position, job in zip(following.positions, jobs, strict=True):
            if job is not None and await is_selected(log, selects, job):
                found.append(job)
                if len(found) == limit:
                    is_last = before is None and position == following.positions[-1]
                    before = None if is_last else position
                    break
        if before is None or len(found) == limit or looked >= LOOK_LIMIT:
            break
    return Page(
        jobs=found,
        cursor=None if before is None else cursor_at(before),
        behind_s=behind_s,
        unread=tuple(sorted(unread)),
        missing=tuple(sorted(missing or ())),
        is_unindexed=positions.unindexed,
    )


async def jobs_at(
    log: Log, positions: Sequence[Position], newer: Mapping[str, Job], unread: set[str]
) -> list[Job | None]:
    """Return the job at each position; None when it is gone or cannot be folded."""
    job_ids = [position.job_id for position in positions]
    stored = await with_retry(lambda: read_stored_jobs(log, job_ids), log.retry_for_s)
    parked = await _parked_in(log, job_ids, unread)
    found: list[Job | None] = []
    for job_id, job in zip(job_ids, stored, strict=True):
        if job_id in newer:
            found.append(newer[job_id])
        elif job is None:
            found.append(await _without_state(log, job_id))
        else:
            found.append(await _as_parked(log, job) if job_id in parked else job)
    return found


async def _parked_in(log: Log, job_ids: Sequence[str], unread: set[str]) -> set[str]:
    """Return those jobs that are parked. A key of another type is added to `unread`."""
    wanted = jobs_by_partition(log, job_ids)

    async def look(partition: int) -> list[str]:
        ask = ("HMGET", log.keys.parked(partition), *wanted[partition])
        try:
            reply = await with_retry(partial(command, log.redis, *ask), log.retry_for_s)
        except WrongKeyType:
            unread.add(log.keys.parked(partition))
            return []
        rows = zip(wanted[partition], cast("list[bytes | None]", reply), strict=True)
        return [job_id for job_id, text in rows if text is not None]

    return set[str]().union(*(await each(log, look, wanted)).all())


async def _as_parked(log: Log, job: Job) -> Job:
    """Return a job as far as it can be read, then with `unreadable_seq` set. Raises JobUnknown."""
    try:
        return await _caught_up(log, job)
    except CorruptLog:
        partition = log.keys.partition_of(job.job_id)
        found = await with_skips(log, partition, await job_events(log, job.job_id))
        job = fold(found, job)
        return replace(job, unreadable_seq=job.seq + 1)


async def _without_state(log: Log, job_id: str) -> Job | None:
    """Fold an open job whose state has expired; delete the index entry of any other job."""
    with contextlib.suppress(JobUnknown):
        job = await _as_parked(log, Job(job_id=job_id))
        if not job.is_terminal:
            return job if job.submitted_at_ms else None  # without its beginning it says nothing
    partition = log.keys.partition_of(job_id)
    jobs, rebuilt = log.keys.jobs(partition), log.keys.jobs(partition, rebuilding=True)
    indexes = (jobs.active(), jobs.ended(), jobs.index(), jobs.indexed())
    touched = (jobs.job(job_id), *indexes, rebuilt.job(job_id))
    with contextlib.suppress(ServerRefusesAccess):  # who may only read leaves it to others
        await with_retry(
            lambda: _drop_stale_index_entry.run(log.redis, touched, (job_id,)), log.retry_for_s
        )
    return None
