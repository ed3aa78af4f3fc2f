"""Selects whole jobs of a history, by their submit."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from copy import copy
from datetime import datetime

from everfold.projector.reading.short_ids import find_job_id
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import BrokenChain
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Submitted, closing_status
from everfold.streams.events.record import Recorded, entry_order
from everfold.streams.retention.history import job_history


def is_of_newest(record: Recorded, begun_again: Mapping[str, str]) -> bool:
    """Say whether an event is of the newest job that had its id.

    `begun_again` has the first entry of that job, for ids that were used again after a trim.
    """
    begins = begun_again.get(record.job_id)
    return begins is None or entry_order(record.entry_id) >= entry_order(begins)


class Selection:
    """Decides for each event, in the order of the log, whether its job is selected.

    `since` and `until` bound the time of the submit; `user` None selects every user.
    """

    def __init__(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        job: str = "",
        user: str | None = None,
    ) -> None:
        self._least_ms = since.timestamp() * 1000 if since else 0.0
        self._most_ms = until.timestamp() * 1000 if until else float("inf")
        self._job, self._user = job, user
        self._taken: set[str] = set()

    def anew(self) -> Selection:
        """Return the same selection before its first event."""
        again = copy(self)
        again._taken = set()
        return again

    def takes(self, record: Recorded) -> bool:
        """Say whether the event belongs to a selected job; False for an entry without a job."""
        if record.seq == 1 and self._fits(record):
            self._taken.add(record.job_id)
        if record.job_id not in self._taken:
            return False
        if not isinstance(record.event, Unreadable) and closing_status(record.event):
            self._taken.discard(record.job_id)
        return True

    def _fits(self, record: Recorded) -> bool:
        event = record.event
        return (
            isinstance(event, Submitted)
            and self._least_ms <= record.time_ms <= self._most_ms
            and self._job in ("", record.job_id)
            and self._user in (None, event.user)
        )


async def needed_job(log: Log, part: str | None, archive: Archive | None) -> str:
    """Return the whole id of a job that is in the log or in the archive, empty where none is named.

    Raises JobUnknown, or InvalidName where several jobs have this part of an id.
    """
    if not part:
        return ""
    job_id = await find_job_id(log, part)
    with contextlib.suppress(BrokenChain):  # what is there of it is wanted all the more
        await job_history(log, job_id, archive)
    return job_id
