"""Reads the partitions of one server for whoever follows them, all that wait in one call.

Rule: each caller keeps its position itself, so reading changes nothing and may be repeated. What is
wrong with one log is raised to who reads it. While something comes, all read at the same moments;
where nothing does, one blocking read waits for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import end_all
from everfold.streams.connections.pipelining import resolve
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError
from everfold.streams.events.record import Recorded, recorded
from everfold.streams.reading.blocking_connection import BlockingConnection
from everfold.streams.reading.gathering import GATHER_MOST_S, gathering_s
from everfold.streams.redis.pages import NEW, PAGE_BYTES, SOON_S, LogPages, read_logs, read_new
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.server import BLOCK_S

logger = get_logger("everfold.log")

PAGE = 256
"""Partitions of one call."""


class _Waiter(Struct, eq=False):
    """Who waits for what follows an entry id."""

    after: str
    most: int
    until_s: float
    batch: asyncio.Future[list[Recorded]]


class SharedReader:
    """Reads partitions of one server. Close it with `aclose`, or by `leave` for each of them.

    `name` is what CLIENT LIST shows behind the actor.
    """

    def __init__(self, log: Log, name: str) -> None:
        self._log = log
        self._waiting: dict[int, _Waiter] = {}
        """Who has waited for longest comes first."""
        self._served = set[int]()
        """Partitions that have got something, or heard that there is nothing: they read on soon."""
        self._ends: dict[int, tuple[str, float]] = {}
        """Partition -> the entry behind which it had nothing, and when that was."""
        self._wake = asyncio.Event()
        self._is_blocking, self._blocked_at_s = False, 0.0
        self._blocking = BlockingConnection(log, name, BLOCK_S)
        self._task: asyncio.Task[None] | None = None

    async def next(self, partition: int, after: str, most: int) -> list[Recorded]:
        """Return what follows an entry id: at most `most` events, and a page of all partitions
        together; [] where nothing comes for BLOCK_S.

        Raises without a retry: a leaf of Unavailable, WrongKeyType.
        """
        future: asyncio.Future[list[Recorded]] = asyncio.get_running_loop().create_future()
        mine = _Waiter(after, most, steady_s() + BLOCK_S, future)
        self._waiting[partition] = mine
        self._served.discard(partition)
        if not self._served or self._is_blocking:
            self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            return await future
        finally:
            if self._waiting.get(partition) is mine:
                self.leave(partition)

    def leave(self, partition: int) -> None:
        """Read this partition no more."""
        self._waiting.pop(partition, None)
        self._served.discard(partition)
        self._ends.pop(partition, None)
        self._wake.set()

    async def aclose(self) -> None:
        """End what is under way, and close the connection."""
        self._waiting.clear()
        if self._task is not None:
            await end_all([self._task])
        await self._blocking.aclose()

    async def _run(self) -> None:
        backoff = Backoff()
        while self._waiting:
            asked = dict(self._waiting)
            try:
                await self._turn(asked)
                backoff.reset()
            except Exception as error:
                if not isinstance(error, EverfoldError):
                    logger.exception("shared_reader_broken")
                self._fail(asked, error)
                await asyncio.sleep(backoff.next_s())

    async def _turn(self, asked: Mapping[int, _Waiter]) -> None:
        """Read once for all who wait, and wait until it is time for the next turn."""
        began_s = steady_s()
        events, is_cut = await self._read(asked)
        self._end_waits()
        if is_cut:
            return
        if not (events or self._served):
            await self._block()
            return
        if self._served:
            await self._until_woken(GATHER_MOST_S)  # by the last of them
            self._served.clear()
        if events:
            now_s = steady_s()
            await asyncio.sleep(gathering_s(now_s, now_s - began_s))

    async def _read(self, asked: Mapping[int, _Waiter]) -> tuple[int, bool]:
        """Give each who waits what there is; return how many events, and whether there is more."""
        events, is_cut, rest = 0, False, iter(asked.items())
        while page := list(islice(rest, PAGE)):
            found = await self._read_page(page)
            is_cut = is_cut or found.is_cut
            for place, rows in found.found.items():
                partition, waiter = page[place]
                if isinstance(rows, EverfoldError):
                    self._give(partition, waiter, rows)
                else:
                    batch = [recorded(entry_id, fields) for entry_id, fields in rows]
                    self._give(partition, waiter, batch)
                    events += len(batch)
        return events, is_cut

    async def _read_page(self, page: Sequence[tuple[int, _Waiter]]) -> LogPages:
        now_s, redis = steady_s(), self._log.redis
        after = {self._log.keys.log(partition): waiter.after for partition, waiter in page}
        most = min(waiter.most for _, waiter in page)
        if all(self._had_nothing(partition, waiter.after, now_s) for partition, waiter in page):
            few = min(most, NEW)
            try:
                found = await read_new(redis, after, most=few)
                self._note_ends(page, found, few, now_s)
                return found
            except EverfoldError:
                self._ends.clear()  # of which log it is, or whether it was too much, is asked now
        found = await read_logs(redis, after, most=most, most_bytes=PAGE_BYTES)
        self._note_ends(page, found, most, now_s)
        return found

    def _had_nothing(self, partition: int, after: str, now_s: float) -> bool:
        """Say whether there was nothing behind an entry a moment ago."""
        end, at_s = self._ends.get(partition, ("", 0.0))
        return end == after and at_s >= now_s - SOON_S

    def _note_ends(
        self, page: Sequence[tuple[int, _Waiter]], found: LogPages, most: int, now_s: float
    ) -> None:
        for place, (partition, waiter) in enumerate(page):
            rows = found.found.get(place, ())
            self._ends.pop(partition, None)
            if not (found.is_cut or isinstance(rows, EverfoldError)) and len(rows) < most:
                self._ends[partition] = (rows[-1][0].decode() if rows else waiter.after, now_s)

    def _give(
        self, partition: int, waiter: _Waiter, outcome: list[Recorded] | EverfoldError
    ) -> None:
        if self._waiting.get(partition) is not waiter:
            return  # it has left, or waits for something else by now
        del self._waiting[partition]
        resolve(waiter.batch, outcome)
        # Who has as many as it asked for may have more: it is busy for long, or reads on by itself.
        if isinstance(outcome, list) and len(outcome) < waiter.most:
            self._served.add(partition)

    def _end_waits(self) -> None:
        now_s = steady_s()
        for partition, waiter in list(self._waiting.items()):
            if waiter.until_s <= now_s:
                del self._waiting[partition]
                resolve(waiter.batch, [])
                self._served.add(partition)

    def _fail(self, asked: Mapping[int, _Waiter], error: Exception) -> None:
        for partition, waiter in asked.items():
            if self._waiting.get(partition) is waiter:
                del self._waiting[partition]
                resolve(waiter.batch, error)

    async def _until_woken(self, within_s: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _block(self) -> None:
        """Wait for the next entry of any partition, or until another one is to be waited for."""
        named = dict(self._waiting)
        if not named:
            return  # they have left while their partitions were read
        hearing = asyncio.create_task(self._hear(named))
        hearing.add_done_callback(lambda _: self._wake.set())
        self._is_blocking = True
        try:
            await self._until_woken(2 * BLOCK_S)
            if not hearing.done() and self._waiting:
                await asyncio.wait([hearing], timeout=GATHER_MOST_S)  # others may come, too
            if hearing.done():
                hearing.result()
                self._ends = {p: (waiter.after, steady_s()) for p, waiter in named.items()}
        finally:
            self._is_blocking = False
            if not hearing.done():
                await end_all([hearing])
                await self._blocking.aclose()
        self._end_waits()

    async def _hear(self, named: Mapping[int, _Waiter]) -> None:
        """Return when there is something in one of them, or BLOCK_S have passed."""
        if steady_s() > self._blocked_at_s + BLOCK_S:
            await self._blocking.aclose()  # a connection that nobody uses may be cut unseen
        redis = await self._blocking.of(min(named))
        asked: list[str | bytes | int] = ["XREAD", "COUNT", 1, "BLOCK", int(BLOCK_S * 1000)]
        asked += ["STREAMS", *map(self._log.keys.log, named)]
        asked += [waiter.after for waiter in named.values()]
        await command(redis, *asked)
        self._blocked_at_s = steady_s()
