"""Registry of runners, and the client names that the server lists.

Rule: a registered runner keeps at least one connection with its name for as long as it lives, so
that its death shows in CLIENT LIST long before its leases run out. A wrong guess does no harm:
the leases are fenced.
"""

from __future__ import annotations

from typing import cast

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command, read_readable_hash


class RunnerEntry(Struct, frozen=True, kw_only=True):
    """What a runner says of itself when it starts."""

    runner: str
    host: str
    pid: int
    queues: tuple[str, ...]
    backends: tuple[str, ...]
    """Base URLs."""
    since_ms: int
    """When it started, Unix ms."""


async def register_runner(log: Log, entry: RunnerEntry) -> None:
    """Add a runner, or replace the entry of its name. It stays until it is deregistered.

    Raises a leaf of Unavailable.
    """
    payload = msgspec.json.encode(entry)
    await command(log.redis, "HSET", log.keys.runners(), entry.runner, payload)


async def deregister_runner(log: Log, runner: str) -> None:
    """Remove a runner that has ended, or that is dead and has no leases any more.

    Does nothing when there is none. Raises a leaf of Unavailable.
    """
    await command(log.redis, "HDEL", log.keys.runners(), runner)


async def registered_runners(log: Log) -> dict[str, RunnerEntry]:
    """Return every registered runner by name, the dead ones too; unreadable entries are left out.

    Raises a leaf of Unavailable.
    """
    return await read_readable_hash(log.redis, log.keys.runners(), RunnerEntry)


async def connected(log: Log) -> frozenset[str]:
    """Return the names of all connections that the server has; see `keys.connection_name`.

    Of connections without a name nothing is said. Raises a leaf of Unavailable, or
    ServerRefusesAccess where the user may not ask for CLIENT LIST.
    """
    text = cast("bytes", await command(log.redis, "CLIENT", "LIST", "TYPE", "normal")).decode()
    text += cast("bytes", await command(log.redis, "CLIENT", "LIST", "TYPE", "pubsub")).decode()
    names = (part[5:] for part in text.split() if part.startswith("name="))
    return frozenset(name for name in names if name)
