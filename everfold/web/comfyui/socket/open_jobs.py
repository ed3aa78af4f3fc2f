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
from everfold.web.comfyui.jobs.shown_job import CLIENT_ID

MOST_COUNTED = 1_000
"""The most that is said, as GET /prompt does."""
MOST_SEEN = 50_000
"""Jobs that are remembered as seen open, and as seen ended."""

Scope = str | None
"""A user; None for all."""
Client = tuple[str, str]
"""User and client id."""

T = TypeVar("T")


class OpenJobs:
    """The open jobs of the scopes that were loaded."""

    def __init__(self) -> None:
        self._open: dict[str, Client] = {}
        """Those whose beginning was seen -> whose they are."""
        self._ended: dict[str, None] = {}
        self._of_scope: dict[Scope, set[str]] = {}

    def note(self, record: Recorded) -> list[Scope]:
        """Take an event in; return the scopes whose number it changes."""
        event = record.event
        if isinstance(event, Unreadable):
            return []
        if isinstance(event, Submitted):
            _keep(self._open, record.job_id, client_of(event))
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
        seen = {job for job, (user, _) in self._open.items() if scope in (None, user)}
        self._of_scope[scope] = {job for job in found if job not in self._ended} | seen

    def seen_of(self, client: Client) -> list[str]:
        """Return the open jobs of a client whose beginning was seen."""
        return [job for job, found in self._open.items() if found == client]

    def forget(self, scope: Scope) -> None:
        """Count a scope no more."""
        self._of_scope.pop(scope, None)

    def count(self, scope: Scope) -> int:
        """Return how many there are, at most MOST_COUNTED; 0 for a scope that is not counted."""
        return min(len(self._of_scope.get(scope, ())), MOST_COUNTED)


def client_of(event: Submitted) -> Client:
    """Return whose a job is."""
    client_id = event.metadata.get(CLIENT_ID)
    return event.user, client_id if isinstance(client_id, str) else ""


def _keep(kept: dict[str, T], job_id: str, value: T) -> None:
    kept[job_id] = value
    if len(kept) > MOST_SEEN:
        del kept[next(iter(kept))]
