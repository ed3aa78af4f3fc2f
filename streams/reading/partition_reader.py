"""Reads a partition after an entry id, and waits for what comes, for who keeps a position itself.

Rule: reading changes nothing on the server, so that it may be repeated, and costs a fraction of
being given entries by a consumer group.
"""

from __future__ import annotations

from typing import cast

from everfold.streams.appending.log import Log
from everfold.streams.events.record import Recorded, recorded
from everfold.streams.reading.blocking_connection import BlockingConnection
from everfold.streams.redis.pages import Entries, entry_page
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import BLOCK_S


class PartitionReader:
    """Reads one partition. Close it with `aclose`.

    `name` is shown in CLIENT LIST behind the actor. Nothing is sent yet. Every call raises a leaf
    of Unavailable when the server cannot answer, without a retry.
    """

    def __init__(self, log: Log, partition: int, name: str, *, block_s: float = BLOCK_S) -> None:
        self._log, self._partition = log, partition
        self._block_ms = int(block_s * 1000)
        self._blocking = BlockingConnection(log, name, block_s)

    async def read_ready(self, after: str, most: int) -> list[Recorded]:
        """Return what follows an entry id: at most `most` events and one page, [] when there is
        nothing."""
        key = self._log.keys.log(self._partition)
        rows = await entry_page(self._log.redis, key, f"({after}", most=most)
        return [recorded(entry_id, fields) for entry_id, fields in rows]

    async def wait(self, after: str, most: int) -> list[Recorded]:
        """Return as `read_ready` does, but wait for it; [] when the block time is over."""
        # Nobody knows how large it will be what comes: one entry, then what fits beside it.
        asked = ("XREAD", "COUNT", 1, "BLOCK", self._block_ms, "STREAMS")
        redis, key = await self._blocking.of(self._partition), self._log.keys.log(self._partition)
        reply = await command(redis, *asked, key, after)
        streams = cast("list[tuple[bytes, Entries]]", reply or [])
        first = [recorded(entry_id, fields) for _, rows in streams for entry_id, fields in rows]
        if not first or most == 1:
            return first
        return first + await self.read_ready(first[0].entry_id, most - 1)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._blocking.aclose()
