"""How tracks become rows."""

from __future__ import annotations

from itertools import pairwise

from everfold.timeline.rows import extent_ms, owners_of, rows_of
from everfold.timeline.tracks import track
from tests.everfold.timeline.stories import DONE, START_MS, begun, crowd, progressed, told

LANES = [track(events, START_MS + 60_000) for events in crowd(40)]


def test_each_job_has_a_row_in_the_order_of_their_beginnings() -> None:
    rows = rows_of(LANES[::-1], "job")
    assert [row.name for row in rows] == [track.job_id for track in LANES]
    assert all(row.name.endswith(row.label) and len(row.label) == 8 for row in rows)


def test_a_backends_jobs_stand_in_one_row_as_long_as_they_follow_one_another() -> None:
    stories = [[*begun(at_ms=at), (at + 900, DONE)] for at in (0, 1_000, 2_000)]
    tracks = [track(told(story, f"job-{i}"), 9_000) for i, story in enumerate(stories)]
    [row] = rows_of(tracks, "backend")
    assert (row.label, row.name, row.status) == ("a:8188", "http://a:8188", "")
    assert [(s.job_id, s.kind) for s in row.segments] == [(f"job-{i}", "running") for i in range(3)]
    assert [end.at_ms for end in row.ends] == [900, 1_900, 2_900]


def test_jobs_at_a_backend_at_the_same_time_stand_in_rows_of_their_own() -> None:
    rows = rows_of([track(told(begun(), name), 9_000) for name in "ab"], "backend")
    assert [row.name for row in rows] == ["http://a:8188", "http://a:8188 (2)"]


def test_no_segments_of_a_row_overlap_and_none_is_left_out() -> None:
    rows = rows_of(LANES, "backend")
    for row in rows:
        assert all(one.end_ms <= other.start_ms for one, other in pairwise(row.segments))
    at_work = [s for track in LANES for s in track.segments if s.kind != "waiting"]
    assert {s for row in rows for s in row.segments} == set(at_work)
    assert sum(len(row.segments) for row in rows) == len(at_work)


def test_the_extent_holds_every_moment_and_is_never_empty() -> None:
    rows = rows_of([track(told([*begun(), (800, progressed(0.1))]), 5_000)], "job")
    assert extent_ms(rows) == (0, 5_000)
    assert extent_ms([]) == (0, 1)
    assert owners_of(rows) == ["r1"]
