"""How much one runner stores at the same time.

Rule: memory is bounded by the files that come at once, whatever their size. A server that is away
or slow holds up its own jobs, and no other server's.
"""

from __future__ import annotations

import anyio
from msgspec import Struct, field

FILES_AT_ONCE = 4
"""Files that come, or go into the store, at the same time: each needs a few MiB of memory."""
QUESTIONS_AT_ONCE = 3
"""Files that one server is asked for at the same time: one that stands still leaves room."""
JOBS_AT_ONCE = 8
"""Jobs of one server whose files are stored without a slot. Further ones keep theirs until it is
their turn, so that no more jobs are begun than files can be stored."""


class ServerPlaces(Struct, frozen=True, eq=False):
    """The places of one server's jobs."""

    jobs: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(JOBS_AT_ONCE))
    """Held by a job that no longer has a slot."""
    questions: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(QUESTIONS_AT_ONCE))
    """Held from the question for a file to its end."""


class Places:
    """The places of one runner."""

    def __init__(self) -> None:
        self.files = anyio.Semaphore(FILES_AT_ONCE)
        """Held while a file comes."""
        self._by_server: dict[str, ServerPlaces] = {}
        self._store_fails_since_s: float | None = None

    def note_store(self, *, fails: bool) -> None:
        """Note whether the store has taken a file now."""
        since_s = self._store_fails_since_s
        self._store_fails_since_s = (since_s or anyio.current_time()) if fails else None

    def waits_for_store_until_s(self, within_s: float) -> float:
        """Return until when the store is waited for: it is once for all jobs that end meanwhile,
        else a store that stays full would hold up each job for so long."""
        return (self._store_fails_since_s or anyio.current_time()) + within_s

    def of(self, server: str) -> ServerPlaces:
        """Return the places of a server, by its identity or address."""
        return self._by_server.setdefault(server, ServerPlaces())
