"""A number that rises when another server is the primary of something, and who is told.

Rule: nobody misses a change, for the waiter says which number it has seen; and a blocking read ends
with each change, for it may wait at a server that has nothing to say any more.
"""

from __future__ import annotations

import asyncio
from weakref import WeakSet

from redis.asyncio import ConnectionPool

from everfold.streams.connections.connection import cut_all


class ChangeCount:
    """Begins at 0. To be used in one event loop."""

    def __init__(self) -> None:
        self.now = 0
        self._next = asyncio.Event()
        self._readers = WeakSet[ConnectionPool]()

    def add_reader(self, pool: ConnectionPool) -> None:
        """End the connections of a pool with each change."""
        self._readers.add(pool)

    def rise(self) -> None:
        """Count a change, wake who waits for one, and end blocking reads."""
        self.now += 1
        self._next.set()
        self._next = asyncio.Event()
        for pool in self._readers:
            cut_all(pool)

    async def above(self, since: int) -> int:
        """Return the number once it is above `since`, which may be at once or never."""
        while self.now <= since:
            await self._next.wait()
        return self.now
