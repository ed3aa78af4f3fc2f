"""One job's history as a track: when it waited, ran or was being recovered, where, and its marks.

Rule: pure. A track's segments follow one another without gap or overlap, from the job's first
known event to its end, or to the moment that is given as now.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import (
    CancelRequested,
    Event,
    Lost,
    Recovered,
    Released,
    Retried,
    Rewound,
    Stopping,
)
from everfold.streams.events.record import Recorded

WAITING, RUNNING, RECOVERING = "waiting", "running", "recovering"
KINDS = (WAITING, RUNNING, RECOVERING)

MARKED: dict[type[Event], str] = {
    Recovered: "recovered",
    Retried: "retried",
    Lost: "lost",
    CancelRequested: "cancel",
    Stopping: "stopping",
    Released: "released",
    Rewound: "rewound",
}
"""Events that a picture marks."""
UNREADABLE = "unreadable"
MARKS = (*MARKED.values(), UNREADABLE)


class Segment(Struct, frozen=True):
    """A stretch of time in which kind, owner and backend of a job stay the same."""

    job_id: str
    kind: str
    """waiting, running or recovering."""
    start_ms: int
    end_ms: int
    owner: str = ""
    """The runner that held the lease; empty while nobody did."""
    backend: str = ""
    """Where the current attempt was; empty before the first one and between two."""

    @property
    def state(self) -> tuple[str, str, str]:
        """What has to change for a new segment to begin."""
        return self.kind, self.owner, self.backend


class Mark(Struct, frozen=True):
    """A moment at which something happened to a job that a picture marks."""

    job_id: str
    kind: str
    at_ms: int
    why: str = ""


class Track(Struct, frozen=True):
    """One job over time."""

    job_id: str
    user: str
    status: str
    start_ms: int
    end_ms: int
    is_open: bool
    segments: tuple[Segment, ...]
    marks: tuple[Mark, ...]
    queue: str = ""
    kind: str = ""
    batch: str = ""


class TrackBuilder:
    """Builds a track from the job's events, one by one; keeps none of them."""

    def __init__(self) -> None:
        self.job = Job()
        self._segments: list[Segment] = []
        self._marks: list[Mark] = []
        self._now: Segment | None = None
        self._start_ms: int | None = None
        self._last_ms = 0

    def add(self, record: Recorded) -> None:
        """Take the next event; an event that was taken before changes nothing."""
        if self._start_ms is None:
            self._start_ms = record.time_ms
        event, at_ms = record.event, record.time_ms
        if isinstance(event, Unreadable):
            self._marks.append(Mark(record.job_id, UNREADABLE, at_ms, event.why))
            return
        if record.seq <= self.job.seq:
            return
        self.job = evolve(self.job, record)
        if kind := MARKED.get(type(event)):
            self._marks.append(Mark(record.job_id, kind, at_ms, _why(event)))
        if isinstance(event, Recovered):
            # Nothing is known of the time after the dead runner's last event.
            self._change(RECOVERING, self._last_ms or at_ms)
        else:
            self._change(_kind(self.job), at_ms)
        self._last_ms = at_ms

    def track(self, job_id: str, now_ms: int) -> Track:
        """Return the track so far; the segment of an open job ends at `now_ms`."""
        start_ms = now_ms if self._start_ms is None else self._start_ms
        is_open = not self.job.is_terminal
        end_ms = max(now_ms, self._last_ms, start_ms) if is_open else self.job.ended_at_ms
        segments = [*self._segments, *_until(self._now, end_ms)]
        return Track(
            job_id=job_id,
            user=self.job.user,
            status=self.job.status,
            start_ms=start_ms,
            end_ms=end_ms,
            is_open=is_open,
            segments=tuple(segments),
            marks=tuple(self._marks),
            queue=self.job.queue,
            kind=self.job.kind,
            batch=self.job.batch,
        )

    def _change(self, kind: str, at_ms: int) -> None:
        job = self.job
        if job.is_terminal:
            self._segments += _until(self._now, at_ms)
            self._now = None
            return
        backend = job.backend if job.may_be_alive else ""
        now = Segment(job.job_id, kind, at_ms, at_ms, job.owner, backend)
        if self._now is None or now.state != self._now.state:
            self._segments += _until(self._now, at_ms)
            self._now = now


def track(events: Iterable[Recorded], now_ms: int) -> Track:
    """Return the track of one job; its events come in the order of the log."""
    builder, job_id = TrackBuilder(), ""
    for record in events:
        builder.add(record)
        job_id = record.job_id
    return builder.track(job_id, now_ms)


def clipped(track: Track, start_ms: int) -> Track:
    """Return the track from a moment on: earlier segments are cut, earlier marks left out."""
    return replace(
        track,
        start_ms=max(track.start_ms, start_ms),
        segments=tuple(
            replace(segment, start_ms=max(segment.start_ms, start_ms))
            for segment in track.segments
            if segment.end_ms > start_ms
        ),
        marks=tuple(mark for mark in track.marks if mark.at_ms >= start_ms),
    )


def _kind(job: Job) -> str:
    is_running = job.attempt_state == "accepted" and job.started_at_ms > 0
    return RUNNING if is_running else WAITING


def _until(segment: Segment | None, end_ms: int) -> list[Segment]:
    """Return the segment as it ended, or nothing when it took no time."""
    if segment is None or end_ms <= segment.start_ms:
        return []
    return [replace(segment, end_ms=end_ms)]


def _why(event: Event) -> str:
    match event:
        case Recovered():
            idle_s = event.idle_ms / 1000
            return f"from {event.previous_owner}, {event.reason}, silent for {idle_s:.1f} s"
        case Retried():
            return event.failure.message or event.failure.code
        case Lost():
            return event.cause
        case Stopping():
            return event.why
        case CancelRequested() | Released():
            return event.reason
        case _:
            return ""
