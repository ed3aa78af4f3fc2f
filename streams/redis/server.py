"""Connections to the Redis or Valkey server.

Rule: commands never retry by themselves (see redis_errors.py), and a blocking read has a connection
of its own whose socket time-out is longer than the block; both traps of redis-py 8 were reproduced.
"""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis

from everfold.streams.border.logger import get_logger
from everfold.streams.border.secrets import SecretUrl
from everfold.streams.closing import close
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.errors import ServerError, ServerRefusesAccess, ServerTooOld
from everfold.streams.nodes.address import parse_address
from everfold.streams.nodes.pools import COMMAND_TIMEOUT_S, pool_of
from everfold.streams.nodes.routed_redis import RoutedRedis
from everfold.streams.nodes.sentinel_redis import SentinelRedis
from everfold.streams.redis.redis_errors import command, mapped_errors

logger = get_logger("everfold.server")

BLOCK_S = 5.0
"""Seconds that a blocking read waits on the server before it asks again."""

EVICTION_ADVICE = (
    "at its maxmemory the server evicts open jobs, which are lost: set maxmemory-policy noeviction"
)

NEEDED_COMMANDS = ("XAUTOCLAIM", "EXPIRETIME")
"""XAUTOCLAIM came with Redis 6.2, EXPIRETIME with 7.0: probed, for Valkey always says 7.2.4."""


def connect(
    url: str | SecretUrl, *, name: str = "everfold", timeout_s: float = COMMAND_TIMEOUT_S
) -> PipeliningRedis:
    """Return a client for one server, or for the primary of a Sentinel service; it connects when it
    is used. `open_redis` takes every URL.

    `name` is what CLIENT LIST shows. `timeout_s` is for a connection, and for the silence before an
    answer. Close it with `aclose`. Raises ServerUrlInvalid for a URL that is none.
    """
    address = parse_address(url)
    if address.kind == "sentinel":
        return SentinelRedis(address, name, timeout_s)
    return PipeliningRedis(pool_of(url, name, timeout_s, None), timeout_s)


async def open_redis(url: str | SecretUrl, *, name: str = "everfold") -> LedgerRedis:
    """Return a client for a URL of any form, once it is known what stands there.

    A plain URL of one node of a cluster gives the client of the cluster. Raises ServerUrlInvalid,
    ServerRefusesAccess, or a leaf of Unavailable; nothing stays open then.
    """
    address = parse_address(url)
    if address.kind != "cluster":
        redis = connect(url, name=name)
        try:
            if address.kind == "sentinel" or not await _is_in_cluster(redis):
                return redis
        except BaseException:
            await close(redis)
            raise
        await close(redis)
    routed = RoutedRedis(address, name, COMMAND_TIMEOUT_S)
    try:
        with mapped_errors():
            await routed.ready()
    except BaseException:
        await close(routed)
        raise
    return routed


async def _is_in_cluster(redis: PipeliningRedis) -> bool:
    try:
        said = cast("list[object]", await command(redis, "HELLO", 2))  # everybody may send it
    except (ServerRefusesAccess, ServerError):
        return False  # a proxy, which hides what stands behind it
    pairs = dict(zip(said[::2], said[1::2], strict=False))
    return pairs.get(b"mode") == b"cluster"


def connection_arguments(url: str | SecretUrl) -> dict[str, object]:
    """Return what `url` says about a connection, by redis-py's names. Raises ServerUrlInvalid."""
    return dict(pool_of(url, "everfold", COMMAND_TIMEOUT_S, None).connection_kwargs)


async def check_server(redis: Redis) -> None:
    """Raise ServerTooOld unless the server has every command that Everfold needs.

    Raises a leaf of Unavailable or ServerRefusesAccess when it cannot be asked.
    """
    try:
        found = await command(redis, "COMMAND INFO", *NEEDED_COMMANDS)
    except (ServerRefusesAccess, ServerError):
        return  # COMMAND is not everybody's; a wrong password shows at the next command
    known = {row[0].decode().upper() for row in cast("list[list[bytes]]", found) if row}
    missing = [name for name in NEEDED_COMMANDS if name not in known]
    if missing:
        raise ServerTooOld(await server_version(redis), f"it has no {' and no '.join(missing)}")


async def server_info(redis: Redis, *sections: str) -> dict[str, str]:
    """Return sections of INFO, name -> value as text; empty where the server refuses INFO.

    Raises a leaf of Unavailable.
    """
    try:
        text = cast("bytes", await command(redis, "INFO", *sections)).decode(errors="replace")
    except (ServerRefusesAccess, ServerError):
        return {}
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}


async def warn_of_eviction(redis: Redis) -> None:
    """Log a warning where the server may evict keys that Everfold needs. Raises as `server_info`.

    volatile-* policies evict what has a time to live: states, which are folded anew, and graphs of
    jobs that are over. allkeys-* policies evict open jobs.
    """
    policy = (await server_info(redis, "memory")).get("maxmemory_policy", "")
    if loses_jobs(policy):
        logger.warning("eviction_policy policy=%s why=%r", policy, EVICTION_ADVICE)


def loses_jobs(policy: str) -> bool:
    """Say whether a `maxmemory-policy` evicts keys that have no time to live."""
    return policy.startswith("allkeys")


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
    if not found:
        return "a server that does not say its version (INFO is refused)"
    return f"Redis {found.get('redis_version', 'of unknown version')}"
