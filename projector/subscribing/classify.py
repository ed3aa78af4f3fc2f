"""Classifies entries of a partition: to deliver, to ignore, to leave out, or to park and why.

Rule: it writes nothing. Each event is looked at with its job right after it, folded from the log
alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from everfold.projector.folding.job_tracker import JobTracker
from everfold.projector.subscribing.delivery import Delivery, Filter
from everfold.projector.subscribing.held import GAP, UNREADABLE, Held, park
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain, JobUnknown
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order
from everfold.streams.reading.reader import job_events

IN_HAND_BYTES = 16 * 1024 * 1024
"""Bytes of the jobs that are delivered at the same time, or one that is larger."""


class Classified(Struct, frozen=True):
    """The entries of a batch; events of a job after the one that it is parked at are in no list."""

    deliveries: list[Delivery]
    """In the order of the log."""
    ignored: list[str]
    """Ids of entries that the subscription does not want."""
    left_out: list[str]
    """Ids of entries whose jobs began before the subscription, in a part of the log that was
    trimmed by then."""
    parked: dict[str, Held]
    """Jobs to park once their earlier events are delivered, by job id."""
    rest: Sequence[Recorded] = ()
    """What was not looked at: the jobs before are so large that they are to be delivered first."""


class Classifier:
    """Classifies the entries of one partition. Call `start_over` before anything else."""

    def __init__(self, log: Log, partition: int, wants: Filter, archive: Archive | None) -> None:
        self._log, self._wants = log, wants
        self._tracker = JobTracker(log, partition, archive, past_unreadable=True)
        self._began = NO_ENTRY

    def start_over(self, began: str) -> None:
        """Drop cached jobs. `began` is the entry id up to which the log was trimmed when the
        subscription was made: jobs that began before it are left out."""
        self._tracker.clear()
        self._began = began

    async def classify(self, records: Sequence[Recorded]) -> Classified:
        """Classify entries, which must be in log order, up to IN_HAND_BYTES of jobs.

        Raises Unavailable.
        """
        found = Classified([], [], [], {})
        sizes, in_hand = dict[str, int](), 0
        for number, record in enumerate(records, 1):
            if not record.job_id:
                found.ignored.append(record.entry_id)  # another program's entry
            elif record.job_id not in found.parked:
                await self._classify(record, found)
                size = self._tracker.size_of(record.job_id)
                in_hand += size - sizes.get(record.job_id, 0)
                sizes[record.job_id] = size
            if in_hand > IN_HAND_BYTES:
                found = replace(found, rest=records[number:])
                break
        self._tracker.evict()
        return found

    async def _classify(self, record: Recorded, found: Classified) -> None:
        if isinstance(record.event, Unreadable) and record.event.skipped:
            found.ignored.append(record.entry_id)  # its author marked it ignorable
            return
        if isinstance(record.event, Unreadable):
            found.parked[record.job_id] = park(record, record.event.why, UNREADABLE)
            return
        try:
            delivery = Delivery(record, await self._tracker.after(record))
        except (BrokenChain, JobUnknown) as error:
            if await self._began_before(record):
                found.left_out.append(record.entry_id)
            else:
                found.parked[record.job_id] = park(record, str(error), GAP)
            return
        if self._wants.wants(delivery):
            found.deliveries.append(delivery)
        else:
            found.ignored.append(record.entry_id)

    async def _began_before(self, record: Recorded) -> bool:
        """Say whether the events before the job's first one were trimmed before `began`."""
        try:
            first = (await job_events(self._log, record.job_id))[0]
        except (JobUnknown, IndexError):
            return False
        before = first.seq > 1 and entry_order(first.previous) <= entry_order(self._began)
        return before and first.previous != NO_ENTRY
