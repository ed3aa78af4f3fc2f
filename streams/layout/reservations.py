"""Limits that hold over all partitions of a spread namespace, where no script can count them all.

Rule: first a reservation is noted at the namespace's node, then what is there is counted, and no
more is added than the limit leaves beside that and beside what was reserved before. So limits are
exact, however many processes add at once. Of a partition that does not answer, what was counted
there last is believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

from msgspec import Struct

from everfold.streams.errors import EverfoldError
from everfold.streams.events.ids import new_id
from everfold.streams.redis.each import Partitioned, each
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.script import Script

_reserve = Script("everfold.streams", "reserve")
_count_running = Script("everfold.streams", "count_running")

RESERVED_MS = 10_000
"""For how long a reservation counts whose owner died."""

USED_WITHIN_MS = 8_000
"""For how long after it was asked for a reservation may be used: before it has run out, also where
clocks do not run alike."""

COUNT_WITHIN_S = 1.0
"""Seconds that a partition has to say how many it holds."""

KNOWN_LIMIT = 2000
"""Limits of which the last counts are remembered."""


class Wanted(Struct, frozen=True):
    """What somebody wants to add to something with a limit."""

    limit: int
    number: int


class Granted(Struct, frozen=True):
    """What may be added to something with a limit."""

    number: int
    found: int
    """How many there are, with what others have reserved."""


class Reservations:
    """Reserves room under the limits of one spread namespace. Safe to use from many tasks."""

    def __init__(self, log: Partitioned) -> None:
        self._log = log
        self._known: dict[str, list[int]] = {}
        """What has a limit -> how many each partition held when it was counted last."""

    @asynccontextmanager
    async def reserved(self, wanted: Mapping[str, Wanted]) -> AsyncIterator[dict[str, Granted]]:
        """Reserve of each limit, such as `running user ada` or `waiting queue default`, as much as
        there is and is wanted, for as long as the context is open.

        Where the context ends by an error nobody knows whether anything was added: then the
        reservation runs out by itself. Raises a leaf of Unavailable.
        """
        names, token = list(wanted), new_id()
        keys = [self._log.keys.reserved(what) for what in names]
        numbers = [max(0, min(wanted[what].number, wanted[what].limit)) for what in names]
        reply = await _reserve.run(self._log.redis, keys, (token, RESERVED_MS, *numbers))
        before = cast("list[int]", reply[1:])
        counts = await self._counts(names)
        found = [sum(both) for both in zip(before, counts, strict=True)]
        yield {
            what: Granted(max(0, min(number, wanted[what].limit - there)), there)
            for what, number, there in zip(names, numbers, found, strict=True)
        }
        mine = [[f"{token} {at}" for at in range(1, number + 1)] for number in numbers]
        with suppress(EverfoldError):
            each_key = zip(keys, mine, strict=True)
            await commands(
                self._log.redis, [("ZREM", key, *tokens) for key, tokens in each_key if tokens]
            )

    async def _counts(self, names: Sequence[str]) -> list[int]:
        """Return how many there are of each, in all partitions."""

        async def count(partition: int) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(COUNT_WITHIN_S):
                    found = await self._count(partition, names)
                for what, number in zip(names, found, strict=True):
                    self._known_of(what)[partition] = number

        await each(self._log, count)
        return [sum(self._known_of(what)) for what in names]

    def _known_of(self, what: str) -> list[int]:
        if what not in self._known and len(self._known) >= KNOWN_LIMIT:
            del self._known[next(iter(self._known))]
        return self._known.setdefault(what, [0] * self._log.keys.partitions)

    async def _count(self, partition: int, names: Sequence[str]) -> list[int]:
        keys, redis = self._log.keys, self._log.redis
        split = [what.split(" ", 2) for what in names]
        if split[0][0] == "waiting":
            asked = [("ZCARD", keys.waiting(partition, queue)) for _, _, queue in split]
            return cast("list[int]", await commands(redis, asked))
        sets = [keys.running(partition, scope, name) for _, scope, name in split]
        reply = await _count_running.run(redis, sets, (keys.tag(partition),))
        return cast("list[int]", reply[1:])
