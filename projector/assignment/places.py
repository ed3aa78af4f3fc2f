"""Where a group of readers stands in the partitions that one process works on.

Rule: what one server holds is asked in one call, and its answer serves every partition that asks
for nothing newer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import anyio
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import OUTAGES, EverfoldError
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script

_look = Script("everfold.projector", "look_at_places", is_read_only=True)

PAGE = 256
"""Partitions of one call."""


class Place(Struct, frozen=True):
    """What is stored of one partition."""

    checkpoint: bytes
    changes: bytes
    """How often an operator has changed something; both are empty where they are missing."""
    pending: int
    consumers: frozenset[str]
    """Those that have pending entries."""


class Places:
    """The places of one `group`; `place_key` returns the key of the hash of a partition's."""

    def __init__(self, log: Log, group: str, place_key: Callable[[int], str]) -> None:
        self._log, self._group, self._place_key = log, group, place_key
        self._asking = anyio.Lock(fast_acquire=True)
        self._found: dict[int, tuple[float, Place]] = {}
        """Partition -> when its place was asked for, as steady_s(), and the answer."""
        self._known = set[int]()

    async def of(self, partition: int, *, since_s: float) -> Place:
        """Return the place of a partition as it was at `since_s`, steady time, or later.

        Raises NoGroup, WrongKeyType, a leaf of Unavailable.
        """
        self._known.add(partition)
        async with self._asking:  # who waits here gets the answer to the call before
            found = self._found.get(partition)
            if found is None or found[0] < since_s:
                await self._ask(self._page(partition))
                found = self._found.get(partition)
        return await self.now(partition) if found is None else found[1]

    async def now(self, partition: int) -> Place:
        """Return the place of one partition as it is now. Raises as `of` does."""
        [place] = await self._places([partition])
        if place.pending < 0:  # raises what is the matter
            await command(self._log.redis, "XPENDING", self._log.keys.log(partition), self._group)
        return place

    def leave(self, partition: int) -> None:
        """Ask for a partition no more."""
        self._known.discard(partition)
        self._found.pop(partition, None)

    def _page(self, partition: int) -> Sequence[int]:
        if not self._log.redis.is_one_server:
            return [partition]
        others = sorted(self._known - {partition})
        return [partition, *others[: PAGE - 1]]

    async def _ask(self, partitions: Sequence[int]) -> None:
        """Ask for some; what cannot be told of a partition is left to `now`."""
        asked_s = steady_s()
        for partition in partitions:
            self._found.pop(partition, None)
        try:
            places = await self._places(partitions)
        except OUTAGES:
            raise
        except EverfoldError:
            return
        for partition, place in zip(partitions, places, strict=True):
            if place.pending >= 0:
                self._found[partition] = (asked_s, place)

    async def _places(self, partitions: Sequence[int]) -> list[Place]:
        log_key = self._log.keys.log
        keys = [key for p in partitions for key in (self._place_key(p), log_key(p))]
        reply = await _look.run(self._log.redis, keys, (self._group,))
        return [_place(row) for row in cast("list[list[object]]", reply[1:])]


def _place(row: Sequence[object]) -> Place:
    checkpoint, changes, pending, *consumers = row
    names = frozenset(name.decode() for name in cast("list[bytes]", consumers))
    return Place(cast("bytes", checkpoint), cast("bytes", changes), cast("int", pending), names)
