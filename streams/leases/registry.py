"""Registry of runners: who is at work, and which client names the server lists.

Rule: a registered runner keeps at least one connection named after it for as long as it lives,
so that its death shows in CLIENT LIST long before its leases run out. A wrong guess does no harm:
the leases are fenced.
"""

from __future__ import annotations

from typing import cast

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command, read_hash


class RunnerEntry(Struct, frozen=True, kw_only=True):
    """What a runner says of itself."""

    runner: str
    host: str
    pid: int
    queues: tuple[str, ...]
    backends: tuple[str, ...]
    since_ms: int


async def register_runner(log: Log, entry: RunnerEntry) -> None:
    payload = msgspec.json.encode(entry)
    await command(log.redis, "HSET", log.keys.runners(), entry.runner, payload)


async def deregister_runner(log: Log, runner: str) -> None:
    """Remove a runner: it has ended, or it is dead and holds nothing any more."""
    await command(log.redis, "HDEL", log.keys.runners(), runner)


async def registered_runners(log: Log) -> dict[str, RunnerEntry]:
    """Return every registered runner, the dead ones too."""
    stored = await read_hash(log.redis, log.keys.runners())
    decoder = msgspec.json.Decoder(RunnerEntry)
    return {name.decode(): decoder.decode(payload) for name, payload in stored.items()}


async def connected(log: Log) -> frozenset[str]:
    """Return the names of all connections that the server has."""
    text = cast("bytes", await command(log.redis, "CLIENT", "LIST", "TYPE", "normal")).decode()
    text += cast("bytes", await command(log.redis, "CLIENT", "LIST", "TYPE", "pubsub")).decode()
    names = (part[5:] for part in text.split() if part.startswith("name="))
    return frozenset(name for name in names if name)
