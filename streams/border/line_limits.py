"""Bounds how many lines of one kind a log gets, where the world decides how many there are.

Rule: pure. Of each event, and of each library, MOST lines are let through in WINDOW_S; the next
line after that says how many were left out. Lines about jobs are as many as the log has changes of
jobs, and are not bounded here.
"""

from __future__ import annotations

from msgspec import Struct

MOST, WINDOW_S = 1_000, 10.0

KINDS = 2_000
"""Kinds that are told apart; more count as one, so that nothing grows without a limit."""

OTHERS = "others"


class _Window(Struct):
    since_s: float
    lines: int = 0
    left_out: int = 0


class LineLimits:
    """Counts lines by kind."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def take(self, kind: str, now_s: float) -> tuple[bool, int]:
        """Count one line of a kind at a steady time; return whether it may be written, and how many
        were left out before it."""
        if kind not in self._windows and len(self._windows) >= KINDS:
            kind = OTHERS
        window = self._windows.setdefault(kind, _Window(now_s))
        left_out = 0
        if now_s - window.since_s >= WINDOW_S:
            left_out = window.left_out
            window.since_s, window.lines, window.left_out = now_s, 0, 0
        window.lines += 1
        if window.lines > MOST:
            window.left_out += 1
            return False, 0
        return True, left_out
