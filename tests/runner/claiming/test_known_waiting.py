"""What a look at the waiting jobs is good for afterwards, and when it is forgotten."""

from __future__ import annotations

from everfold.runner.claiming.known_waiting import KnownWaiting
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.queues.waiting_jobs import WaitingJob, WaitingPage

FIRST, SECOND, OTHER = (
    WaitingJob(1, "a", 0, "line"),
    WaitingJob(2, "b", 0, "line"),
    WaitingJob(3, "c", 0, "other"),
)


def known(count: int, *jobs: WaitingJob, age_s: float = 0.0) -> KnownWaiting:
    found = KnownWaiting(60.0)
    found.note("default", WaitingPage(0, count, 0, jobs), steady_s() - age_s)
    return found


def test_what_was_taken_waits_no_more() -> None:
    seen = known(3, FIRST, SECOND, OTHER)

    seen.note_taken("default", [FIRST, OTHER])

    assert seen.pages("default", [0]) == {0: WaitingPage(0, 1, 0, (SECOND,))}


def test_all_that_waited_is_taken() -> None:
    seen = known(1, FIRST)

    seen.note_taken("default", [FIRST])

    assert seen.pages("default", [0]) == {0: WaitingPage(0, 0, 0, ())}


def test_a_line_of_which_more_waits_than_was_seen_is_looked_at_again_when_it_is_used_up() -> None:
    seen = known(9, FIRST, SECOND, OTHER)

    seen.note_taken("default", [FIRST])
    assert seen.pages("default", [0]) == {0: WaitingPage(0, 8, 0, (SECOND, OTHER))}
    seen.note_taken("default", [SECOND])
    assert seen.pages("default", [0]) == {}


def test_a_hint_and_time_make_it_forgotten() -> None:
    seen = known(1, FIRST)
    seen.forget([1])
    assert 0 in seen.pages("default", [0])
    assert seen.pages("night", [0]) == {}
    seen.forget([0])
    assert seen.pages("default", [0]) == {}
    assert known(1, FIRST, age_s=61.0).pages("default", [0]) == {}
