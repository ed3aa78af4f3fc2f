"""All events up to a moment, folded to the jobs that were open then, who held them, and where.

Rule: pure, no clock, no I/O. A job that has ended is a number. Values are never changed in place,
so that a copy of a fold costs two pointers a job.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from everfold.streams.events import event as events
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import closing_status
from everfold.streams.events.record import Recorded

ENDED_LIMIT = 20_000
"""Jobs that ended last, of which it is remembered how."""
SEEN_LIMIT = 1_000
"""Runners, and servers, that were seen in events last."""


class MomentJob(NamedTuple):
    """An open job, as far as a picture of the farm shows it. It takes a fifth of a whole state."""

    queue: str
    priority: str
    user: str
    kind: str
    submitted_ms: int
    status: str = "queued"
    owner: str = ""
    backend: str = ""
    attempt: int = 0
    since_ms: int = 0
    """When its status, runner or server last changed."""


UNKNOWN = MomentJob("", "", "", "", 0)
"""A job whose beginning is not known any more."""


class MomentFold:
    """The farm after some events."""

    def __init__(self) -> None:
        self.jobs: dict[str, MomentJob] = {}
        self.events = 0
        self.submitted = 0
        self.ended = Counter[str]()
        self.ended_last: dict[str, str] = {}
        """Job -> the status with which it ended."""
        self.runners: dict[str, int] = {}
        """Runner -> when it last said something of a job, Unix ms."""
        self.backends: dict[str, int] = {}
        """Address of a server -> when something last happened there."""
        self._words: dict[str, str] = {}

    def copy(self) -> MomentFold:
        """Return the same farm, to be folded on apart from this one."""
        made = MomentFold()
        made.jobs, made.events, made.submitted = dict(self.jobs), self.events, self.submitted
        made.ended, made.ended_last = self.ended.copy(), dict(self.ended_last)
        made.runners, made.backends = dict(self.runners), dict(self.backends)
        made._words = self._words
        return made

    def note(self, record: Recorded) -> None:
        """Take an event in; the events of one job come in order."""
        event, job_id, at_ms = record.event, record.job_id, record.time_ms
        if not job_id:
            return
        self.events += 1
        if isinstance(event, events.Progressed | Unreadable):
            return
        if status := closing_status(event):
            self._end(job_id, status)
            return
        job = self.jobs.get(job_id, UNKNOWN)
        if isinstance(event, events.Submitted):
            self.submitted += 1
            word = self._word
            after = MomentJob(word(event.queue), word(event.priority), word(event.user),
                              word(event.kind), at_ms, since_ms=at_ms)  # fmt: skip
        else:
            after = moved(job, event, at_ms)
        if after is not job:
            self.jobs[job_id] = after
            _seen(self.runners, after.owner, at_ms)
            _seen(self.backends, after.backend, at_ms)

    def _end(self, job_id: str, status: str) -> None:
        self.jobs.pop(job_id, None)
        self.ended[status] += 1
        self.ended_last[job_id] = status
        if len(self.ended_last) > ENDED_LIMIT:
            del self.ended_last[next(iter(self.ended_last))]

    def _word(self, text: str) -> str:
        """Return a text that many jobs have as one object."""
        if len(self._words) > 10 * SEEN_LIMIT:
            return text
        return self._words.setdefault(text, text)


def moved(job: MomentJob, event: events.Event, at_ms: int) -> MomentJob:
    """Return an open job after an event that is neither its first nor its last."""
    is_canceling = job.status == "canceling"
    waits = "canceling" if is_canceling else "queued"
    match event:
        case events.Claimed() | events.Recovered():
            return job._replace(owner=event.owner, since_ms=at_ms)
        case events.Submitting():
            return job._replace(backend=event.backend, attempt=event.attempt, since_ms=at_ms)
        case events.Started():
            return job._replace(status=waits if is_canceling else "running", since_ms=at_ms)
        case events.CancelRequested():
            return job._replace(status="canceling", since_ms=at_ms)
        case events.Released():
            return job._replace(owner="", since_ms=at_ms)
        case events.Lost():
            return job._replace(status=waits, backend="", since_ms=at_ms)
        case events.Retried():
            return job._replace(status=waits, owner="", backend="", since_ms=at_ms)
    return job


def _seen(known: dict[str, int], name: str, at_ms: int) -> None:
    if name:
        known.pop(name, None)
        known[name] = at_ms
        if len(known) > SEEN_LIMIT:
            del known[next(iter(known))]
