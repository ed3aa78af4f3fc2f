"""Rows of a picture: one for each job, or as many for each backend as it had jobs at a time.

Rule: pure. Segments of a row never overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from everfold.timeline.lanes import WAITING, Lane, Mark, Segment

SHORT = 8
"""The last letters of a job id: its first ones are the time of its making."""


class End(Struct, frozen=True):
    """How and when a job ended."""

    job_id: str
    status: str
    at_ms: int


class Row(Struct, frozen=True):
    """What stands side by side in a picture."""

    label: str
    name: str
    """The label in full."""
    segments: tuple[Segment, ...]
    marks: tuple[Mark, ...]
    ends: tuple[End, ...]
    status: str = ""
    """The job's status; empty for a row of many jobs."""


def rows_of(lanes: Sequence[Lane], by: str) -> list[Row]:
    """Return the rows, by "job" or by "backend"."""
    if by == "backend":
        return backend_rows(lanes)
    return [_job_row(lane) for lane in sorted(lanes, key=lambda lane: lane.start_ms)]


def _job_row(lane: Lane) -> Row:
    return Row(
        label=lane.job_id[-SHORT:],
        name=lane.job_id,
        segments=lane.segments,
        marks=lane.marks,
        ends=tuple(_end(lane)),
        status=lane.status,
    )


def _end(lane: Lane) -> list[End]:
    return [] if lane.is_open else [End(lane.job_id, lane.status, lane.end_ms)]


def backend_rows(lanes: Sequence[Lane]) -> list[Row]:
    """Return rows of what each backend worked on; time that jobs waited is in none of them."""
    busy: dict[str, list[tuple[Segment, Lane]]] = {}
    for lane in lanes:
        for segment in lane.segments:
            if segment.backend and segment.kind != WAITING:
                busy.setdefault(segment.backend, []).append((segment, lane))
    return [
        _backend_row(backend, place, row)
        for backend, found in sorted(busy.items())
        for place, row in enumerate(_packed(found), 1)
    ]


def _packed(found: Iterable[tuple[Segment, Lane]]) -> list[list[tuple[Segment, Lane]]]:
    """Lay segments into as few rows as keep them apart."""
    rows: list[list[tuple[Segment, Lane]]] = []
    for segment, lane in sorted(found, key=lambda pair: pair[0].start_ms):
        free = (row for row in rows if row[-1][0].end_ms <= segment.start_ms)
        if (row := next(free, None)) is None:
            rows.append(row := [])
        row.append((segment, lane))
    return rows


def _backend_row(backend: str, place: int, found: list[tuple[Segment, Lane]]) -> Row:
    name = backend if place == 1 else f"{backend} ({place})"
    return Row(
        label=name.partition("://")[2] or name,
        name=name,
        segments=tuple(segment for segment, _ in found),
        marks=tuple(_distinct(mark for pair in found for mark in _marks_within(*pair))),
        ends=tuple(
            end for segment, lane in found for end in _end(lane) if segment is lane.segments[-1]
        ),
    )


def _marks_within(segment: Segment, lane: Lane) -> Iterator[Mark]:
    return (mark for mark in lane.marks if segment.start_ms <= mark.at_ms <= segment.end_ms)


def _distinct(marks: Iterable[Mark]) -> Iterator[Mark]:
    """A mark between two segments of its job is in both."""
    return iter(dict.fromkeys(marks))


def extent_ms(rows: Sequence[Row]) -> tuple[int, int]:
    """Return the first and the last moment of the rows; at least one millisecond apart."""
    moments = [moment for row in rows for moment in _moments(row)] or [0]
    return min(moments), max(*moments, min(moments) + 1)


def _moments(row: Row) -> Iterator[int]:
    for segment in row.segments:
        yield from (segment.start_ms, segment.end_ms)
    yield from (mark.at_ms for mark in row.marks)
    yield from (end.at_ms for end in row.ends)


def owners_of(rows: Iterable[Row]) -> list[str]:
    """Return the runners that the rows tell of, in the order of their first segments."""
    segments = sorted((s for row in rows for s in row.segments), key=lambda s: s.start_ms)
    return list(dict.fromkeys(segment.owner for segment in segments if segment.owner))


def marks_of(rows: Iterable[Row]) -> set[str]:
    return {mark.kind for row in rows for mark in row.marks}


def statuses_of(rows: Sequence[Row]) -> list[str]:
    ended = {end.status for row in rows for end in row.ends}
    return sorted(ended | {row.status for row in rows if row.status})
