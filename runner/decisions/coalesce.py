"""Progress in measured doses: the last value wins, at most one event per interval, and the last
one is never lost.

Rule: pure; time is an argument, in seconds of any steady clock.
"""

from __future__ import annotations

from everfold.runner.backend import Progress
from everfold.streams.events.event import Progressed


class Coalesced:
    """The progress of one attempt on its way into the log."""

    def __init__(self, attempt: int, interval_s: float) -> None:
        self._attempt = attempt
        self._interval_s = interval_s
        self._pending: Progress | None = None
        self._told: Progress | None = None
        self._due_at_s = 0.0

    def note(self, progress: Progress) -> None:
        """Take in a new value, in place of one that still waits."""
        self._pending = progress if progress != self._told else None

    def due_in_s(self, now_s: float) -> float | None:
        """Return how long the waiting value has to wait, None when there is none."""
        return None if self._pending is None else max(0.0, self._due_at_s - now_s)

    def take(self, now_s: float) -> Progressed | None:
        """Return the event that is due, if one is."""
        return self.take_last(now_s) if self.due_in_s(now_s) == 0.0 else None

    def take_last(self, now_s: float) -> Progressed | None:
        """Return the waiting value at once, due or not: the attempt is about to end."""
        if self._pending is None:
            return None
        progress, self._pending = self._pending, None
        self._told, self._due_at_s = progress, now_s + self._interval_s
        return Progressed(
            attempt=self._attempt,
            value=round(progress.value, 4),
            nodes_done=progress.nodes_done,
            nodes_total=progress.nodes_total,
            node=progress.node,
            node_class=progress.node_class,
            step=progress.step,
            steps=progress.steps,
        )
