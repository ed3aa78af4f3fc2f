"""Connections to the Redis or Valkey server.

Rule: commands never retry by themselves (see redis_errors.py), and a blocking read has a connection
of its own whose socket time-out is longer than the block; both traps of redis-py 8 were reproduced.
"""

from __future__ import annotations

from typing import TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from everfold.streams.errors import NoServer, ServerTooOld
from everfold.streams.redis.connection import patient
from everfold.streams.redis.pipelining import PipeliningRedis
from everfold.streams.redis.redis_errors import command

COMMAND_TIMEOUT_S = 5.0
"""Longest silence while an answer is awaited, and longest wait for a connection."""

CONNECTION_LIMIT = 32
"""Connections of one client. Everfold itself needs few: see WRITERS in pipelining.py."""

Client = TypeVar("Client", bound=Redis)

BLOCK_S = 5.0
"""Seconds that a blocking read waits on the server before it asks again."""

NEEDED_COMMANDS = ("XAUTOCLAIM", "EXPIRETIME")
"""XAUTOCLAIM came with Redis 6.2, EXPIRETIME with 7.0: probed, for Valkey always says 7.2.4."""


def connect(
    url: str, *, name: str = "everfold", timeout_s: float = COMMAND_TIMEOUT_S
) -> PipeliningRedis:
    """Return a client for `url` (redis://, rediss:// or unix://); it connects when it is used.

    `name` is what CLIENT LIST shows. `timeout_s` is for a connection, and for the silence before an
    answer. Close it with `aclose`. Raises NoServer for a URL that is none.
    """
    return _raw(PipeliningRedis(_pool(url, name, timeout_s, None), timeout_s))


def connect_blocking(url: str, *, name: str = "everfold", block_s: float = BLOCK_S) -> Redis:
    """Return a client for one reader that blocks up to `block_s` on the server.

    As `connect`; the silence that it bears is `block_s` longer.
    """
    timeout_s = block_s + COMMAND_TIMEOUT_S
    return _raw(Redis.from_pool(_pool(url, name, timeout_s, timeout_s)))


def _pool(
    url: str, name: str, connect_timeout_s: float, timeout_s: float | None
) -> BlockingConnectionPool:
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTION_LIMIT,
            timeout=None,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            socket_connect_timeout=connect_timeout_s,
            client_name=name,
        )
    except ValueError as error:
        raise NoServer(
            f"{url!r} is not a Redis URL ({error}); write redis://host:6379/0, "
            "rediss://host:6379/0 or unix:///path/to/socket"
        ) from error
    pool.connection_class = patient(pool.connection_class)
    return pool


def connection_arguments(url: str) -> dict[str, object]:
    """Return what `url` says about a connection, by the names of redis-py. Raises NoServer."""
    return dict(_pool(url, "everfold", COMMAND_TIMEOUT_S, None).connection_kwargs)


def _raw(client: Client) -> Client:
    """Leave replies as the server sent them: redis-py's parsers guess from options that raw
    commands and scripts do not have."""
    client.response_callbacks.clear()
    return client


async def check_server(redis: Redis) -> None:
    """Raise ServerTooOld unless the server has every command that Everfold needs.

    Raises a leaf of Unavailable or ServerRefusesAccess when it cannot be asked.
    """
    found = await command(redis, "COMMAND INFO", *NEEDED_COMMANDS)
    known = {row[0].decode().upper() for row in cast("list[list[bytes]]", found) if row}
    missing = [name for name in NEEDED_COMMANDS if name not in known]
    if missing:
        raise ServerTooOld(await server_version(redis), f"it has no {' and no '.join(missing)}")


async def server_info(redis: Redis, section: str) -> dict[str, str]:
    """Return a section of INFO, name -> value as text. Raises as `command` does."""
    text = cast("bytes", await command(redis, "INFO", section)).decode()
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}


async def server_time_ms(redis: Redis) -> int:
    """Return the server's clock in Unix milliseconds. Raises a leaf of Unavailable."""
    seconds, micros = cast("list[bytes]", await command(redis, "TIME"))
    return int(seconds) * 1000 + int(micros) // 1000


async def server_version(redis: Redis) -> str:
    """Return name and version as people know them, such as `Valkey 9.1.2`. Valkey says of itself
    that it is Redis 7.2.4, so its own field comes first."""
    found = await server_info(redis, "server")
    if "valkey_version" in found:
        return f"Valkey {found['valkey_version']}"
    return f"Redis {found.get('redis_version', 'of unknown version')}"
