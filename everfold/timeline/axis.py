"""The time axis of a picture: the position of a moment, and the labels of its ticks.

Rule: pure. Labels count from the start of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from everfold.durations import duration_text

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

STEPS_MS = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(seconds * SECOND for seconds in (1, 2, 5, 10, 15, 30)),
    *(minutes * MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * DAY for days in (1, 2, 7, 14, 30, 90, 365)),
)
"""Distances between ticks, in milliseconds."""


class Axis(Struct, frozen=True):
    start_ms: int
    end_ms: int
    """After the start."""
    left: float
    width: float

    def at(self, moment_ms: int) -> float:
        """Return the position of a moment; one outside of the axis gets its nearer end."""
        share = (moment_ms - self.start_ms) / (self.end_ms - self.start_ms)
        return self.left + self.width * min(1.0, max(0.0, share))

    def ticks(self, most: int) -> Iterator[tuple[float, str]]:
        """Yield about `most` ticks at the most: position and label."""
        step_ms = self._step_ms(most)
        for after_ms in range(0, self.end_ms - self.start_ms + 1, step_ms):
            yield self.at(self.start_ms + after_ms), after(after_ms)

    def _step_ms(self, most: int) -> int:
        span_ms = self.end_ms - self.start_ms
        fits = (step for step in STEPS_MS if span_ms / step <= most)
        return next(fits, span_ms // max(1, most) + 1)


def after(ms: int) -> str:
    """Return a time since the start as all output writes durations; 0 for the start."""
    return duration_text(ms / 1000) if ms else "0"
