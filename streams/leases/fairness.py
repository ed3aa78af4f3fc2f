"""The order in which a runner looks at queues and partitions, so that none is always the last.

Rule: pure. Within one queue the places of its jobs decide (queues/waiting_jobs.py); queues take
turns in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from everfold.streams.redis.keys import PRIORITIES

T = TypeVar("T")

Lane = tuple[str, str]
"""A queue and a priority: one dispatch stream in each partition."""


def all_lanes(queues: Sequence[str]) -> list[Lane]:
    """Return every (queue, priority) that a runner of these queues serves."""
    return [(queue, priority) for queue in queues for priority in PRIORITIES]


def rotated(items: Sequence[T], turn: int) -> list[T]:
    """Return the items in their order, with another one in front each turn."""
    start = turn % len(items) if items else 0
    return [*items[start:], *items[:start]]
