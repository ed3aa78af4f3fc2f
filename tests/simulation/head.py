"""A job's head: what the scripts look at before they change anything."""

from __future__ import annotations

from everfold.streams.events.record import NO_ENTRY

Lane = tuple[str, str]
"""Queue and priority: the name of a dispatch stream."""


class Head:
    """The head of one job."""

    def __init__(self, lane: Lane, workflow: str, made_by: str) -> None:
        self.seq = self.epoch = self.crashes = self.dispatch_id = 0
        self.status, self.phase, self.owner = "open", "", ""
        self.lane, self.workflow, self.made_by = lane, workflow, made_by
        self.first = self.last = NO_ENTRY
        self.canceled_by: tuple[int, str] | None = None
        self.place = 0
        """Among jobs that wait; 0 before the first time."""
        self.blocked: list[str] = []
        self.blocked_seq = self.blocked_until_ms = self.blocked_for_ms = 0
        self.recent: list[tuple[str, int, str]] = []
