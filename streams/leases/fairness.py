"""The order in which a runner looks for work, so that nothing starves.

Rule: pure. Most turns serve high before normal before low; every fourth turn begins with normal and
every eighth with low, so that a flood of urgent jobs slows the others but never stops them.
Queues and partitions take turns in front, each at its own pace: at one common pace a partition
would be in front in turns of one priority only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from typing import TypeVar

from everfold.streams.redis.keys import PRIORITIES

T = TypeVar("T")

Lane = tuple[str, str]
"""A queue and a priority: one dispatch stream in each partition."""

PRIORITY_CYCLE = 8
"""Turns after which the order of priorities begins again."""


def all_lanes(queues: Sequence[str]) -> list[Lane]:
    """Return every (queue, priority) that a runner of these queues serves."""
    return [(queue, priority) for queue in queues for priority in PRIORITIES]


def lane_order(turn: int, queues: Sequence[str]) -> list[Lane]:
    """Return every lane of `queues` in the order of this turn; `turn` counts claims from 0 on."""
    rotated = _rotated(queues, _pace(turn, PRIORITY_CYCLE, len(queues)))
    return [(queue, priority) for priority in _priorities(turn) for queue in rotated]


def partition_order(turn: int, partitions: int, queues: int = 1) -> list[int]:
    """Return every partition, another one in front each turn.

    With the number of `queues` given, every lane of every partition is in front of all others
    once or more in 8 * queues * partitions turns.
    """
    return _rotated(range(partitions), _pace(turn, PRIORITY_CYCLE * queues, partitions))


def _pace(turn: int, cycle: int, size: int) -> int:
    """Return how far `size` items are rotated in this turn.

    In cycle * size turns each rotation meets each turn of the cycle exactly once: one step more
    after each common period, for a plain step per turn would meet the same turns for ever.
    """
    if size == 0:
        return 0
    within = turn % (cycle * size)
    return within + within // lcm(cycle, size)


def _priorities(turn: int) -> list[str]:
    high, normal, low = PRIORITIES
    if turn % PRIORITY_CYCLE == 7:
        return [low, high, normal]
    if turn % 4 == 3:
        return [normal, high, low]
    return [high, normal, low]


def _rotated(items: Sequence[T], by: int) -> list[T]:
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]
