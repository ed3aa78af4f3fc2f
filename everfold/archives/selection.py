"""Selects whole jobs of a history, by their submit."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import datetime

from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Submitted, closing_status
from everfold.streams.events.record import Recorded, entry_order


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
