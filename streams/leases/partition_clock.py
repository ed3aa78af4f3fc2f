"""What one process knows of the server's clock, by a clock of its own that nobody sets.

Rule: pure. Only a step that no delay of an answer can explain is a step. Many small ones add up:
the reading that later ones are compared with is kept for a minute.
"""

from __future__ import annotations

from msgspec import Struct

STEP_MS = 2_000
"""A clock that is off by less is as good as one that is right."""

LEAST_STEP_MS = 500
"""With short leases a smaller step counts: a quarter of one, and at least this."""

UNSEEN_MS = 15_000
"""Runners that live have written down within so long that they have seen the clock."""

ANCHOR_S = 60.0


class Look(Struct, frozen=True):
    """What look_at_clock.lua answers; all Unix ms of the server but the sum."""

    time_ms: int
    seen_ms: int
    """The last time that a runner has written down; up to 10 s old while one lives, 0 for never."""
    stepped_ms: int
    """The sum of all steps that were found."""
    unsure_to_ms: int
    """A time up to this one may be from before a step."""
    is_moving: int = 0
    """1 while times are still to be moved by the last step."""


class PartitionClock:
    """The server's clock, for one process and one partition. Times in seconds are `steady_s()`."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._step_ms = max(LEAST_STEP_MS, min(STEP_MS, int(lease_s * 250)))
        self._anchor: Look | None = None
        self._asked_s = self._answered_s = 0.0
        """Before and after the anchor was asked for."""
        self._hold_until_s = 0.0
        self.was_unseen = False
        """At the first look nobody had looked for a while: the clock was set forward just now, or
        no runner was there."""
        self.first_seen_s = 0.0
        """When this process had its first look."""
        self.unsure_to_ms = 0
        """A server time up to this one may be from before a step of the clock."""

    @property
    def is_known(self) -> bool:
        """Whether the clock was looked at before."""
        return self._anchor is not None

    def is_holding(self, now_s: float) -> bool:
        """Say whether owners still get time to renew: the clock was set less than a lease ago."""
        return now_s < self._hold_until_s

    def latest_ms(self, now_s: float) -> int:
        """Return the latest server time that can be explained without a step; 0 for any."""
        if self._anchor is None:
            return 0
        return self._anchor.time_ms + int((now_s - self._asked_s) * 1000) + self._step_ms

    def anew_ms(self, step_ms: int) -> int:
        """Return the server time from which on everything was written after a step forward that
        was just observed; 0 where that cannot be told."""
        return self._anchor.time_ms + step_ms if self._anchor is not None and step_ms > 0 else 0

    def doubt(self, time_ms: int, now_s: float) -> None:
        """Take times up to this one, which was seen now, for unsure if it cannot be explained."""
        if 0 < self.latest_ms(now_s) < time_ms:
            self.unsure_to_ms = max(self.unsure_to_ms, time_ms)

    def wants_look(self, time_ms: int, asked_s: float) -> bool:
        """Say whether to look at the clock: it showed less than can be explained, or long ago."""
        if self._anchor is None or asked_s - self._asked_s > ANCHOR_S:
            return True
        least_ms = self._anchor.time_ms + (asked_s - self._answered_s) * 1000 - self._step_ms
        return time_ms < least_ms

    def observe(self, look: Look, asked_s: float, answered_s: float) -> int:
        """Compare a look with the one before. Return the ms by which the clock was set and which
        nobody has recorded, 0 for none; such a look is not kept."""
        if self._anchor is None:
            return self._begin(look, asked_s, answered_s)
        moved_ms = look.time_ms - self._anchor.time_ms
        least_ms = moved_ms - (answered_s - self._asked_s) * 1000
        most_ms = moved_ms - (asked_s - self._answered_s) * 1000
        known_ms = look.stepped_ms - self._anchor.stepped_ms
        unknown_ms = (least_ms + most_ms) / 2 - known_ms
        has_stepped = least_ms > self._step_ms or most_ms < -self._step_ms
        if has_stepped and abs(unknown_ms) > self._step_ms:
            self._hold_until_s = answered_s + self._lease_s
            return round(unknown_ms)
        is_odd = most_ms > self._step_ms or least_ms < -self._step_ms
        if has_stepped or is_odd or known_ms or asked_s - self._asked_s > ANCHOR_S:
            self.accept(look, asked_s, answered_s, is_step=bool(known_ms) or has_stepped)
        return 0

    def accept(self, look: Look, asked_s: float, answered_s: float, *, is_step: bool) -> None:
        """Compare later looks with this one. After a step owners get one lease to renew."""
        self._anchor, self._asked_s, self._answered_s = look, asked_s, answered_s
        self.unsure_to_ms = max(self.unsure_to_ms, look.unsure_to_ms)
        if is_step:
            self._hold_until_s = answered_s + self._lease_s

    def _begin(self, look: Look, asked_s: float, answered_s: float) -> int:
        since_ms = look.time_ms - look.seen_ms
        if since_ms < -self._step_ms:
            return since_ms  # what was seen before lies in the future: it was set back
        self.was_unseen = look.seen_ms > 0 and since_ms > UNSEEN_MS
        self.first_seen_s = answered_s
        self.accept(look, asked_s, answered_s, is_step=False)
        return 0
