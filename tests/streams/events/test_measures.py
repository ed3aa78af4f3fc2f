"""Measures keep every count, in a bounded size, whatever names they are given."""

from __future__ import annotations

import pytest

from everfold.streams.telemetry.measures import (
    LABELS_LIMIT,
    OTHERS,
    SERIES_LIMIT,
    VALUE_LIMIT,
    Counter,
    Gauge,
    Histogram,
    counter,
)


def test_a_counter_counts_beyond_its_limit_under_others() -> None:
    counted = Counter("c", "about", ("queue",))

    for number in range(3 * LABELS_LIMIT):
        counted.add(f"queue-{number}")
        counted.add(f"queue-{number}", amount=2)

    assert len(counted.series) == LABELS_LIMIT + 1
    assert counted.series["queue-0",] == 3
    assert counted.series[OTHERS,] == 2 * LABELS_LIMIT * 3


def test_several_labels_have_a_limit_together() -> None:
    counted = Counter("c", "about", ("queue", "code"))

    for queue in range(LABELS_LIMIT):
        for code in range(LABELS_LIMIT):
            counted.add(f"q{queue}", f"c{code}")

    assert len(counted.series) == SERIES_LIMIT + 1
    assert sum(counted.series.values()) == LABELS_LIMIT**2


def test_a_long_value_is_cut() -> None:
    counted = Counter("c", "about", ("kind",))

    counted.add("x" * 1_000_000)
    counted.add("x" * 1_000_000)

    assert counted.series == {("x" * VALUE_LIMIT,): 2}


def test_a_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        Counter("c", "about", ("queue",)).add()


def test_a_histogram_counts_in_its_buckets() -> None:
    seen = Histogram("h", "about", ("kind",), bounds=(1, 2.5))

    for number in (0.2, 1, 2, 2.5, 99, -5):
        seen.observe(number, "sleep")

    assert seen.series["sleep",].counts == [3, 2, 1]
    assert seen.series["sleep",].sum == pytest.approx(104.7)


def test_a_histogram_counts_beyond_its_limit_under_others() -> None:
    seen = Histogram("h", "about", ("kind",), bounds=(1,))

    for number in range(2 * LABELS_LIMIT):
        seen.observe(0.5, f"kind-{number}")

    assert len(seen.series) == LABELS_LIMIT + 1
    assert seen.series[OTHERS,].counts == [LABELS_LIMIT, 0]


def test_a_gauge_is_set_and_dropped() -> None:
    level = Gauge("g", "about", ("backend",))
    level.set(2, "a")
    level.set(3, "a")
    assert level.series == {("a",): 3}

    level.drop("a")
    level.drop("a")
    assert level.series == {}


def test_a_name_is_declared_once() -> None:
    counter("everfold_test_declared", "about")

    with pytest.raises(ValueError, match="twice"):
        counter("everfold_test_declared", "about")
