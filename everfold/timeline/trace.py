"""Lanes as Chrome trace JSON, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Rule: pure. One process for each backend or runner, one thread for each job in it.
Source: the Trace Event Format; ts and dur are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from everfold.timeline.lanes import Lane, Mark, Segment

TraceEvent = dict[str, object]

NOWHERE = 1
"""The process of what is at no backend, or held by no runner."""


def trace(lanes: Sequence[Lane], by: str = "job") -> dict[str, object]:
    """Return the trace: its processes are backends for `by` backend, else runners."""
    lanes = sorted(lanes, key=lambda lane: lane.start_ms)
    places = _Places(lanes, by)
    events = [event for lane in lanes for event in _lane(lane, places)]
    return {"traceEvents": [*places.names(), *events], "displayTimeUnit": "ms"}


class _Places:
    """Which process and which thread each segment belongs to."""

    def __init__(self, lanes: Sequence[Lane], by: str) -> None:
        self._by = by
        found = sorted({self._name(segment) for lane in lanes for segment in lane.segments} - {""})
        self._processes = {"": NOWHERE, **{name: NOWHERE + i for i, name in enumerate(found, 1)}}
        self._threads = {lane.job_id: i for i, lane in enumerate(lanes, 1)}
        self._used: dict[tuple[int, int], str] = {}

    def of(self, job_id: str, segment: Segment | None) -> TraceEvent:
        pid = self._processes[self._name(segment)] if segment else NOWHERE
        tid = self._threads[job_id]
        self._used[pid, tid] = job_id
        return {"pid": pid, "tid": tid}

    def names(self) -> Iterator[TraceEvent]:
        """Yield the metadata of all that was used."""
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


def _lane(lane: Lane, places: _Places) -> Iterator[TraceEvent]:
    for segment in lane.segments:
        yield {
            "ph": "X",
            "name": segment.kind,
            "cat": "job",
            "ts": segment.start_ms * 1000,
            "dur": (segment.end_ms - segment.start_ms) * 1000,
            **places.of(lane.job_id, segment),
            "args": {"owner": segment.owner, "backend": segment.backend, "user": lane.user},
        }
    for mark in lane.marks:
        yield _instant(lane, mark, places)
    if not lane.is_open:
        yield _instant(lane, Mark(lane.job_id, lane.status, lane.end_ms), places)


def _instant(lane: Lane, mark: Mark, places: _Places) -> TraceEvent:
    around = [s for s in lane.segments if s.start_ms <= mark.at_ms <= s.end_ms]
    return {
        "ph": "i",
        "s": "t",
        "name": mark.kind,
        "cat": "mark",
        "ts": mark.at_ms * 1000,
        **places.of(lane.job_id, around[-1] if around else None),
        "args": {"why": mark.why},
    }
