"""Owning partitions among several projector processes: leases in Redis, by the server's clock."""

from __future__ import annotations

import secrets
from typing import cast

from streams.border import command
from streams.log import Log
from streams.rewind import server_time_ms
from streams.scripts import Script

_own = Script("projector", "own")

LIVE_FOR_MS = 5_000
"""A process that has not announced itself for so long no longer counts."""


class Ownership:
    """One projector process. `token` is unique per process start, and its consumer name too."""

    def __init__(self, log: Log, name: str, own_for_s: float) -> None:
        self._log = log
        self._own_for_ms = int(own_for_s * 1000)
        self.token = f"{name}-{secrets.token_hex(3)}"

    async def announce(self) -> int:
        """Say that this process lives; return how many do."""
        redis, key = self._log.redis, self._log.keys.projectors()
        now_ms = await server_time_ms(self._log)
        await command(redis, "ZADD", key, now_ms, self.token)
        await command(redis, "ZREMRANGEBYSCORE", key, "-inf", now_ms - LIVE_FOR_MS)
        return cast("int", await command(redis, "ZCARD", key))

    async def leave(self) -> None:
        await command(self._log.redis, "ZREM", self._log.keys.projectors(), self.token)

    async def own(self, partition: int) -> bool:
        """Own the partition, or go on owning it; return False when somebody else does."""
        reply = await self._run(partition, self._own_for_ms)
        return reply[0] == b"owned"

    async def give_up(self, partition: int) -> None:
        await self._run(partition, 0)

    async def _run(self, partition: int, own_for_ms: int) -> list[object]:
        key = self._log.keys.projector(partition)
        return await _own.run(self._log.redis, (key,), (self.token, own_for_ms))
