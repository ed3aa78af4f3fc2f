"""How many jobs of each caller wait or run, followed event by event.

Rule: pure. What a look at the projection found is joined with what was seen in the log meanwhile,
so that a projection that is behind counts no job twice and none that has ended.
"""

from __future__ import annotations

from collections.abc import Collection

from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Submitted, closing_status
from everfold.streams.events.record import Recorded

MOST_COUNTED = 1_000
"""The most that is said, as GET /prompt does."""
MOST_SEEN = 50_000
"""Jobs that are remembered as seen open, and as seen ended."""

Scope = str | None
"""A user; None for all."""


class OpenJobs:
    """The open jobs of the scopes that were loaded."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        """Job -> user, of those whose beginning was seen."""
        self._ended: dict[str, None] = {}
        self._of_scope: dict[Scope, set[str]] = {}

    def note(self, record: Recorded) -> list[Scope]:
        """Take an event in; return the scopes whose number it changes."""
        event = record.event
        if isinstance(event, Unreadable):
            return []
        if isinstance(event, Submitted):
            _keep(self._open, record.job_id, event.user)
            scopes = [scope for scope in self._of_scope if scope in (None, event.user)]
            changed = [one for one in scopes if record.job_id not in self._of_scope[one]]
            for scope in changed:
                self._of_scope[scope].add(record.job_id)
            return changed
        return self.end(record.job_id) if closing_status(event) else []

    def end(self, job_id: str) -> list[Scope]:
        """Note that a job has ended; return the scopes that had it."""
        self._open.pop(job_id, None)
        _keep(self._ended, job_id, None)
        changed = self.scopes_of(job_id)
        for scope in changed:
            self._of_scope[scope].discard(job_id)
        return changed

    def scopes_of(self, job_id: str) -> list[Scope]:
        """Return the scopes that have an open job."""
        return [scope for scope, jobs in self._of_scope.items() if job_id in jobs]

    def load(self, scope: Scope, found: Collection[str]) -> None:
        """Begin to count a scope, of which a list found these open jobs."""
        seen = {job for job, user in self._open.items() if scope in (None, user)}
        self._of_scope[scope] = {job for job in found if job not in self._ended} | seen

    def forget(self, scope: Scope) -> None:
        """Count a scope no more."""
        self._of_scope.pop(scope, None)

    def count(self, scope: Scope) -> int:
        """Return how many there are, at most MOST_COUNTED; 0 for a scope that is not counted."""
        return min(len(self._of_scope.get(scope, ())), MOST_COUNTED)


def _keep(kept: dict[str, str] | dict[str, None], job_id: str, value: str | None) -> None:
    kept[job_id] = value  # type: ignore[assignment]  # each with values of its own
    if len(kept) > MOST_SEEN:
        del kept[next(iter(kept))]
