"""Places of jobs in the order that all partitions of a spread namespace share.

Rule: the order is kept at the namespace's node. While that is away jobs are submitted nevertheless,
each by the order that its partition knows: one of them asks now and then whether it is back, and no
other waits for that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from msgspec import Struct

from everfold.streams.connections.pipelining import resolve
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import OUTAGES, EverfoldError
from everfold.streams.redis.each import Partitioned
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.script import Script

_take_places = Script("everfold.streams", "take_places")

PLACES_AT_ONCE = 200
"""Places that one call takes."""

LONGEST_WAIT_S = 2.0
"""Seconds that a submit waits for its place before it goes on without."""


AWAY_S = 2.0
"""Seconds for which a node that did not answer is asked for no place."""


class _Wanted(Struct, eq=False):
    order: str
    user: str
    place: asyncio.Future[str]


class Places:
    """Takes places for jobs that are to be submitted, those of one moment together."""

    def __init__(self, log: Partitioned) -> None:
        self._log = log
        self._wanted: deque[_Wanted] = deque()
        self._taker: asyncio.Task[None] | None = None
        """Runs while a place is wanted."""
        self._ask_again_at_s: float | None = None
        """None while the node answers."""
        self._noting: set[asyncio.Task[None]] = set()

    async def take(self, queue: str, priority: str, user: str) -> str:
        """Return a user's next place as submit.lua takes it, "" where it cannot be had."""
        if self._ask_again_at_s is not None:
            if steady_s() < self._ask_again_at_s:
                return ""
            self._ask_again_at_s = steady_s() + LONGEST_WAIT_S
        place: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._wanted.append(_Wanted(self._log.keys.order(queue, priority), user, place))
        if self._taker is None:
            self._taker = asyncio.create_task(self._take_all())
        return await place

    async def _take_all(self) -> None:
        try:
            while self._wanted:
                count = min(PLACES_AT_ONCE, len(self._wanted))
                await self._take([self._wanted.popleft() for _ in range(count)])
        finally:
            self._taker = None

    async def _take(self, batch: list[_Wanted]) -> None:
        places: list[str] = []
        try:
            keys = (self._log.keys.limits(), *(one.order for one in batch))
            async with asyncio.timeout(LONGEST_WAIT_S):
                reply = await _take_places.run(self._log.redis, keys, [one.user for one in batch])
            places = [cast("bytes", place).decode() for place in reply[1:]]
            self._ask_again_at_s = None
        except (*OUTAGES, TimeoutError):
            self._ask_again_at_s = steady_s() + AWAY_S
            batch += self._wanted
            self._wanted.clear()
        except EverfoldError:
            pass
        finally:
            for at, one in enumerate(batch):
                resolve(one.place, places[at] if at < len(places) else "")

    def note_soon(self, taken: Sequence[tuple[str, str, int]]) -> None:
        """Note in the order how far queues have come: of each queue and priority the place of a
        job that was taken. Not waited for: what is lost of it, the next claim tells."""
        if taken:
            task = asyncio.create_task(self._note(taken))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    async def _note(self, taken: Sequence[tuple[str, str, int]]) -> None:
        asked = list[tuple[str | int, ...]]()
        for queue, priority, place in taken:
            order = self._log.keys.order(queue, priority)
            asked.append(("ZADD", order, "GT", place, "now"))
            asked.append(("ZREMRANGEBYSCORE", order, "-inf", f"({place}"))
        with suppress(EverfoldError):
            await commands(self._log.redis, asked)
