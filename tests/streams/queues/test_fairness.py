"""Queues and partitions take turns in front."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.leases.fairness import all_lanes, rotated
from everfold.streams.redis.keys import PRIORITIES


@given(st.lists(st.text(), unique=True, min_size=1), st.integers(0, 10**12))
def test_in_as_many_turns_as_there_are_items_each_is_in_front_once(
    items: list[str], first: int
) -> None:
    turns = [rotated(items, turn) for turn in range(first, first + len(items))]
    assert sorted(turn[0] for turn in turns) == sorted(items)
    assert all(sorted(turn) == sorted(items) for turn in turns)


def test_every_queue_has_a_lane_of_each_priority() -> None:
    assert all_lanes(["a", "b"]) == [(q, p) for q in ("a", "b") for p in PRIORITIES]


def test_a_runner_without_queues_looks_nowhere() -> None:
    assert rotated((), 3) == all_lanes(()) == []
