"""A consumer group on the log: several processes share its partitions and resume where they were.

Rule: an entry stays pending until it is acknowledged; after every reconnect a consumer reads its
own pending entries first, for an answer that was lost left them there. Each instance has a
connection of its own, because it blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis

from everfold.streams.appending.log import Log
from everfold.streams.connections.replies import GroupExists
from everfold.streams.events.record import NO_ENTRY, Recorded, recorded
from everfold.streams.reading.blocking_connection import BlockingConnection
from everfold.streams.redis.pages import PAGE_BYTES, Entries, count_entries
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script
from everfold.streams.redis.server import BLOCK_S

BATCH = 500
"""Most entries of a read. Large ones are fewer: see PAGE_BYTES."""

_read_pending = Script("everfold.streams", "read_pending")


class PendingEntries(Struct, frozen=True):
    """What the consumers of a group were given and have not acknowledged, in one partition."""

    count: int
    first: str
    """Entry id of the oldest one, 0-0 when there is none."""
    consumers: dict[str, int]
    """Consumer -> how many of them are its own; those without any are left out."""


class ConsumerGroup:
    """One consumer of a group, in all partitions of a log. Close it with `aclose`.

    `consumer` must be unique within the group: two of one name would share what is pending.
    `block_s` is how many seconds a read waits for entries. Nothing is sent yet. Every call raises
    a leaf of Unavailable when the server cannot answer, without a retry, and NoGroup where the
    group is not there.
    """

    def __init__(self, log: Log, group: str, consumer: str, *, block_s: float = BLOCK_S) -> None:
        self._log = log
        self.group, self.consumer = group, consumer
        self._block_ms = int(block_s * 1000)
        self._read_to: dict[int, str] = {}
        """Partition -> the last entry that was read as a new one, as far as it is known."""
        self._blocking = BlockingConnection(log, group, block_s)

    async def create(self, partition: int, after: str = NO_ENTRY) -> None:
        """Make the group in a partition, to read what follows the entry `after`.

        Changes nothing when it exists. It never begins at "now" by itself: what was appended
        before would be missed.
        """
        key = self._log.keys.log(partition)
        with contextlib.suppress(GroupExists):
            await command(self._log.redis, "XGROUP CREATE", key, self.group, after, "MKSTREAM")

    async def read_new(self, partition: int, most: int = BATCH) -> list[Recorded]:
        """Wait for entries that no consumer of the group has seen; [] when the block time is over.

        At most `most` of them and one page, in the order of the log; they are pending for this
        consumer then.
        """
        return await self.read_ready(partition, most) or await self.wait_new(partition, most)

    async def wait_new(self, partition: int, most: int = BATCH) -> list[Recorded]:
        """Do as `read_new`, on the connection that blocks: for where nothing was ready."""
        # Nobody knows how large it will be what comes: one entry, then what fits beside it.
        block = ("BLOCK", self._block_ms)
        redis = await self._blocking.of(partition)
        return await self._and_more(partition, await self._read(redis, partition, 1, *block), most)

    async def rest(self) -> None:
        """Close the connection that blocks, until it is needed again."""
        await self._blocking.aclose()

    async def read_ready(self, partition: int, most: int = BATCH) -> list[Recorded]:
        """Return what no consumer of the group has seen, without waiting: as `read_new`, but on
        the log's own pipelined connections.
        """
        if partition in self._read_to:
            return await self._read_page(partition, most)
        return await self._and_more(
            partition, await self._read(self._log.redis, partition, 1), most
        )

    async def read_pending(
        self, partition: int, after: str = NO_ENTRY, most: int = BATCH
    ) -> list[Recorded]:
        """Return this consumer's pending entries after an entry id, in order; [] at their end.

        An entry that was trimmed meanwhile is an Unreadable event.
        """
        self._read_to.pop(partition, None)
        keys, limits = (self._log.keys.log(partition),), (after, most, PAGE_BYTES)
        reply = await _read_pending.run(self._log.redis, keys, (self.group, self.consumer, *limits))
        rows = cast("Entries", reply[1:])
        return [recorded(entry_id, fields) for entry_id, fields in rows]

    async def _and_more(self, partition: int, first: list[Recorded], most: int) -> list[Recorded]:
        more = first and most > 1
        return first + await self._read_page(partition, most - 1) if more else first

    async def _read_page(self, partition: int, most: int) -> list[Recorded]:
        """Read a page after the last entry that was read; nothing when there is none."""
        key, after = self._log.keys.log(partition), f"({self._read_to[partition]}"
        found = await count_entries(self._log.redis, key, after, most=most)
        if not found.count:
            return []
        read, size = self._log.redis, found.size_bytes
        return await self._read(read, partition, found.count, reply_bytes=size)

    async def _read(
        self, redis: Redis, partition: int, most: int, *wait: str | int, reply_bytes: int = 0
    ) -> list[Recorded]:
        """Read new entries. After an error nobody knows up to where, until the next read."""
        read_to = self._read_to.pop(partition, None)
        reply = await command(
            redis,
            *("XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", most, *wait),
            *("STREAMS", self._log.keys.log(partition), ">"),
            reply_bytes=reply_bytes,
        )
        streams = cast("list[tuple[bytes, Entries]]", reply or [])
        batch = [recorded(entry_id, fields) for _, rows in streams for entry_id, fields in rows]
        if batch or read_to:
            self._read_to[partition] = batch[-1].entry_id if batch else str(read_to)
        return batch

    async def take_over_pending(self, partition: int) -> None:
        """Make every pending entry of the group in a partition this consumer's own.

        The former consumers lose them, alive or not: only the owner of the partition may call it.
        """
        cursor = b"0-0"
        while True:
            reply = await command(
                self._log.redis,
                *("XAUTOCLAIM", self._log.keys.log(partition), self.group, self.consumer),
                *(0, cursor, "COUNT", 1000, "JUSTID"),
            )
            cursor = cast("list[bytes]", reply)[0]
            if cursor == b"0-0":
                return

    async def acknowledge(self, partition: int, entry_ids: Sequence[str]) -> None:
        """Take these entries off the pending ones; repeating it changes nothing."""
        if entry_ids:
            key = self._log.keys.log(partition)
            await command(self._log.redis, "XACK", key, self.group, *entry_ids)

    async def pending(self, partition: int) -> PendingEntries:
        """Return a summary of what is pending in the whole group."""
        key = self._log.keys.log(partition)
        reply = await command(self._log.redis, "XPENDING", key, self.group)
        count, first, _, rows = cast("tuple[int, bytes, bytes, list[list[bytes]]]", reply)
        consumers = {name.decode(): int(pending) for name, pending in rows or []}
        return PendingEntries(count, first.decode() if first else NO_ENTRY, consumers)

    async def aclose(self) -> None:
        """Close the connection; what is pending stays pending."""
        await self._blocking.aclose()
