"""The client of the primary of a Sentinel service, wherever it is.

Rule: each connection asks where the primary is, and that server for its role, before it is used;
and all connections are dropped when another server becomes the primary, for the former one may
still take writes that nobody will ever see.
"""

from __future__ import annotations

from typing import cast

import redis.exceptions as theirs
from redis.asyncio.connection import AbstractConnection

from everfold.streams.connections.connection import PatientConnection, cut_all
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.errors import EverfoldError
from everfold.streams.nodes.address import Address
from everfold.streams.nodes.endpoint import Endpoint
from everfold.streams.nodes.pools import pool_of
from everfold.streams.nodes.sentinel_replies import ROLE, is_primary
from everfold.streams.nodes.sentinel_service import SentinelService

ROUNDS = 3
"""How often one attempt to connect asks, when the primary changes meanwhile."""


class PrimaryConnection(PatientConnection):
    """A connection that finds its server when it is opened; mixed into one of redis-py's kinds."""

    client: SentinelRedis
    host: str
    port: int

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        if self.is_connected:
            return
        client, failures = type(self).client, list[Exception]()
        for _ in range(ROUNDS):
            version = client.version
            for named in await client.service.candidates():
                self.host, self.port = named.host, named.port
                try:
                    with client.service.connecting() as limit:
                        async with limit:
                            await super().connect_check_health(check_health, retry_socket_connect)
                except (theirs.RedisError, EverfoldError, OSError) as error:
                    await self.disconnect(nowait=True)
                    failures.append(error)
                else:
                    client.found(named, self)
                    return
            if client.version == version:
                break
        raise failures[0]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)
        await self.send_command(*ROLE, check_health=False)
        try:
            answer = await self.read_response()
        except theirs.NoPermissionError:
            return  # then the Sentinels' word is all that there is
        if not is_primary(answer):
            at = Endpoint(self.host, self.port)
            type(self).client.service.doubt(at)
            raise theirs.ConnectionError(
                f"the Sentinels name {at} the primary of their service, and it says that it is none"
            )


class SentinelRedis(PipeliningRedis):
    """Made in the event loop to which it belongs."""

    knows_replicas = True

    def __init__(self, address: Address, name: str, timeout_s: float) -> None:
        pool = pool_of(address.server_url(address.endpoints[0]), name, timeout_s, None)
        kind = cast("type[PrimaryConnection]", _finding(pool.connection_class))
        pool.connection_class = kind
        super().__init__(pool, timeout_s, address.service)
        kind.client = self
        self.service = SentinelService(address, name, self.primary_changed)

    def node_of(self, key: str) -> str:
        return str(self.service.primary or self.name)

    def replicas_of(self, key: str) -> int:
        return self.service.replicas

    def found(self, primary: Endpoint, connection: AbstractConnection) -> None:
        """Note which server a connection leads to; drop those that lead to another one."""
        if self.service.take(primary):
            cut_all(self.connection_pool, but=connection)
            self.changes.rise()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self.service.aclose()
        await super().aclose(close_connection_pool)


def _finding(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    return type(kind.__name__, (PrimaryConnection, kind), {"opened": 0})
