"""One read of the server for all who ask at the same time.

Rule: a caller never gets an answer whose read began before the call, because truth depends on the
order of reads; callers that arrive during a read share the next one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class SharedRead(Generic[T]):
    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._lock = anyio.Lock()
        self._begun = 0
        """Reads that have begun."""
        self._latest: tuple[int, T] | None = None
        """The newest answer, and which read gave it."""

    async def fresh(self) -> T:
        """Return the answer of a read that begins after this call."""
        wanted = self._begun + 1
        async with self._lock:
            if self._latest is not None and self._latest[0] >= wanted:
                return self._latest[1]
            self._begun += 1
            number = self._begun
            answer = await self._read()
            self._latest = (number, answer)
            return answer
