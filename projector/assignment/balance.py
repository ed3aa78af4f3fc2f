"""Which projector process should own how many partitions.

Rule: pure. Each live process has its fair share, rounded up; who has more gives some up, who has
less takes what is free.
"""

from __future__ import annotations

from collections.abc import Sequence


def fair_share(partitions: int, live: int) -> int:
    """Return how many partitions one of `live` processes may own."""
    return -(-partitions // max(1, live))


def surplus(held: Sequence[int], partitions: int, live: int) -> list[int]:
    """Return the partitions to give up."""
    return sorted(held)[fair_share(partitions, live) :]


def to_try(held: Sequence[int], partitions: int, live: int, start: int) -> list[int]:
    """Return the partitions to try to take, in order from `start`; empty when there are enough.

    More may be tried than taken: stop at the fair share.
    """
    if len(held) >= fair_share(partitions, live):
        return []
    turned = [(start + offset) % partitions for offset in range(partitions)]
    return [partition for partition in turned if partition not in held]
