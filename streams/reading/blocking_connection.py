"""The connection of a reader that blocks: its own, at the primary that has the partition now."""

from __future__ import annotations

from redis.asyncio import Redis

from everfold.streams.appending.log import Log
from everfold.streams.closing import close


class BlockingConnection:
    """Opened when it is first asked for, and again where the partition has moved.

    `name` is what CLIENT LIST shows behind the actor. `block_s` is how long a read waits. Close it
    with `aclose`.
    """

    def __init__(self, log: Log, name: str, block_s: float) -> None:
        self._log, self._name, self._block_s = log, name, block_s
        self._redis: Redis | None = None
        self._at = ("", -1)
        """The node of that connection, and the `version` by which it was chosen."""

    async def of(self, partition: int) -> Redis:
        """Return the connection to the primary that has this partition."""
        redis, key = self._log.redis, self._log.keys.log(partition)
        place = (redis.node_of(key), redis.version)
        if self._redis is None or place != self._at:
            await self.aclose()
            name = f"everfold:{self._log.actor}:{self._name}"
            self._redis = redis.blocking(key, name=name, block_s=self._block_s)
            self._at = place
        return self._redis

    async def aclose(self) -> None:
        if self._redis is not None:
            await close(self._redis)
        self._redis = None
