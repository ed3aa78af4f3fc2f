"""A number that rises with each change, and the wait for the next one.

Rule: nobody misses a change, for the waiter says which number it has seen.
"""

from __future__ import annotations

import asyncio


class ChangeCount:
    """Begins at 0. To be used in one event loop."""

    def __init__(self) -> None:
        self.now = 0
        self._next = asyncio.Event()

    def rise(self) -> None:
        """Count a change, and wake who waits for one."""
        self.now += 1
        self._next.set()
        self._next = asyncio.Event()

    async def above(self, since: int) -> int:
        """Return the number once it is above `since`, which may be at once or never."""
        while self.now <= since:
            await self._next.wait()
        return self.now
