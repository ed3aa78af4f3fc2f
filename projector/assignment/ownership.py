"""Owning partitions among several projector processes: leases in Redis, by the server's clock."""

from __future__ import annotations

import secrets
from typing import cast

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.scripts import Script
from everfold.streams.redis.server import server_time_ms

_own = Script("everfold.projector", "own")

LIVE_FOR_MS = 5_000
"""A process that has not announced itself for so long no longer counts."""


class Owned(Struct, frozen=True):
    anew: bool
    """It was not owned by this process right before: what it keeps in memory is out of date."""


class Ownership:
    """One process that folds a projection. `token` is unique per process start, and its consumer
    name too. `place` is the key of the hash that says who owns a partition."""

    def __init__(self, log: Log, projection: str, name: str, own_for_s: float) -> None:
        self._log = log
        self._processes = log.keys.projectors(projection)
        self._own_for_ms = int(own_for_s * 1000)
        self.token = f"{name}-{secrets.token_hex(3)}"

    async def announce(self) -> int:
        """Say that this process lives; return how many do."""
        redis, key = self._log.redis, self._processes
        now_ms = await server_time_ms(self._log.redis)
        await command(redis, "ZADD", key, now_ms, self.token)
        await command(redis, "ZREMRANGEBYSCORE", key, "-inf", now_ms - LIVE_FOR_MS)
        return cast("int", await command(redis, "ZCARD", key))

    async def leave(self) -> None:
        await command(self._log.redis, "ZREM", self._processes, self.token)

    async def own(self, place: str) -> Owned | None:
        """Own a partition, or go on owning it; return None when somebody else does."""
        reply = await self._run(place, self._own_for_ms)
        return Owned(reply[2] == b"anew") if reply[0] == b"owned" else None

    async def give_up(self, place: str) -> None:
        await self._run(place, 0)

    async def _run(self, place: str, own_for_ms: int) -> list[object]:
        return await _own.run(self._log.redis, (place,), (self.token, own_for_ms))
