"""Rows of a picture: one per job, or per backend as many as it ran jobs at the same time.

Rule: pure. Segments of a row never overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from string import ascii_uppercase

from msgspec import Struct

from everfold.projector.job.short_ids import short_ids
from everfold.timeline.tracks import WAITING, Mark, Segment, Track


class End(Struct, frozen=True):
    """How and when a job ended."""

    job_id: str
    status: str
    at_ms: int


class Row(Struct, frozen=True):
    """One horizontal line of a picture."""

    label: str
    name: str
    """The label in full."""
    segments: tuple[Segment, ...]
    marks: tuple[Mark, ...]
    ends: tuple[End, ...]
    status: str = ""
    """The job's status; empty for a row of many jobs."""


def rows_of(tracks: Sequence[Track], by: str) -> list[Row]:
    """Return the rows, by "job" or by "backend"."""
    if by == "backend":
        return backend_rows(tracks)
    short = short_ids(track.job_id for track in tracks)
    ordered = sorted(tracks, key=lambda track: track.start_ms)
    return [_job_row(track, short[track.job_id]) for track in ordered]


def _job_row(track: Track, label: str) -> Row:
    return Row(
        label=label,
        name=track.job_id,
        segments=track.segments,
        marks=track.marks,
        ends=tuple(_end(track)),
        status=track.status,
    )


def _end(track: Track) -> list[End]:
    return [] if track.is_open else [End(track.job_id, track.status, track.end_ms)]


def backend_rows(tracks: Sequence[Track]) -> list[Row]:
    """Return the rows of each backend; segments in which jobs waited are left out."""
    busy: dict[str, list[tuple[Segment, Track]]] = {}
    for track in tracks:
        for segment in track.segments:
            if segment.backend and segment.kind != WAITING:
                busy.setdefault(segment.backend, []).append((segment, track))
    return [
        _backend_row(backend, place, row)
        for backend, found in sorted(busy.items())
        for place, row in enumerate(_packed(found), 1)
    ]


def _packed(found: Iterable[tuple[Segment, Track]]) -> list[list[tuple[Segment, Track]]]:
    """Put the segments into as few rows as possible, so that none overlap."""
    rows: list[list[tuple[Segment, Track]]] = []
    for segment, track in sorted(found, key=lambda pair: pair[0].start_ms):
        free = (row for row in rows if row[-1][0].end_ms <= segment.start_ms)
        if (row := next(free, None)) is None:
            rows.append(row := [])
        row.append((segment, track))
    return rows


def _backend_row(backend: str, place: int, found: list[tuple[Segment, Track]]) -> Row:
    name = backend if place == 1 else f"{backend} ({place})"
    return Row(
        label=name.partition("://")[2] or name,
        name=name,
        segments=tuple(segment for segment, _ in found),
        marks=tuple(_distinct(mark for pair in found for mark in _marks_within(*pair))),
        ends=tuple(
            end for segment, track in found for end in _end(track) if segment is track.segments[-1]
        ),
    )


def _marks_within(segment: Segment, track: Track) -> Iterator[Mark]:
    return (mark for mark in track.marks if segment.start_ms <= mark.at_ms <= segment.end_ms)


def _distinct(marks: Iterable[Mark]) -> Iterator[Mark]:
    """Drop repeats: a mark between two segments of its job is found in both."""
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
    """Return the runners that the rows name, in the order of their first segments."""
    segments = sorted((s for row in rows for s in row.segments), key=lambda s: s.start_ms)
    return list(dict.fromkeys(segment.owner for segment in segments if segment.owner))


def owner_letters(owners: Sequence[str]) -> dict[str, str]:
    """Return the letter with which a runner's bars begin, so that no color is needed to tell
    runners apart; none where there is one runner, or more than letters."""
    if not 1 < len(owners) <= len(ascii_uppercase):
        return {}
    return dict(zip(owners, ascii_uppercase, strict=False))


def marks_of(rows: Iterable[Row]) -> set[str]:
    """Return the kinds of marks that the rows have."""
    return {mark.kind for row in rows for mark in row.marks}


def statuses_of(rows: Sequence[Row]) -> list[str]:
    """Return the statuses that the rows show, sorted."""
    ended = {end.status for row in rows for end in row.ends}
    return sorted(ended | {row.status for row in rows if row.status})
