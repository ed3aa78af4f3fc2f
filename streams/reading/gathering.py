"""How long a reader that follows waits after a few entries, so that the next read brings more.

A read and a commit of one entry cost nearly as much as those of thirty, and what all partitions do
at the same moment shares its round trips. Where they take long, the machine is busy: it waits for
longer, so that each next one has more entries.
"""

from __future__ import annotations

FEW = 32
"""Entries from which on the log is ahead of its reader: it does not wait for more."""

GATHER_S, GATHER_MOST_S = 0.005, 0.08


def gathering_s(now_s: float, took_s: float) -> float:
    """Return how long to wait after few entries were read and committed in so long.

    Until the next multiple of GATHER_S, which is doubled while it is shorter than two of those,
    up to GATHER_MOST_S: the waits of all who read end together.
    """
    period_s = GATHER_S
    while period_s < min(2 * took_s, GATHER_MOST_S):
        period_s *= 2
    return period_s - now_s % period_s
