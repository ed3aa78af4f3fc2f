"""When a job that failed is tried again, and when it is parked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everfold.projector.job.job import Job
from everfold.projector.subscribing.delivery import TYPES, Delivery, filter_of
from everfold.projector.subscribing.held import (
    REFUSED,
    SPREAD,
    Held,
    hold,
    park,
    skip_event,
    try_now,
)
from everfold.streams.events.event import Started
from tests.support.histories import SUBMITTED, records_of

NOW_MS = 1_700_000_000_000
RECORD = records_of([SUBMITTED, Started(attempt=1)])[1]


def failed_so_often(times: int, waits_s: tuple[float, ...]) -> Held:
    held: Held | None = None
    for _ in range(times):
        held = hold(RECORD, "no", now_ms=NOW_MS, waits_s=waits_s, before=held)
    assert held is not None
    return held


@given(st.lists(st.floats(0, 86_400), max_size=6), st.integers(1, 8))
def test_it_is_tried_once_more_for_each_wait_and_then_parked(
    waits_s: list[float], times: int
) -> None:
    held = failed_so_often(times, tuple(waits_s))
    assert held.failures == times
    if times > len(waits_s):
        assert held.is_parked
    else:
        assert held.next_try_ms is not None
        waited_s = (held.next_try_ms - NOW_MS) / 1000
        assert waits_s[times - 1] - 0.001 <= waited_s <= waits_s[times - 1] * (1 + SPREAD) + 0.001


def test_a_subscriber_s_own_wait_counts_where_it_is_longer() -> None:
    later = hold(RECORD, "no", now_ms=NOW_MS, waits_s=(1.0,), after_s=60.0)
    sooner = hold(RECORD, "no", now_ms=NOW_MS, waits_s=(60.0,), after_s=1.0)
    for held in (later, sooner):
        assert held.next_try_ms is not None
        assert held.next_try_ms >= NOW_MS + 60_000


def test_tries_are_counted_for_each_event_anew() -> None:
    before = failed_so_often(3, (1.0, 1.0, 1.0))
    first = records_of([SUBMITTED])[0]
    assert hold(first, "no", now_ms=NOW_MS, waits_s=(1.0,), before=before).failures == 1


def test_a_person_gives_all_tries_back_or_goes_on_after_the_event() -> None:
    parked = park(RECORD, "never", REFUSED)
    assert parked.is_parked
    assert (try_now(parked).next_try_ms, try_now(parked).failures) == (0, 0)
    assert (skip_event(parked).seq, skip_event(parked).next_try_ms) == (RECORD.seq + 1, 0)


def test_reasons_are_kept_short() -> None:
    assert len(park(RECORD, "x" * 10_000, REFUSED).why) == 500


def test_types_may_be_written_without_their_prefix() -> None:
    assert filter_of(["started", "job.failed"]).types == ("job.started", "job.failed")
    assert "job.recovered" in TYPES


def test_an_empty_filter_wants_everything() -> None:

    delivery = Delivery(RECORD, Job(kind="portrait", user="ada"))
    assert filter_of().wants(delivery)
    assert filter_of(["started"], ["portrait"], ["ada"]).wants(delivery)
    for other in (filter_of(["failed"]), filter_of((), ["x"]), filter_of((), (), ["x"])):
        assert not other.wants(delivery)
