"""A dispatch stream with its group `runners`: entries, and who holds which for how long."""

from __future__ import annotations

from collections.abc import Iterator

FOREVER_MS = 31_536_000_000
"""The idle time that release.lua gives a job which is handed over."""


class PendingEntry:
    """One line of the pending entries list."""

    __slots__ = ("consumer", "renewed_ms", "ticket")

    def __init__(self, ticket: int, consumer: str, renewed_ms: int) -> None:
        self.ticket, self.consumer, self.renewed_ms = ticket, consumer, renewed_ms


class DispatchStream:
    def __init__(self) -> None:
        self.entries: dict[int, str] = {}
        """Entry id -> job, in the order of the ids."""
        self.pending: dict[int, PendingEntry] = {}
        self.delivered = 0
        """The group's last delivered entry id."""

    def add(self, ticket: int, job_id: str) -> None:
        self.entries[ticket] = job_id

    def read_new(self, consumer: str, most: int, now_ms: int) -> list[tuple[int, str]]:
        """XREADGROUP with `>`."""
        found = [item for item in self.entries.items() if item[0] > self.delivered][:most]
        for ticket, _ in found:
            self.delivered = ticket
            self.pending[ticket] = PendingEntry(ticket, consumer, now_ms)
        return found

    def claim(self, ticket: int, consumer: str, now_ms: int, idle_ms: int = 0) -> bool:
        """XCLAIM without FORCE: an entry that nobody holds, or that is deleted, is not claimed."""
        line = self.pending.get(ticket)
        if line is None or ticket not in self.entries:
            self.pending.pop(ticket, None)
            return False
        line.consumer, line.renewed_ms = consumer, now_ms - idle_ms
        return True

    def drop(self, ticket: int) -> None:
        """XACK and XDEL."""
        self.entries.pop(ticket, None)
        self.pending.pop(ticket, None)

    def page(self, cursor: int, suspect: str, most: int) -> list[PendingEntry]:
        """XPENDING after `cursor`, of one consumer if `suspect` names one."""
        found = (self.pending[ticket] for ticket in sorted(self.pending) if ticket > cursor)
        wanted: Iterator[PendingEntry] = (line for line in found if suspect in ("", line.consumer))
        return [line for line, _ in zip(wanted, range(most), strict=False)]
