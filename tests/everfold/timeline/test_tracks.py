"""What a track says of a job's history."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given

from everfold.streams.events.event import Claimed, Event, Queued, Rewound, Started, Stopping
from everfold.timeline.tracks import Track, clipped, track
from tests.everfold.timeline.stories import (
    CANCEL,
    CANCELED,
    DONE,
    Story,
    begun,
    failed,
    lost,
    progressed,
    recovered,
    retried,
    strange,
    submitting,
    told,
)
from tests.support.histories import SUBMITTED, histories, records_of

NOW_MS = 10_000


def drawn(story: Story) -> Track:
    return track(told(story), NOW_MS)


def shown(found: Track) -> list[tuple[str, str, int, int]]:
    return [(s.kind, s.owner, s.start_ms, s.end_ms) for s in found.segments]


def marks(found: Track) -> list[tuple[str, int]]:
    return [(mark.kind, mark.at_ms) for mark in found.marks]


def test_a_job_that_waits_does_so_until_now() -> None:
    found = drawn([(1_000, SUBMITTED)])
    assert shown(found) == [("waiting", "", 1_000, NOW_MS)]
    assert (found.status, found.is_open, found.user) == ("queued", True, "ada")


def test_a_job_waits_until_comfyui_runs_it_and_runs_until_its_end() -> None:
    found = drawn([*begun(), (900, progressed(0.5)), (2_000, DONE)])
    assert shown(found) == [
        ("waiting", "", 0, 100),
        ("waiting", "r1", 100, 150),
        ("waiting", "r1", 150, 300),
        ("running", "r1", 300, 2_000),
    ]
    assert [segment.backend for segment in found.segments] == ["", "", *["http://a:8188"] * 2]
    assert (found.status, found.is_open, found.end_ms) == ("succeeded", False, 2_000)


def test_a_running_job_runs_until_now() -> None:
    assert shown(drawn(begun()))[-1] == ("running", "r1", 300, NOW_MS)


def test_recovering_is_the_gap_between_the_last_event_before_and_the_first_after() -> None:
    story = [*begun(), (900, progressed(0.2)), (5_000, recovered()), (5_400, progressed(0.3))]
    found = drawn([*story, (6_000, DONE)])
    assert shown(found)[-3:] == [
        ("running", "r1", 300, 900),
        ("recovering", "r2", 900, 5_400),
        ("running", "r2", 5_400, 6_000),
    ]
    assert marks(found) == [("recovered", 5_000)]
    assert found.marks[0].why == "from r1, lease_expired, silent for 15.0 s"


def test_a_job_recovered_twice_shows_both_gaps_and_who_had_each() -> None:
    found = drawn([*begun(), (2_000, recovered()), (3_000, recovered("r3", "r2")), (4_000, DONE)])
    assert shown(found)[-2:] == [
        ("recovering", "r2", 300, 2_000),
        ("recovering", "r3", 2_000, 4_000),
    ]


def test_a_retried_job_waits_again_at_no_backend_and_held_by_nobody() -> None:
    story = [*begun(), (1_000, retried()), (3_000, Claimed(owner="r2"))]
    story += [(3_100, submitting(2)), (3_200, Started(attempt=2)), (4_000, DONE)]
    found = drawn(story)
    assert shown(found)[3:] == [
        ("running", "r1", 300, 1_000),
        ("waiting", "", 1_000, 3_000),
        ("waiting", "r2", 3_000, 3_100),
        ("waiting", "r2", 3_100, 3_200),
        ("running", "r2", 3_200, 4_000),
    ]
    assert found.segments[4].backend == ""
    assert marks(found) == [("retried", 1_000)]
    assert found.marks[0].why == "boom"


def test_a_failed_job_ends_failed_and_what_befell_it_is_marked() -> None:
    stopping = Stopping(attempt=1, why="stalled")
    story = [*begun(), (500, stopping), (600, lost()), (700, retried()), (800, failed())]
    found = drawn([*story])
    assert (found.status, found.end_ms) == ("failed", 800)
    assert marks(found) == [("stopping", 500), ("lost", 600), ("retried", 700)]


def test_a_canceling_job_still_runs_until_it_is_canceled() -> None:
    found = drawn([*begun(), (1_000, CANCEL), (1_500, CANCELED)])
    assert shown(found)[-1] == ("running", "r1", 300, 1_500)
    assert (found.status, marks(found)) == ("canceled", [("cancel", 1_000)])


def test_nothing_after_the_end_is_drawn_but_its_mark() -> None:
    late: Event = Rewound(seen_seq=9, found_seq=6)
    found = drawn([*begun(), (1_000, DONE), (5_000, late)])
    assert shown(found)[-1][3] == found.end_ms == 1_000
    assert marks(found) == [("rewound", 5_000)]


def test_an_unreadable_event_is_a_mark_and_changes_nothing_else() -> None:
    records = told(begun())
    found = track([*records, strange(700, 6)], NOW_MS)
    assert found.segments == track(records, NOW_MS).segments
    assert marks(found) == [("unreadable", 700)]


def test_a_job_of_which_nothing_can_be_read_still_has_a_track() -> None:
    found = track([strange(700, 1)], NOW_MS)
    assert (found.start_ms, found.end_ms, found.segments) == (700, NOW_MS, ())


def test_a_history_that_was_trimmed_begins_with_what_is_left() -> None:
    found = track(told(begun())[3:], NOW_MS)
    assert found.start_ms == 200
    assert shown(found)[-1][0] == "running"


def test_an_event_delivered_twice_is_drawn_once() -> None:
    records = told([*begun(), (900, recovered())])
    assert track([*records, records[-1]], NOW_MS) == track(records, NOW_MS)


def test_clipping_leaves_what_is_after_a_moment() -> None:
    found = clipped(drawn([*begun(), (600, retried()), (2_000, recovered())]), 1_000)
    assert found.segments[0].start_ms == found.start_ms == 1_000
    assert marks(found) == [("recovered", 2_000)]


def test_a_queued_attempt_found_out_late_waits_until_it_starts() -> None:
    story: Story = [(0, SUBMITTED), (10, Claimed(owner="r1")), (20, submitting())]
    story += [(500, Queued(attempt=1, prompt_id="p")), (900, Started(attempt=1))]
    assert [row[0] for row in shown(drawn(story))] == ["waiting"] * 3 + ["running"]


@given(histories())
def test_segments_follow_one_another_from_the_first_event_to_the_end(events: list[Event]) -> None:
    records = records_of(events)
    found = track(records, records[-1].time_ms + 50)
    assert all(segment.start_ms < segment.end_ms for segment in found.segments)
    assert all(one.end_ms == other.start_ms for one, other in pairwise(found.segments))
    assert found.segments[0].start_ms == found.start_ms == records[0].time_ms
    assert found.segments[-1].end_ms == found.end_ms
