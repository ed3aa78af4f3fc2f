"""Follows the log of all partitions, and what backends say beside it, in the order of both.

Rule: what was passed on before an event was appended is yielded before that event. What was missed
of the live messages is missed; of the log nothing is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import cast

import anyio
from msgspec import Struct
from redis.asyncio import Redis

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import close
from everfold.streams.errors import EverfoldError, WrongKeyType
from everfold.streams.events.record import NO_ENTRY, Recorded, recorded
from everfold.streams.live.live_message import MESSAGE_LIMIT_BYTES, LiveEntry
from everfold.streams.live.live_stream import LIVE_ENTRIES, live_entries
from everfold.streams.reading.node_tasks import queue_of
from everfold.streams.reading.reader import last_entry_ids
from everfold.streams.reading.role_look import RoleLook
from everfold.streams.redis.each import each
from everfold.streams.redis.pages import Entries, entry_page
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import Backoff, with_retry
from everfold.streams.redis.server import BLOCK_S

logger = get_logger("everfold.log")

PAGE = 128
"""Live messages that are read at once, MESSAGE_LIMIT_BYTES each at most."""
PAGES = 2 * LIVE_ENTRIES // PAGE
"""More is not kept of a partition."""


class Batch(Struct, frozen=True):
    """News of one partition: the messages come before the events."""

    partition: int
    live: list[LiveEntry]
    records: list[Recorded]


@contextlib.asynccontextmanager
async def tail_with_live(log: Log) -> AsyncIterator[AsyncIterator[Batch]]:
    """Follow all partitions from now on, as `tail` does. What comes after entering is seen.

    Raises a leaf of Unavailable on entering only, after the log's `retry_for_s`.
    """
    ends = await with_retry(lambda: last_entry_ids(log), log.retry_for_s)
    place = _Place(log, ends)
    await place.begin()

    async def follow(group: Sequence[int], batches: asyncio.Queue[Batch]) -> None:
        name = f"everfold:{log.actor}"
        redis = log.redis.blocking(log.keys.log(group[0]), name=name, block_s=BLOCK_S)
        try:
            await _Tail(place, redis, group).follow(batches)
        finally:
            await close(redis)

    async with queue_of(log, ends, follow) as batches:
        yield batches


class _Place:
    """Up to where each partition was passed on."""

    def __init__(self, log: Log, ends: dict[int, str]) -> None:
        self.log, self.events = log, dict(ends)
        self.heard = dict.fromkeys(ends, "$")
        """Id of the last live entry read; `$`: none was seen yet, only newer ones count."""

    async def begin(self) -> None:
        """Begin behind the newest live message of each partition."""

        async def begin(partition: int) -> None:
            with contextlib.suppress(EverfoldError):
                self.heard[partition] = await self.last(self.log.keys.live(partition))

        await each(self.log, begin)

    async def last(self, key: str) -> str:
        try:
            rows = await command(self.log.redis, "XREVRANGE", key, "+", "-", "COUNT", 1)
        except WrongKeyType:
            return "$"
        found = cast("Entries", rows)
        return found[0][0].decode() if found else NO_ENTRY


class _Tail:
    """Follows some of the partitions; what it has handed on it notes in `place`."""

    def __init__(self, place: _Place, redis: Redis, partitions: Sequence[int]) -> None:
        log = place.log
        self._place, self._log, self._redis = place, log, redis
        self._role = RoleLook(log)
        self._events = {one: place.events[one] for one in partitions}
        self._heard = {one: place.heard[one] for one in partitions}
        self._log_keys = {one: log.keys.log(one).encode() for one in partitions}
        self._live_keys = {one: log.keys.live(one).encode() for one in partitions}
        self._behind = set(partitions)
        """Partitions that may have any number of news."""
        self._told = set[int]()
        """Those whose news came with the reply of the last wait."""

    async def follow(self, queue: asyncio.Queue[Batch]) -> None:
        backoff, said = Backoff(), ""
        while True:
            try:
                batches = await (self._read_on() if self._behind else self._wait())
            except EverfoldError as error:
                if said != str(error):
                    logger.warning("tail_waits why=%r", str(error))
                said = str(error)
                await anyio.sleep(backoff.next_s())
                self._behind, self._told = set(self._events), set()
                continue
            if said:
                logger.warning("tail_goes_on")
            backoff.reset()
            said = ""
            for batch in batches:
                if batch.live or batch.records:
                    await queue.put(batch)
                # Not before: put may be cancelled, and then another task reads on from here.
                self._place.events[batch.partition] = self._events[batch.partition]
                self._place.heard[batch.partition] = self._heard[batch.partition]

    async def _read_on(self) -> list[Batch]:
        """Read a page of each partition that is behind, side by side: where all are busy, one after
        the other would take as many trips to the server as there are partitions."""
        found = await each(self._log, self._next, sorted(self._behind))
        # Those that do not answer are still behind, and alone the next time.
        return [*found.values.values()] or found.all()

    async def _next(self, partition: int) -> Batch:
        """Read the events first: what was passed on before them is then in the other stream."""
        log = self._log
        rows = await entry_page(log.redis, log.keys.log(partition), f"({self._events[partition]}")
        live = await self._live(partition)
        if rows:
            self._events[partition] = rows[-1][0].decode()
        self._behind.discard(
            partition
        )  # what it has beyond this page is told by the next wait at once
        return Batch(partition, live, [recorded(entry_id, fields) for entry_id, fields in rows])

    async def _live(self, partition: int) -> list[LiveEntry]:
        found = list[LiveEntry]()
        key = self._log.keys.live(partition)
        if self._heard[partition] == "$":
            self._heard[partition] = await self._place.last(key)
            return found
        for _ in range(PAGES):
            rows = await self._page(key, self._heard[partition])
            if not rows:
                break
            self._heard[partition] = rows[-1][0].decode()
            found += live_entries(rows)
            if len(rows) < PAGE:
                break
        return found

    async def _page(self, key: str, after: str) -> Entries:
        ask = ("XRANGE", key, f"({after}", "+", "COUNT", PAGE)
        size = PAGE * MESSAGE_LIMIT_BYTES // 8
        try:
            return cast("Entries", await command(self._log.redis, *ask, reply_bytes=size))
        except WrongKeyType:
            return []  # another program has written there

    async def _wait(self) -> list[Batch]:
        """Wait until partitions have news, return what the reply has of them, else note them.

        A reply has the first entry of each stream with news. That is all news of a partition in
        nearly all cases; one that comes again with the next reply may have many.
        """
        keys = self._log.keys
        cursors = {keys.log(one): at for one, at in self._events.items()}
        cursors |= {keys.live(one): at for one, at in self._heard.items() if at != "$"}
        block_ms = int(BLOCK_S * 1000)
        streams = (*cursors, *cursors.values())
        try:
            reply = await command(
                self._redis, "XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", *streams
            )
        except WrongKeyType:
            if set(self._heard.values()) == {"$"}:
                raise
            # Another program has written to a live key: look which ones can be followed.
            self._heard = dict.fromkeys(self._heard, "$")
            self._behind = set(self._events)
            return []
        if not reply:
            await self._role.look(self._redis)
        found = dict(cast("list[tuple[bytes, Entries]]", reply or []))
        batches, told_before, self._told = list[Batch](), self._told, set()
        for partition in self._events:
            rows = found.get(self._log_keys[partition], [])
            live = found.get(self._live_keys[partition], [])
            if not rows and not live:
                continue
            is_unknown = self._heard[partition] == "$"
            if (rows and live) or partition in told_before or is_unknown:
                self._behind.add(partition)
            else:
                self._told.add(partition)
                batches.append(self._batch(partition, rows, live))
        return batches

    def _batch(self, partition: int, rows: Entries, live: Entries) -> Batch:
        """Move on to the end of what was read."""
        if rows:
            self._events[partition] = rows[-1][0].decode()
        if live:
            self._heard[partition] = live[-1][0].decode()
        records = [recorded(entry_id, fields) for entry_id, fields in rows]
        return Batch(partition, live_entries(live), records)
