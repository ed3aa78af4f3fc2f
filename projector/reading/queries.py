"""Reads jobs, one or pages of them: from the projection, and from the log where that has nothing.

Rule: a read never scans the keyspace, and writes nothing, except that index entries of jobs that
are gone are deleted. A job whose state has expired is folded from the log again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from everfold.projector.folding.parking import with_skips
from everfold.projector.folding.stored_jobs import read_stored_job, read_stored_jobs
from everfold.projector.job.evolve import evolve
from everfold.projector.job.fold import fold
from everfold.projector.job.job import STATUSES, Job
from everfold.streams.appending.log import Log
from everfold.streams.errors import (
    BrokenChain,
    CorruptLog,
    InvalidName,
    JobUnknown,
    UndecodableEvent,
    WrongExpectedSequence,
    WrongKeyType,
)
from everfold.streams.events.checks import check_choice, check_text, check_texts
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Expired, Terminal
from everfold.streams.events.limits import BACKEND_LIMIT
from everfold.streams.events.ranges import check_number
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events, job_tail
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.scripts import Script

UNREADABLE = "unreadable"
"""Reason of a job that expired because nobody could read its events."""

PAGE_LIMIT = 1000
"""Most jobs of one page."""

_drop_stale_index_entry = Script("everfold.projector", "drop_stale_index_entry")


class Page(Struct, frozen=True):
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
    return await with_retry(lambda: read_stored_job(log, log.keys.job(job_id)), log.retry_for_s)


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


class _Position(Struct, frozen=True, order=True):
    """A job's position in lists, which show the highest first."""

    time_ms: int
    job_id: str


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
    """Return a page of jobs, the one with the newest event first.

    The filters must all match; `statuses` matches any of them when it is empty. `newer_than_ms` and
    `older_than_ms` bound the time of the last event, Unix ms, both inclusive. `limit` is at most
    PAGE_LIMIT. A job that changes while pages are read moves to the front, so it is in no later
    page. Filters read all jobs up to the last match. Jobs of `newer`, by id, are listed as given,
    whatever the projection says of them. `behind_s` is that of the page. Raises InvalidName for a
    malformed cursor, an unknown status, a limit below 1; Unavailable. The page names keys that
    have another type.
    """
    statuses = _known(statuses)
    check_number("limit", limit)
    for what, text in (("user", user), ("kind", kind), ("backend", backend)):
        if text is not None:
            check_text(what, text, most=BACKEND_LIMIT)
    newer = newer or {}
    limit = min(limit, PAGE_LIMIT)
    before = _read_cursor(cursor)
    found: list[Job] = []
    unread: set[str] = set()
    next_cursor: str | None = None
    while len(found) < limit:
        bounds = (newer_than_ms, older_than_ms)
        positions = await _positions(log, before, *bounds, limit, newer, unread)
        jobs = await _jobs_at(log, positions, newer, unread)
        for before, job in zip(positions, jobs, strict=True):
            if job is not None and _fits(job, statuses, user, kind, backend):
                found.append(job)
                if len(found) == limit:
                    next_cursor = f"{before.time_ms}:{before.job_id}"
                    break
        if len(positions) < limit:
            break
    return Page(found, next_cursor, behind_s, tuple(sorted(unread)))


def _fits(
    job: Job, statuses: Collection[str], user: str | None, kind: str | None, backend: str | None
) -> bool:
    return (
        (not statuses or job.status in statuses)
        and user in (None, job.user)
        and kind in (None, job.kind)
        and backend in (None, job.backend)
    )


async def _positions(
    log: Log,
    before: _Position | None,
    newer_ms: int | None,
    older_ms: int | None,
    limit: int,
    newer: Mapping[str, Job],
    unread: set[str],
) -> list[_Position]:
    """Return the next positions of all partitions together, and of `newer`, in order.

    An index of another type is added to `unread`.
    """
    most = "+inf" if older_ms is None else str(older_ms)
    if before is not None:
        most = str(before.time_ms)
    least = "-inf" if newer_ms is None else str(newer_ms)
    positions: dict[str, _Position] = {}
    for partition in range(log.keys.partitions):
        for index in (log.keys.active(partition), log.keys.ended(partition)):
            # A job that ends between the two reads is in both: the later position counts.
            # As many more as may be listed elsewhere, by `newer`.
            more = limit + len(newer)
            try:
                listed = await _in_index(log, index, least, most, before, more)
            except WrongKeyType:
                unread.add(index)
                continue
            positions |= {position.job_id: position for position in listed}
    for job_id, job in newer.items():
        positions.pop(job_id, None)
        position = _Position(job.updated_at_ms, job_id)
        is_within = (newer_ms or 0) <= position.time_ms <= (older_ms or position.time_ms)
        if is_within and (before is None or position < before):
            positions[job_id] = position
    return sorted(positions.values(), reverse=True)[:limit]


async def _in_index(
    log: Log, index: str, least: str, most: str, before: _Position | None, limit: int
) -> list[_Position]:
    """Return the next positions of one index, `limit` or some more, unless there are fewer.

    Scores are equal within a millisecond, so what lies before `before` is filtered out here.
    """
    found: list[_Position] = []
    offset = 0
    while len(found) < limit:
        ask = ("ZREVRANGEBYSCORE", index, most, least, "WITHSCORES", "LIMIT", offset, limit)
        read = partial(command, log.redis, *ask)
        flat = cast("list[bytes]", await with_retry(read, log.retry_for_s))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        page = [_position(name, score) for name, score in pairs]
        found += [one for one in page if one is not None and (before is None or one < before)]
        offset += limit
        if len(page) < limit:
            break
    return found


def _position(name: bytes, score: bytes) -> _Position | None:
    """Return a position, None for a member that Everfold never writes."""
    try:
        return _Position(int(float(score)), name.decode())
    except (ValueError, OverflowError):
        return None


async def _jobs_at(
    log: Log, positions: Sequence[_Position], newer: Mapping[str, Job], unread: set[str]
) -> list[Job | None]:
    """Return the job at each position; None when it is gone or cannot be folded."""
    job_ids = [position.job_id for position in positions]
    keys = [log.keys.job(job_id) for job_id in job_ids]
    stored = await with_retry(lambda: read_stored_jobs(log, keys), log.retry_for_s)
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
    partitions = {log.keys.partition_of(job_id) for job_id in job_ids}
    found: set[str] = set()
    for partition in partitions:
        wanted = [job_id for job_id in job_ids if log.keys.partition_of(job_id) == partition]
        ask = ("HMGET", log.keys.parked(partition), *wanted)
        try:
            reply = await with_retry(partial(command, log.redis, *ask), log.retry_for_s)
        except WrongKeyType:
            unread.add(log.keys.parked(partition))
            continue
        rows = zip(wanted, cast("list[bytes | None]", reply), strict=True)
        found |= {job_id for job_id, text in rows if text is not None}
    return found


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
    jobs = log.keys.jobs(log.keys.partition_of(job_id))
    touched = (jobs.job(job_id), jobs.active(), jobs.ended(), jobs.index(), jobs.indexed())
    await with_retry(
        lambda: _drop_stale_index_entry.run(log.redis, touched, (job_id,)), log.retry_for_s
    )
    return None


def _read_cursor(cursor: object) -> _Position | None:
    if cursor is None or (isinstance(cursor, str) and not cursor):
        return None
    found = re.fullmatch(r"([0-9]{1,16}):(.+)", cursor) if isinstance(cursor, str) else None
    if found is None:
        raise InvalidName("cursor", cursor, "give back the one that came with the last page")
    return _Position(int(found[1]), found[2])


def _known(statuses: Collection[str]) -> tuple[str, ...]:
    """Return the statuses. Raises InvalidName for one that no job can have."""
    named = check_texts("statuses", statuses)
    return tuple(check_choice("status", status, STATUSES) for status in named)
