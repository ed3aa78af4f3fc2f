"""Reads of the projection: one job, or pages of them; the log where the projection has nothing.

Rule: a read changes nothing that matters and never scans the keyspace. A job whose state has
expired is folded from the log again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from functools import partial
from typing import cast

from msgspec import Struct

from everfold.projector.folding.parking import with_skips
from everfold.projector.folding.stored import read_state, read_states
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.errors import (
    BrokenChain,
    InvalidName,
    JobUnknown,
    UndecodableEvent,
    WrongExpectedSequence,
)
from everfold.streams.events.codec import Unreadable
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.scripts import Script

PAGE_LIMIT = 1000

_drop_ghost = Script("everfold.projector", "drop_ghost")


class Page(Struct, frozen=True):
    jobs: list[Job]
    cursor: str | None
    """To be given back for the next page; None when this was the last one."""


async def get(log: Log, job_id: str, at_least_seq: int = 0) -> Job:
    """Return the job's state: the projected one, or folded where that is missing or too old.

    Raises JobUnknown, Unavailable, or BrokenChain where the log no longer holds what is missing.
    """
    job = await _projected(log, job_id)
    if job is None or job.seq < at_least_seq:
        return await _caught_up(log, job or Job(job_id=job_id))
    return job


async def current(log: Log, job_id: str) -> Job:
    """Return the job's exact present state: the projected one and the tail of the log.

    Raises as `get` does. Of a parked job, the state before the event that cannot be read.
    """
    job = await _projected(log, job_id)
    if job is not None and job.is_terminal:
        return job  # nothing follows, and its events may have been trimmed
    return await _caught_up(log, job or Job(job_id=job_id))


async def from_log(log: Log, job_id: str) -> Job:
    """Return the same as `current` does, from the log alone: one read, for a short history."""
    return await _caught_up(log, Job(job_id=job_id))


async def at(log: Log, job_id: str, seq: int) -> Job:
    """Return the job as it was right after its event `seq`, from the log alone.

    Raises JobUnknown, Unavailable, CorruptLog where an event up to there is missing or cannot be
    read, WrongExpectedSequence for an event that does not exist yet.
    """
    events = await job_events(log, job_id)
    told = await with_skips(log, log.keys.partition_of(job_id), events)
    if events and events[0].seq != 1:
        raise BrokenChain(job_id, 1, events[0].seq)
    job = fold([record for record in told if record.seq <= seq])
    if job.seq == seq and seq > 0:
        return job
    for record in told[job.seq : job.seq + 1]:
        if isinstance(record.event, Unreadable):
            raise UndecodableEvent(job_id, record.seq, record.entry_id, record.event.why)
    raise WrongExpectedSequence(job_id, seq, job.seq)


async def _projected(log: Log, job_id: str) -> Job | None:
    return await with_retry(lambda: read_state(log, log.keys.job(job_id)), log.retry_for_s)


async def _caught_up(log: Log, job: Job) -> Job:
    events = await job_events(log, job.job_id, after_seq=job.seq)
    if events and events[0].seq != job.seq + 1:
        raise BrokenChain(job.job_id, job.seq + 1, events[0].seq)
    return fold(await with_skips(log, log.keys.partition_of(job.job_id), events), job)


class _Place(Struct, frozen=True, order=True):
    """A job's place in the order of lists: the newest first."""

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
) -> Page:
    """Return jobs by their last event, the newest first. Times are Unix milliseconds.

    A job that changes while pages are read moves to the front: it is not seen twice.
    Raises InvalidName for a cursor that is not one of ours, or Unavailable.
    """
    limit = min(limit, PAGE_LIMIT)
    before = _read_cursor(cursor) if cursor else None
    found: list[Job] = []
    while len(found) < limit:
        places = await _places(log, before, newer_than_ms, older_than_ms, limit)
        for place, job in zip(places, await _listed(log, places), strict=True):
            before = place
            if job is not None and _fits(job, statuses, user, kind, backend):
                found.append(job)
                if len(found) == limit:
                    return Page(found, f"{place.time_ms}:{place.job_id}")
        if len(places) < limit:
            break
    return Page(found, None)


def _fits(
    job: Job, statuses: Collection[str], user: str | None, kind: str | None, backend: str | None
) -> bool:
    return (
        (not statuses or job.status in statuses)
        and user in (None, job.user)
        and kind in (None, job.kind)
        and backend in (None, job.backend)
    )


async def _places(
    log: Log, before: _Place | None, newer_ms: int | None, older_ms: int | None, limit: int
) -> list[_Place]:
    """Return the next places of all partitions together, in order."""
    most = "+inf" if older_ms is None else str(older_ms)
    if before is not None:
        most = str(before.time_ms)
    least = "-inf" if newer_ms is None else str(newer_ms)
    places: dict[str, _Place] = {}
    for partition in range(log.keys.partitions):
        for index in (log.keys.active(partition), log.keys.ended(partition)):
            # One that ends between the two reads is in both: the later place counts.
            for place in await _in_index(log, index, least, most, before, limit):
                places[place.job_id] = place
    return sorted(places.values(), reverse=True)[:limit]


async def _in_index(
    log: Log, index: str, least: str, most: str, before: _Place | None, limit: int
) -> list[_Place]:
    """Return up to `limit` places of one index; those of one millisecond are never torn apart."""
    found: list[_Place] = []
    offset = 0
    while len(found) < limit:
        ask = ("ZREVRANGEBYSCORE", index, most, least, "WITHSCORES", "LIMIT", offset, limit)
        read = partial(command, log.redis, *ask)
        flat = cast("list[bytes]", await with_retry(read, log.retry_for_s))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        page = [_Place(int(float(score)), name.decode()) for name, score in pairs]
        found += [place for place in page if before is None or place < before]
        offset += limit
        if len(page) < limit:
            break
    return found


async def _listed(log: Log, places: Sequence[_Place]) -> list[Job | None]:
    """Return the job at each place; None for one that is over and gone, or cannot be folded."""
    job_ids = [place.job_id for place in places]
    keys = [log.keys.job(job_id) for job_id in job_ids]
    stored = await with_retry(lambda: read_states(log, keys), log.retry_for_s)
    return [job or await _expired(log, job_id) for job_id, job in zip(job_ids, stored, strict=True)]


async def _expired(log: Log, job_id: str) -> Job | None:
    """Fold an open job without a state; one that is over and gone leaves the indexes."""
    with contextlib.suppress(JobUnknown):
        try:
            job = await _caught_up(log, Job(job_id=job_id))
        except BrokenChain:
            return None
        if not job.is_terminal:
            return job
    keys, partition = log.keys, log.keys.partition_of(job_id)
    places = (keys.job(job_id), keys.active(partition), keys.ended(partition))
    await with_retry(lambda: _drop_ghost.run(log.redis, places, (job_id,)), log.retry_for_s)
    return None


def _read_cursor(cursor: str) -> _Place:
    time_ms, _, job_id = cursor.partition(":")
    if not time_ms.isdigit() or not job_id:
        raise InvalidName("cursor", cursor, "give back the one that came with the last page")
    return _Place(int(time_ms), job_id)
