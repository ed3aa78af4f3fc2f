"""Parked jobs: their next event cannot be folded, while the rest of the partition goes on.

Rule: a parked job keeps the state from before that event. `retry` folds it again, as after an
upgrade that can read the event; `skip` makes every fold from now on ignore it, and is stored beside
the log. Both let runners look again at a job that they could not read (a blocked one).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import JobNotParked, Refused
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.json_text import decoder
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.each import each
from everfold.streams.redis.pages import PAGE, read_readable_hash
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script
from everfold.streams.redis.server import server_time_ms

logger = get_logger("everfold.projector")

_unpark = Script("everfold.projector", "unpark")

UNREADABLE, GAP, BROKEN = "unreadable", "gap", "broken"
"""Why a job is parked: an event cannot be read; events are missing; a function of a custom
projection raised."""


BLOCKED_LIMIT = 10_000
"""Blocked jobs that are named of one partition."""


class Parked(Struct, frozen=True):
    """Why a job is no longer folded, and from which event on."""

    seq: int
    """0 for an entry that belongs to no job."""
    entry_id: str
    why: str
    """A sentence for people."""
    at_ms: int = 0
    """Time of that event, Unix ms."""
    cause: str = UNREADABLE
    """One of UNREADABLE, GAP and BROKEN."""
    retry: bool = False
    """An operator asked for it to be folded again."""


class ParkedJob(Struct, frozen=True):
    """One row of the list of parked jobs."""

    partition: int
    job_id: str
    """For an entry that belongs to no job: its entry id."""
    parked: Parked


class Skip(Struct, frozen=True):
    """An operator's decision to ignore an event that cannot be read."""

    job_id: str
    seq: int
    why: str
    """Why it cannot be read."""
    actor: str
    """Who decided."""
    at_ms: int
    """When, Unix ms of the server."""


def park(record: Recorded, why: str, cause: str = UNREADABLE) -> Parked:
    """Return the job parked at an event, and log that as an error."""
    logger.error("job_parked job=%s seq=%s why=%r", record.job_id, record.seq, why)
    return Parked(record.seq, record.entry_id, why, record.time_ms, cause)


async def read_parked(log: Log, key: str) -> dict[str, Parked]:
    """Return the parked jobs of one partition of a projection, by job id. Raises Unavailable."""
    return await read_readable_hash(log.redis, key, Parked)


async def parked_jobs(log: Log) -> list[ParkedJob]:
    """Return the parked jobs of all partitions, the oldest event first. Raises Unavailable."""

    async def read(partition: int) -> list[ParkedJob]:
        parked = await read_parked(log, log.keys.parked(partition))
        return [ParkedJob(partition, job_id, one) for job_id, one in parked.items()]

    found = [job for jobs in (await each(log, read)).all() for job in jobs]
    return sorted(found, key=lambda job: job.parked.at_ms)


async def blocked_jobs(log: Log) -> list[str]:
    """Return the ids of the jobs that wait for a runner that can read them. Raises Unavailable."""

    async def read(partition: int) -> list[str]:
        found, key = list[str](), log.keys.blocked(partition)
        for first in range(0, BLOCKED_LIMIT, PAGE):
            ask = ("ZRANGE", key, first, first + PAGE - 1)
            names = cast("list[bytes]", await command(log.redis, *ask))
            found += [name.decode(errors="replace") for name in names]
            if len(names) < PAGE:
                break
        return found

    return list(dict.fromkeys(name for names in (await each(log, read)).all() for name in names))


async def retry(log: Log, job_id: str) -> None:
    """Mark a parked job to be folded again, and take its partition from its owner.

    The partition's next owner folds it, which may park it again; without a projector the mark
    waits. A blocked job is looked at by a runner again. Raises JobNotParked, Unavailable.
    """
    found = await _find(log, job_id)
    await _mark(log, found, replace(found.parked, retry=True), skip=b"")


async def skip(log: Log, job_id: str, actor: str) -> None:
    """Make every fold ignore the event that a job is parked at, then act like `retry`.

    `actor` is recorded as the one who decided. There is no way back. Raises JobNotParked,
    Unavailable, and Refused where events are missing: nobody knows what they said.
    """
    found = await _find(log, job_id)
    parked = found.parked
    if parked.cause == GAP:
        raise Refused(
            f"job {job_id} has no unreadable event to skip, events are missing: {parked.why}; "
            "bring them back (`everfold archive import`) and retry"
        )
    now_ms = await server_time_ms(log.redis)
    decision = Skip(found.job_id, parked.seq, parked.why, actor, now_ms)
    await _mark(log, found, replace(parked, retry=True), skip=msgspec.json.encode(decision))


_decode = decoder(Parked)


async def _find(log: Log, job_id: str) -> ParkedJob:
    for partition in range(log.keys.partitions):  # an entry that belongs to no job is in any
        text = await command(log.redis, "HGET", log.keys.parked(partition), job_id)
        with suppress(ValueError):
            if isinstance(text, bytes):
                return ParkedJob(partition, job_id, _decode(text))
    if not await is_blocked(log, job_id):
        raise JobNotParked(job_id)
    return await blocked_job(log, job_id)


async def is_blocked(log: Log, job_id: str) -> bool:
    """Say whether a runner could not read the job, so that an attempt may be alive while it waits.

    Raises a leaf of Unavailable.
    """
    return bool(await command(log.redis, "HGET", log.keys.head(job_id), "blocked"))


async def blocked_job(log: Log, job_id: str) -> ParkedJob:
    """Return a job that runners could not read, as a projector would park it.

    Raises JobUnknown, Unavailable.
    """
    partition = log.keys.partition_of(job_id)
    records = await with_skips(log, partition, await job_events(log, job_id))
    for record in records:
        event = record.event
        if isinstance(event, Unreadable) and not event.skipped:
            parked = Parked(record.seq, record.entry_id, event.why, record.time_ms)
            return ParkedJob(partition, job_id, parked)
    seq = records[0].seq if records else 0
    return ParkedJob(partition, job_id, Parked(seq, NO_ENTRY, "events are missing", cause=GAP))


async def _mark(log: Log, job: ParkedJob, parked: Parked, skip: bytes) -> None:
    keys, partition = log.keys, job.partition
    touched = (
        *(keys.projector(partition), keys.parked(partition), keys.skipped(partition)),
        *(keys.head(job.job_id, partition), keys.blocked(partition), keys.later(partition)),
    )
    text = msgspec.json.encode(parked)
    await _unpark.run(log.redis, touched, (job.job_id, text, parked.entry_id, skip))


async def with_skips(log: Log, partition: int, records: Sequence[Recorded]) -> Sequence[Recorded]:
    """Return the events of one partition, with those marked `skipped` that an operator skipped.

    Asks the server only where an event is unreadable. Raises Unavailable.
    """
    unreadable = [
        record.entry_id
        for record in records
        if isinstance(record.event, Unreadable) and not record.event.skipped
    ]
    if not unreadable:
        return records
    ask = ("HMGET", log.keys.skipped(partition), *unreadable)
    reply = cast("list[bytes | None]", await command(log.redis, *ask))
    found = zip(unreadable, reply, strict=True)
    skipped = {entry_id for entry_id, text in found if text is not None}
    return [without(record) if record.entry_id in skipped else record for record in records]


def without(record: Recorded) -> Recorded:
    """Return an unreadable event marked `skipped`, so that folds ignore it; others unchanged."""
    if isinstance(record.event, Unreadable):
        return replace(record, event=replace(record.event, skipped=True))
    return record
