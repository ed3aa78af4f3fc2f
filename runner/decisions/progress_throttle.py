"""Limits the progress events of an attempt: at most one per interval, the newest value wins.

Rule: pure; time is an argument, in seconds of any steady clock. The last value is never lost.
"""

from __future__ import annotations

from msgspec import UNSET

from everfold.runner.backend import Progress
from everfold.streams.events.event import Progressed


class ProgressThrottle:
    """Holds the newest progress of one attempt until an event is due."""

    def __init__(self, attempt: int, interval_s: float) -> None:
        self._attempt = attempt
        self._interval_s = interval_s
        self._pending: Progress | None = None
        self._taken: Progress | None = None
        self._due_at_s = 0.0

    def note(self, progress: Progress) -> None:
        """Let a new value wait, in place of an older one. One already taken is ignored."""
        self._pending = progress if progress != self._taken else None

    def due_in_s(self, now_s: float) -> float | None:
        """Return how many seconds the waiting value has to wait; None when no value waits."""
        return None if self._pending is None else max(0.0, self._due_at_s - now_s)

    def take(self, now_s: float) -> Progressed | None:
        """Return the waiting value as an event if it is due, else None; it no longer waits then."""
        return self.take_last(now_s) if self.due_in_s(now_s) == 0.0 else None

    def take_last(self, now_s: float) -> Progressed | None:
        """Return the waiting value as an event, due or not, for the end of a watch."""
        if self._pending is None:
            return None
        progress, self._pending = self._pending, None
        self._taken, self._due_at_s = progress, now_s + self._interval_s
        return Progressed(
            attempt=self._attempt,
            value=round(progress.value, 4),
            nodes_done=progress.nodes_done,
            nodes_total=progress.nodes_total,
            node=progress.node,
            node_class=progress.node_class,
            step=progress.step,
            steps=progress.steps,
            left_s=UNSET if progress.left_s is None else progress.left_s,
        )
