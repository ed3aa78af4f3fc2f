"""The names of keys, wherever they lie: a cluster's nodes know their own only."""

from __future__ import annotations

from typing import cast

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.redis.redis_errors import command


async def names_like(redis: LedgerRedis, *patterns: str) -> list[bytes]:
    """Return the names of all keys that are like one of the patterns, sorted, each once."""
    found = set[bytes]()
    for node in redis.primaries():
        for pattern in patterns:
            found.update(cast("list[bytes]", await command(node, "KEYS", pattern)))
    return sorted(found)


async def names_of(redis: LedgerRedis, namespace: str) -> list[bytes]:
    """Return the names of all keys of a namespace, in either layout."""
    return await names_like(redis, f"{namespace}:*", f"{{{namespace}:*", f"{{{namespace}}}:*")
