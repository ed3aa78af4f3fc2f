"""In which order a runner looks for work, so that nothing starves.

Rule: most turns serve high before normal before low; every fourth turn begins with normal and
every eighth with low, so that a flood of urgent jobs slows the others but never stops them.
Queues and partitions take turns in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from streams.keys import PRIORITIES

T = TypeVar("T")

Lane = tuple[str, str]
"""A queue and a priority: one dispatch stream in each partition."""


def lanes_of(turn: int, queues: Sequence[str]) -> list[Lane]:
    """Return every lane of `queues` in the order of this turn."""
    rotated = _rotated(queues, turn)
    return [(queue, priority) for priority in _priorities(turn) for queue in rotated]


def partitions_of(turn: int, partitions: int) -> list[int]:
    """Return every partition, another one in front each turn."""
    return _rotated(range(partitions), turn)


def _priorities(turn: int) -> list[str]:
    high, normal, low = PRIORITIES
    if turn % 8 == 7:
        return [low, high, normal]
    if turn % 4 == 3:
        return [normal, high, low]
    return [high, normal, low]


def _rotated(items: Sequence[T], by: int) -> list[T]:
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]
