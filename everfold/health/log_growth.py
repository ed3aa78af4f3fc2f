"""How fast the log grows, and when the server's memory or disk ends.

Rule: pure. What is younger than an hour says nothing of a day.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.durations import DAY_S

LEAST_AGE_S = 3600.0


class LogSize(Struct, frozen=True):
    """A log as it is now."""

    events: int
    size_bytes: int
    """What it takes of memory, about; 0 where the server does not say it."""
    age_s: float
    """Of its oldest event."""


class Growth(Struct, frozen=True):
    """What a log grows by in a day."""

    events: float
    size_bytes: float

    def days_left(self, free_bytes: float) -> float | None:
        """Return the days until so many bytes are used up, None for never."""
        return max(0.0, free_bytes) / self.size_bytes if self.size_bytes > 0 else None


def growth(size: LogSize) -> Growth | None:
    """Return the mean growth since the oldest event, None where nothing can be said yet."""
    if size.events == 0 or size.age_s < LEAST_AGE_S:
        return None
    days = size.age_s / DAY_S
    return Growth(size.events / days, size.size_bytes / days)
