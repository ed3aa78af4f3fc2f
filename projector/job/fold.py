"""Fold: the job after many events.

Rule: pure. `fold(a + b) == fold(b, fold(a))`, and the result is that of `evolve` event by event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Progressed, Submitted
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order


def fold(records: Iterable[Recorded], start: Job | None = None) -> Job:
    """Return the job after `records`, one job's events in order, beginning with `start`.

    Stops before the first event that cannot be read, or that does not follow the one before, so the
    result's `seq` may be below the last event's. Events at or before `start.seq` are ignored.
    Without `start` it begins with the first event, whatever its sequence number.
    """
    job = start or Job()
    for record in _without_repeated_progress(records, job.seq):
        job = evolve(job, record)
    return job


def begun_anew(records: Sequence[Recorded], start: Job) -> int | None:
    """Return where in `records` the newest job of this id begins, None where they go on `start`.

    An id may be used again once its job has ended and was trimmed. A first event that `start` has
    seen is no new one.
    """
    for at in range(len(records) - 1, -1, -1):
        record = records[at]
        if record.seq == 1 and isinstance(record.event, Submitted) and (at or start.seq):
            seen = entry_order(start.entry_id or NO_ENTRY)
            is_new = entry_order(record.entry_id) > seen and fold(records[:at], start).is_terminal
            return at if is_new else None
    return None


def _without_repeated_progress(records: Iterable[Recorded], seq: int) -> Iterator[Recorded]:
    """Yield the events after `seq`; of consecutive progress of one attempt only the last event.

    That one gets the highest value of them, so the result is the same. It is only faster: most
    events are progress, and copying the job for each is what costs.
    """
    pending: Recorded | None = None
    pending_progress: Progressed | None = None
    for record in records:
        if record.seq <= seq:
            continue
        event = record.event
        if (seq and record.seq != seq + 1) or (isinstance(event, Unreadable) and not event.skipped):
            break
        seq = record.seq
        progress = event if isinstance(event, Progressed) else None
        earlier = pending_progress
        if pending is not None and (
            earlier is None or progress is None or progress.attempt != earlier.attempt
        ):
            yield pending
            earlier = None
        if progress is not None and earlier is not None and earlier.value > progress.value:
            progress = replace(progress, value=earlier.value)
            record = replace(record, event=progress)
        pending, pending_progress = record, progress
    if pending is not None:
        yield pending
