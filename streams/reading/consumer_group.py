"""A consumer group on the log: several processes share its partitions and resume where they were.

Rule: an entry stays pending until it is acknowledged; after every reconnect a consumer reads its
own pending entries first (an answer that was lost left them there). Each instance has a
connection of its own, for it blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from everfold.streams.appending.log import Log
from everfold.streams.events.record import NO_ENTRY, Recorded, recorded
from everfold.streams.reading.reader import Entries
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import BLOCK_S, connect_blocking

BATCH = 500


class PendingEntries(Struct, frozen=True):
    """What a group was given and has not acknowledged."""

    count: int
    first: str
    """Entry id of the oldest one, 0-0 when there is none."""
    consumers: dict[str, int]


class ConsumerGroup:
    """One consumer of a group. Close it with `aclose`."""

    def __init__(self, log: Log, group: str, consumer: str, *, block_s: float = BLOCK_S) -> None:
        self._log = log
        self.group, self.consumer = group, consumer
        self._block_ms = int(block_s * 1000)
        self._redis = connect_blocking(
            log.url, name=f"everfold:{log.actor}:{group}", block_s=block_s
        )

    async def create(self, partition: int, after: str = NO_ENTRY) -> None:
        """Make the group, to read what follows the entry `after`; nothing when it exists.

        Never begins at "now" by itself: what was appended before would be missed.
        """
        key = self._log.keys.log(partition)
        try:
            await command(self._redis, "XGROUP CREATE", key, self.group, after, "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def read_new(self, partition: int, most: int = BATCH) -> list[Recorded]:
        """Wait for entries that no consumer of the group has seen; empty after the block time.

        Raises border.NoGroup when the group is gone, Unavailable when the server is.
        """
        wait = ("BLOCK", self._block_ms)
        return await self._read(self._redis, partition, ">", most, *wait)

    async def read_ready(self, partition: int, most: int = BATCH) -> list[Recorded]:
        """Return what no consumer of the group has seen, without waiting for it.

        It travels with the log's other commands. Raises as `read_new`.
        """
        return await self._read(self._log.redis, partition, ">", most)

    async def read_pending(
        self, partition: int, after: str = NO_ENTRY, most: int = BATCH
    ) -> list[Recorded]:
        """Return this consumer's own unacknowledged entries after an entry id, in order."""
        return await self._read(self._redis, partition, after, most)

    async def _read(
        self, redis: Redis, partition: int, start: str, most: int, *wait: str | int
    ) -> list[Recorded]:
        reply = await command(
            redis,
            *("XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", most, *wait),
            *("STREAMS", self._log.keys.log(partition), start),
        )
        streams = cast("list[tuple[bytes, Entries]]", reply or [])
        return [recorded(entry_id, fields) for _, rows in streams for entry_id, fields in rows]

    async def inherit(self, partition: int) -> None:
        """Make every pending entry of the group this consumer's own, whoever had it."""
        cursor = b"0-0"
        while True:
            reply = await command(
                self._redis,
                *("XAUTOCLAIM", self._log.keys.log(partition), self.group, self.consumer),
                *(0, cursor, "COUNT", 1000, "JUSTID"),
            )
            cursor = cast("list[bytes]", reply)[0]
            if cursor == b"0-0":
                return

    async def acknowledge(self, partition: int, entry_ids: Sequence[str]) -> None:
        """Tell the group that these entries are done with; repeating it changes nothing."""
        if entry_ids:
            key = self._log.keys.log(partition)
            await command(self._redis, "XACK", key, self.group, *entry_ids)

    async def pending(self, partition: int) -> PendingEntries:
        key = self._log.keys.log(partition)
        reply = await command(self._redis, "XPENDING", key, self.group)
        count, first, _, rows = cast("tuple[int, bytes, bytes, list[list[bytes]]]", reply)
        consumers = {name.decode(): int(pending) for name, pending in rows or []}
        return PendingEntries(count, first.decode() if first else NO_ENTRY, consumers)

    async def aclose(self) -> None:
        await self._redis.aclose()
