"""Nothing starves: simulated floods in front of every lane and partition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.leases.fairness import lane_order, partition_order
from everfold.streams.redis.keys import PRIORITIES

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")
SIZES = st.tuples(st.integers(1, 16), st.integers(1, 8))
Place = tuple[int, str, str]
"""A partition, a queue and a priority."""


def front(turn: int, partitions: int, queues: tuple[str, ...]) -> Place:
    """Return the place that a runner with room for one job serves when all are flooded."""
    partition = partition_order(turn, partitions, len(queues))[0]
    return partition, *lane_order(turn, queues)[0]


@given(st.integers(0, 10**12), SIZES)
def test_every_turn_looks_at_every_lane_and_partition_once(
    turn: int, sizes: tuple[int, int]
) -> None:
    partitions, queues = sizes[0], NAMES[: sizes[1]]
    lanes = lane_order(turn, queues)
    assert sorted(lanes) == sorted((queue, p) for queue in queues for p in PRIORITIES)
    assert sorted(partition_order(turn, partitions, len(queues))) == list(range(partitions))


@given(st.integers(0, 10**9), SIZES)
def test_no_job_waits_longer_than_one_cycle_behind_floods_everywhere(
    start: int, sizes: tuple[int, int]
) -> None:
    partitions, queues = sizes[0], NAMES[: sizes[1]]
    cycle = 8 * partitions * len(queues)
    served = {front(turn, partitions, queues) for turn in range(start, start + cycle)}
    assert len(served) == partitions * len(queues) * len(PRIORITIES)


def test_urgent_jobs_get_most_turns_in_every_partition() -> None:
    served = [front(turn, 8, ("a",)) for turn in range(640)]
    for partition in range(8):
        priorities = [place[2] for place in served if place[0] == partition]
        assert [priorities.count(name) for name in PRIORITIES] == [60, 10, 10]


@pytest.mark.parametrize("partitions", [1, 3, 8])
@pytest.mark.parametrize("flooded", PRIORITIES)
def test_one_job_behind_a_flood_of_one_priority_is_served_in_time(
    partitions: int, flooded: str
) -> None:
    queues = ("busy", "quiet")
    waiting = {(p, "quiet", priority) for p in range(partitions) for priority in PRIORITIES}
    for turn in range(8 * len(queues) * partitions):
        for partition in partition_order(turn, partitions, len(queues)):
            lane = next(
                (queue, priority)
                for queue, priority in lane_order(turn, queues)
                if (queue, priority) == ("busy", flooded) or (partition, queue, priority) in waiting
            )
            waiting.discard((partition, *lane))
            break  # room for one job a turn
    assert waiting == set()


def test_a_runner_without_queues_looks_nowhere() -> None:
    assert lane_order(3, ()) == []
