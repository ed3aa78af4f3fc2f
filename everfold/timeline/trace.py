"""Tracks as Chrome trace JSON, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Rule: pure. One process for each backend or runner, one thread for each job in it.
Source: the Trace Event Format; ts and dur are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from everfold.timeline.tracks import Mark, Segment, Track

TraceEvent = dict[str, object]

NOWHERE = 1
"""The process id of segments without a backend, or without an owner."""


def trace(tracks: Sequence[Track], by: str = "job") -> dict[str, object]:
    """Return the trace: its processes are backends for `by` backend, else runners."""
    tracks = sorted(tracks, key=lambda track: track.start_ms)
    places = _Places(tracks, by)
    events = [event for track in tracks for event in _track(track, places)]
    return {"traceEvents": [*places.names(), *events], "displayTimeUnit": "ms"}


class _Places:
    """Assigns each segment to a process and a thread of the trace."""

    def __init__(self, tracks: Sequence[Track], by: str) -> None:
        self._by = by
        names = {self._name(segment) for track in tracks for segment in track.segments}
        found = sorted(names - {""})
        self._processes = {"": NOWHERE, **{name: NOWHERE + i for i, name in enumerate(found, 1)}}
        self._threads = {track.job_id: i for i, track in enumerate(tracks, 1)}
        self._used: dict[tuple[int, int], str] = {}

    def of(self, job_id: str, segment: Segment | None) -> TraceEvent:
        pid = self._processes[self._name(segment)] if segment else NOWHERE
        tid = self._threads[job_id]
        self._used[pid, tid] = job_id
        return {"pid": pid, "tid": tid}

    def names(self) -> Iterator[TraceEvent]:
        """Yield the names of the processes and threads that were used."""
        used = {pid for pid, _ in self._used}
        nowhere = "at no backend" if self._by == "backend" else "held by no runner"
        for name, pid in self._processes.items():
            if pid in used:
                yield _named("process_name", pid, 0, name or nowhere)
        for (pid, tid), job_id in self._used.items():
            yield _named("thread_name", pid, tid, job_id)

    def _name(self, segment: Segment) -> str:
        return segment.backend if self._by == "backend" else segment.owner


def _named(what: str, pid: int, tid: int, name: str) -> TraceEvent:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _track(track: Track, places: _Places) -> Iterator[TraceEvent]:
    for segment in track.segments:
        yield {
            "ph": "X",
            "name": segment.kind,
            "cat": "job",
            "ts": segment.start_ms * 1000,
            "dur": (segment.end_ms - segment.start_ms) * 1000,
            **places.of(track.job_id, segment),
            "args": {"owner": segment.owner, "backend": segment.backend, "user": track.user},
        }
    for mark in track.marks:
        yield _instant(track, mark, places)
    if not track.is_open:
        yield _instant(track, Mark(track.job_id, track.status, track.end_ms), places)


def _instant(track: Track, mark: Mark, places: _Places) -> TraceEvent:
    around = [s for s in track.segments if s.start_ms <= mark.at_ms <= s.end_ms]
    return {
        "ph": "i",
        "s": "t",
        "name": mark.kind,
        "cat": "mark",
        "ts": mark.at_ms * 1000,
        **places.of(track.job_id, around[-1] if around else None),
        "args": {"why": mark.why},
    }
