"""Classifies the entries of a partition: to be delivered, not wanted, or to be parked and why.

Rule: each event is looked at with its job as it is right after it, folded from the log alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec import Struct

from everfold.projector.folding.context import Context
from everfold.projector.subscribing.acks import Acks
from everfold.projector.subscribing.delivery import Delivery, Filter
from everfold.projector.subscribing.held import GAP, UNREADABLE, Held, park
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain, JobUnknown
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import NO_ENTRY, Recorded, entry_order
from everfold.streams.reading.reader import job_events

logger = logging.getLogger("everfold.subscribing")


class Classified(Struct, frozen=True):
    deliveries: list[Delivery]
    parked: dict[str, Held]
    """Jobs to be parked once what comes before is delivered."""


class Classification:
    def __init__(self, log: Log, partition: int, wants: Filter, archive: Archive | None) -> None:
        self._log, self._wants = log, wants
        self._context = Context(log, partition, archive, past_unreadable=True)
        self._began = NO_ENTRY

    def forget(self, began: str) -> None:
        """Forget what is in memory. `began` is up to where the log was trimmed already when the
        subscription was made: jobs whose beginning lies there are none of its business."""
        self._context.forget()
        self._began = began

    async def sort(self, records: Sequence[Recorded], acks: Acks) -> Classified:
        """Return what is to be done with each, in order; note what needs nothing."""
        found = Classified([], {})
        for record in records:
            if not record.job_id:
                acks.ignored(record.entry_id)  # not an entry of ours
            elif record.job_id not in found.parked:
                await self._sort(record, acks, found)
        self._context.keep()
        return found

    async def _sort(self, record: Recorded, acks: Acks, found: Classified) -> None:
        if isinstance(record.event, Unreadable):
            found.parked[record.job_id] = park(record, record.event.why, UNREADABLE)
            return
        try:
            delivery = Delivery(record, await self._context.after(record))
        except (BrokenChain, JobUnknown) as error:
            if await self._began_before(record):
                acks.left_out(record.entry_id)
            else:
                found.parked[record.job_id] = park(record, str(error), GAP)
            return
        if self._wants.wants(delivery):
            found.deliveries.append(delivery)
        else:
            acks.ignored(record.entry_id)

    async def _began_before(self, record: Recorded) -> bool:
        try:
            first = (await job_events(self._log, record.job_id))[0]
        except (JobUnknown, IndexError):
            return False
        before = first.seq > 1 and entry_order(first.previous) <= entry_order(self._began)
        return before and first.previous != NO_ENTRY
