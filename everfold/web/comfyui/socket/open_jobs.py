"""How many jobs of each caller wait or run, followed event by event.

Rule: pure. What a look at the projection found is joined with what was seen in the log meanwhile,
so that a projection that is behind counts no job twice and none that has ended.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Submitted, closing_status
from everfold.streams.events.record import Recorded

MOST_COUNTED = 1_000
"""The most that is said, as GET /prompt does."""
MOST_SEEN = 50_000
"""Jobs that are remembered as seen open, and as seen ended."""

Scope = str | None
"""A user; None for all."""
Place = tuple[int, str]
"""Of an event: its sequence number and its entry id."""

T = TypeVar("T")


class OpenJobs:
    """The open jobs of the scopes that were loaded."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, Place]] = {}
        """Job -> user and first event, of those whose beginning was seen."""
        self._ended: dict[str, Place] = {}
        """Job -> its last event, of those whose end was seen."""
        self._of_scope: dict[Scope, set[str]] = {}

    def note(self, record: Recorded) -> list[Scope]:
        """Take an event in; return the scopes whose number it changes."""
        event = record.event
        if isinstance(event, Unreadable):
            return []
        if isinstance(event, Submitted):
            self._ended.pop(record.job_id, None)  # an id may be used again
            _keep(self._open, record.job_id, (event.user, place_of(record)))
            scopes = [scope for scope in self._of_scope if scope in (None, event.user)]
            changed = [one for one in scopes if record.job_id not in self._of_scope[one]]
            for scope in changed:
                self._of_scope[scope].add(record.job_id)
            return changed
        return self.end(record.job_id, place_of(record)) if closing_status(event) else []

    def end(self, job_id: str, place: Place) -> list[Scope]:
        """Note that a job has ended with this event; return the scopes that had it."""
        self._open.pop(job_id, None)
        _keep(self._ended, job_id, place)
        changed = self.scopes_of(job_id)
        for scope in changed:
            self._of_scope[scope].discard(job_id)
        return changed

    def scopes_of(self, job_id: str) -> list[Scope]:
        """Return the scopes that have an open job."""
        return [scope for scope, jobs in self._of_scope.items() if job_id in jobs]

    def load(self, scope: Scope, found: Collection[str]) -> dict[str, Place]:
        """Begin to count a scope, of which a list found these open jobs.

        Return what was seen that the list does not know yet: job -> event.
        """
        seen = {job: at for job, (user, at) in self._open.items() if scope in (None, user)}
        ended = {job: self._ended[job] for job in found if job in self._ended}
        self._of_scope[scope] = (set(found) - ended.keys()) | seen.keys()
        is_whole = len(found) < MOST_COUNTED
        new = {job: seen[job] for job in seen.keys() - set(found)} if is_whole else {}
        return ended | new

    def forget(self, scope: Scope) -> None:
        """Count a scope no more."""
        self._of_scope.pop(scope, None)

    def count(self, scope: Scope) -> int:
        """Return how many there are, at most MOST_COUNTED; 0 for a scope that is not counted."""
        return min(len(self._of_scope.get(scope, ())), MOST_COUNTED)


def place_of(record: Recorded) -> Place:
    """Return where an event stands."""
    return record.seq, record.entry_id


def _keep(kept: dict[str, T], job_id: str, value: T) -> None:
    kept[job_id] = value
    if len(kept) > MOST_SEEN:
        del kept[next(iter(kept))]
