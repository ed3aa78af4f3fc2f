"""Notices that a plain address leads to another primary, for who only reads.

Rule: a replica refuses a reader nothing, so a reader that has heard nothing for a while asks for
the role. It connects anew only where a new connection finds a primary: else nothing is gained.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import close, end_all
from everfold.streams.errors import EverfoldError, ServerError, ServerRefusesAccess
from everfold.streams.nodes.sentinel_replies import ROLE, is_primary
from everfold.streams.redis.redis_errors import command

logger = get_logger("everfold.log")

NEW_CONNECTION_S = 5.0
"""Longest silence of the connection that is made to look."""

LOOK_EVERY_S = 5.0
"""How old an answer of a demoted server may be, for who follows no log."""


@asynccontextmanager
async def looking(log: Log) -> AsyncIterator[None]:
    """Look now and then while this is not left. Sentinels, and the nodes of a cluster, tell it."""
    if log.redis.knows_replicas or not log.redis.is_one_server:
        yield
        return
    task = asyncio.create_task(_look_again(log))
    try:
        yield
    finally:
        await end_all([task])


async def _look_again(log: Log) -> None:
    role = RoleLook(log)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        await role.look(log.redis)


class RoleLook:
    """Of one reader and the commands beside it; a cluster's client looks at its nodes itself."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._is_refused = False

    async def look(self, reader: Redis) -> None:
        """Drop all connections where one is at a replica and a new one would not be. A refusal, or
        a server that is away, is no answer; raises nothing of these."""
        if self._is_refused or not self._log.redis.is_one_server:
            return
        with suppress(EverfoldError):
            if await self._is_replica(reader) or (
                reader is not self._log.redis and await self._is_replica(self._log.redis)
            ):
                await self._leave()

    async def _leave(self) -> None:
        log, (primary,) = self._log, self._log.redis.primaries()
        name = f"everfold:{log.actor}"
        new = log.redis.blocking(log.keys.meta(), name=name, block_s=NEW_CONNECTION_S)
        try:
            if await self._is_replica(new) or self._is_refused:
                return
        finally:
            await close(new)
        logger.warning("server_is_replica server=%s why=%r", primary.name, "connects anew")
        primary.primary_changed()

    async def _is_replica(self, redis: Redis) -> bool:
        try:
            answer = await command(redis, *ROLE)
        except (ServerRefusesAccess, ServerError):
            self._is_refused = True
            return False
        return isinstance(answer, list) and not is_primary(answer)
