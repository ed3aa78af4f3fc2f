"""What a feed was not told of its job, out of the log; where that is cut, out of the projection."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from everfold.projector.folding.parking import with_skips
from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import Log
from everfold.streams.errors import CorruptLog
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Terminal
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.reading.reader import job_tail


class Missed(Struct, frozen=True):
    """The events of a job after a state of it."""

    records: Sequence[Recorded]
    is_cut: bool
    """The log does not have all of them."""


async def missed(log: Log, job: Job) -> Missed:
    """Return the events after a state. Raises JobUnknown, a leaf of Unavailable."""
    tail = await job_tail(log, job.job_id, job.seq)
    records = await with_skips(log, log.keys.partition_of(job.job_id), tail.events)
    return Missed(await log.opened_records(records), tail.is_cut)


def can_follow(record: Recorded, job: Job) -> bool:
    """Say whether an event is the next one of a job, and can be folded."""
    event = record.event
    is_readable = not isinstance(event, Unreadable) or event.skipped
    return is_readable and record.seq == job.seq + 1


async def newest(log: Log, job: Job, records: Sequence[Recorded]) -> tuple[Job, Recorded]:
    """Return the job's present state, and its last event, or what stands for that where it is gone.

    Raises JobUnknown, a leaf of Unavailable, a kind of CorruptLog.
    """
    last = records[-1] if records else None
    try:
        found = await log.opened(await current(log, job.job_id), job.job_id)
    except CorruptLog:
        # An end says by itself how the job ended.
        if last is None or not isinstance(last.event, Terminal):
            raise
        found = evolve(job, last)
    if last is not None:
        return found, last
    gone = Unreadable("", "the log was trimmed", b"", skipped=True)
    return found, Recorded(
        entry_id=found.entry_id or NO_ENTRY, job_id=found.job_id, seq=found.seq,
        epoch=found.epoch, previous=NO_ENTRY, event=gone, payload=b"",
    )  # fmt: skip
