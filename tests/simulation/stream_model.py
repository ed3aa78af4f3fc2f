"""A dispatch stream with its group `runners`: entries, and who holds which for how long."""

from __future__ import annotations

from collections.abc import Iterator

FOREVER_MS = 31_536_000_000
"""The idle time that release.lua gives a job which is handed over."""


class PendingEntry:
    """One line of the pending entries list."""

    __slots__ = ("consumer", "entry_id", "renewed_ms")

    def __init__(self, entry_id: int, consumer: str, renewed_ms: int) -> None:
        self.entry_id, self.consumer, self.renewed_ms = entry_id, consumer, renewed_ms


class DispatchStream:
    def __init__(self) -> None:
        self.entries: dict[int, str] = {}
        """Entry id -> job, in the order of the ids."""
        self.pending: dict[int, PendingEntry] = {}

    def add(self, entry_id: int, job_id: str) -> None:
        self.entries[entry_id] = job_id

    def hold(self, entry_id: int, job_id: str, consumer: str, now_ms: int) -> None:
        """XADD, and XCLAIM with FORCE."""
        self.add(entry_id, job_id)
        self.pending[entry_id] = PendingEntry(entry_id, consumer, now_ms)

    def claim(self, entry_id: int, consumer: str, now_ms: int, idle_ms: int = 0) -> bool:
        """XCLAIM without FORCE: an entry that nobody holds, or that is deleted, is not claimed."""
        line = self.pending.get(entry_id)
        if line is None or entry_id not in self.entries:
            self.pending.pop(entry_id, None)
            return False
        line.consumer, line.renewed_ms = consumer, now_ms - idle_ms
        return True

    def restart_leases(self, now_ms: int) -> None:
        """XCLAIM with IDLE 0 for each line that a runner holds."""
        for line in self.pending.values():
            if line.consumer != "released":
                line.renewed_ms = now_ms

    def drop(self, entry_id: int) -> None:
        """XACK and XDEL."""
        self.entries.pop(entry_id, None)
        self.pending.pop(entry_id, None)

    def page(self, cursor: int, suspect: str, most: int) -> list[PendingEntry]:
        """XPENDING after `cursor`, of one consumer if `suspect` names one."""
        found = (self.pending[entry_id] for entry_id in sorted(self.pending) if entry_id > cursor)
        wanted: Iterator[PendingEntry] = (line for line in found if suspect in ("", line.consumer))
        return [line for line, _ in zip(wanted, range(most), strict=False)]
