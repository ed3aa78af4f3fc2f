"""Parked jobs: those whose next event cannot be folded, while their partition goes on.

Rule: a parked job keeps the state from before that event. `retry` folds it again, as after an
upgrade that can read the event; `skip` decides to go on without the event, for every fold from
then on, and that decision is kept beside the log.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.appending.log import Log
from everfold.streams.errors import JobNotParked, Refused
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.scripts import Script
from everfold.streams.redis.server import server_time_ms

logger = logging.getLogger("everfold.projector")

_unpark = Script("everfold.projector", "unpark")

UNREADABLE, GAP, BROKEN = "unreadable", "gap", "broken"
"""Why a job is parked: an event that nobody can read; events that are missing; an `evolve` that
raised."""


class Parked(Struct, frozen=True):
    """Why a job is no longer folded, and since which event."""

    seq: int
    entry_id: str
    why: str
    at_ms: int = 0
    """Time of that event, Unix ms."""
    cause: str = UNREADABLE
    retry: bool = False
    """Somebody asked for it to be folded again."""


class ParkedJob(Struct, frozen=True):
    """A parked job as lists show it."""

    partition: int
    job_id: str
    """Or the entry id, of an entry that belongs to no job."""
    parked: Parked


class Skip(Struct, frozen=True):
    """The decision to fold on without an event."""

    job_id: str
    seq: int
    why: str
    actor: str
    at_ms: int


def park(record: Recorded, why: str, cause: str = UNREADABLE) -> Parked:
    logger.error("job_parked job=%s seq=%s why=%r", record.job_id, record.seq, why)
    return Parked(record.seq, record.entry_id, why, record.time_ms, cause)


async def read_parked(log: Log, key: str) -> dict[str, Parked]:
    stored = await read_hash(log.redis, key)
    return {name.decode(): msgspec.json.decode(text, type=Parked) for name, text in stored.items()}


async def parked_jobs(log: Log) -> list[ParkedJob]:
    """Return the parked jobs of all partitions, the oldest first."""
    found = [
        ParkedJob(partition, job_id, parked)
        for partition in range(log.keys.partitions)
        for job_id, parked in (await read_parked(log, log.keys.parked(partition))).items()
    ]
    return sorted(found, key=lambda job: job.parked.at_ms)


async def retry(log: Log, job_id: str) -> None:
    """Have a parked job folded again by whoever owns its partition.

    Raises JobNotParked for a job that is not parked.
    """
    found = await _find(log, job_id)
    await _mark(log, found, replace(found.parked, retry=True), skip=b"")


async def skip(log: Log, job_id: str, actor: str) -> None:
    """Have a parked job folded on without the event that cannot be read, now and ever after.

    Raises JobNotParked for a job that is not parked, Refused where events are missing rather than
    unreadable: nobody knows what they said.
    """
    found = await _find(log, job_id)
    parked = found.parked
    if parked.cause == GAP:
        raise Refused(
            f"job {job_id} has no unreadable event to skip, events are missing: {parked.why}; "
            "bring them back (`everfold archive import`) and retry"
        )
    now_ms = await server_time_ms(log.redis)
    told = Skip(found.job_id, parked.seq, parked.why, actor, now_ms)
    await _mark(log, found, replace(parked, retry=True), skip=msgspec.json.encode(told))


async def _find(log: Log, job_id: str) -> ParkedJob:
    for job in await parked_jobs(log):
        if job.job_id == job_id:
            return job
    raise JobNotParked(job_id)


async def _mark(log: Log, job: ParkedJob, parked: Parked, skip: bytes) -> None:
    keys, partition = log.keys, job.partition
    places = (keys.projector(partition), keys.parked(partition), keys.skipped(partition))
    text = msgspec.json.encode(parked)
    await _unpark.run(log.redis, places, (job.job_id, text, parked.entry_id, skip))


async def with_skips(log: Log, partition: int, records: Sequence[Recorded]) -> Sequence[Recorded]:
    """Mark the unreadable events that somebody decided to go on without."""
    unread = [record.entry_id for record in records if isinstance(record.event, Unreadable)]
    if not unread:
        return records
    ask = ("HMGET", log.keys.skipped(partition), *unread)
    reply = cast("list[bytes | None]", await command(log.redis, *ask))
    skipped = {entry_id for entry_id, text in zip(unread, reply, strict=True) if text is not None}
    return [without(record) if record.entry_id in skipped else record for record in records]


def without(record: Recorded) -> Recorded:
    """Mark an event that cannot be read, so that its job is folded on without it."""
    if isinstance(record.event, Unreadable):
        return replace(record, event=replace(record.event, skipped=True))
    return record
