"""How many partitions each process should have.

Rule: pure. Each live process has its fair share, rounded up. One that has more releases some, one
that has less acquires free ones.
"""

from __future__ import annotations

from collections.abc import Sequence


def fair_share(partitions: int, live: int) -> int:
    """Return how many of `partitions` each of `live` processes may have, at least 1."""
    return -(-partitions // max(1, live))


def surplus(assigned: Sequence[int], partitions: int, live: int) -> list[int]:
    """Return the assigned partitions to release, the highest ones."""
    return sorted(assigned)[fair_share(partitions, live) :]


def candidates(assigned: Sequence[int], partitions: int, live: int, start: int) -> list[int]:
    """Return the partitions to try to acquire, in order from `start`; none at the fair share.

    All that are not assigned are named, free or not: the caller stops at the fair share.
    """
    if len(assigned) >= fair_share(partitions, live):
        return []
    turned = [(start + offset) % partitions for offset in range(partitions)]
    return [partition for partition in turned if partition not in assigned]
