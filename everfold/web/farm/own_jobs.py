"""The open jobs of one user, counted by status, for whoever sees only those.

Rule: pure. OWN_LIMIT jobs are counted; of more it is said that there are more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from everfold.projector.job.job import OPEN_STATUSES, Job
from everfold.web.farm.summaries import slim

OWN_LIMIT = 10_000


class OwnCounts(Struct, frozen=True, kw_only=True):
    """How many open jobs a user has."""

    queued: int
    running: int
    canceling: int
    is_cut: bool
    """There may be more than were counted."""


class OwnJobs:
    """The open jobs of one user: what a list had is joined with what happened meanwhile."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._ended = set[str]()
        """Jobs that ended before the list was read."""
        self._is_cut = False
        self.is_loaded = False

    def load(self, found: Iterable[Job], *, is_cut: bool) -> None:
        """Take in what a list had; `is_cut`: there are more."""
        self._is_cut, self.is_loaded = is_cut, True
        for job in found:
            known = self._jobs.get(job.job_id)
            if job.job_id not in self._ended and (known is None or known.seq < job.seq):
                self.note(slim(job))
        self._ended.clear()

    def note(self, job: Job) -> None:
        """Take in a job of the user as it is now."""
        if job.is_terminal:
            self._jobs.pop(job.job_id, None)
            if not self.is_loaded:
                self._ended.add(job.job_id)
        elif job.job_id in self._jobs or len(self._jobs) < OWN_LIMIT:
            self._jobs[job.job_id] = job
        else:
            self._is_cut = True

    @property
    def counts(self) -> OwnCounts:
        """How many there are."""
        counts = Counter(job.status for job in self._jobs.values())
        queued, running, canceling = (counts[status] for status in OPEN_STATUSES)
        return OwnCounts(queued=queued, running=running, canceling=canceling, is_cut=self._is_cut)

    def waiting(self) -> dict[tuple[str, str], list[str]]:
        """Return queue and kind -> the ids of the jobs that no runner holds."""
        found: dict[tuple[str, str], list[str]] = {}
        for job in self._jobs.values():
            if not job.owner:
                found.setdefault((job.queue, job.kind), []).append(job.job_id)
        return found
