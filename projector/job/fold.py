"""The fold: from events to a state.

Rule: pure, `fold(a + b) == fold(b, fold(a))`, and the same as `evolve` one event at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Progressed
from everfold.streams.events.record import Recorded


def fold(records: Iterable[Recorded], start: Job | None = None) -> Job:
    """Return the state after `records`, the same as `evolve` makes one by one.

    Stops before the first event that cannot be read or does not follow the one before; from
    nothing, it begins wherever the first event is.
    """
    job = start or Job()
    for record in _telling(records, job.seq):
        job = evolve(job, record)
    return job


def _telling(records: Iterable[Recorded], seq: int) -> Iterator[Recorded]:
    """Yield what follows `seq`, of each run of progress only the last event, which is what
    remains of it: most events are progress, and making a state of each is what costs."""
    held: Recorded | None = None
    told: Progressed | None = None
    for record in records:
        if record.seq <= seq:
            continue
        event = record.event
        if (seq and record.seq != seq + 1) or (isinstance(event, Unreadable) and not event.skipped):
            break
        seq = record.seq
        progress = event if isinstance(event, Progressed) else None
        if held is not None and (
            told is None or progress is None or progress.attempt != told.attempt
        ):
            yield held
            told = None
        if progress is not None and told is not None and told.value > progress.value:
            progress = replace(progress, value=told.value)
            record = replace(record, event=progress)
        held, told = record, progress
    if held is not None:
        yield held
