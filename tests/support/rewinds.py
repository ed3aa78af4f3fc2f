"""Takes a server, or a namespace alone, back to what it was before its newest writes.

Rule: a server that is taken back was killed, has what its append-only file had then, and is another
run; a namespace goes back whole, in one step, with its leases and groups.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command, commands
from tests.support.servers import OwnServer
from tests.support.stored_names import names_of

_PUT = """
for _, key in ipairs(KEYS) do redis.call('UNLINK', key) end
for i = 1, #ARGV, 3 do redis.call('RESTORE', ARGV[i], ARGV[i + 1], ARGV[i + 2], 'ABSTTL') end
"""


class Snapshot(Struct, frozen=True):
    """All keys of a namespace: name, time of its end in Unix ms (0 for none), content."""

    keys: list[tuple[bytes, int, bytes]]


async def names(log: Log) -> list[bytes]:
    """Return the names of all keys of a namespace."""
    return await names_of(log.redis, log.keys.namespace)


async def taken(log: Log) -> Snapshot:
    """Return what a namespace holds now; in one step, as far as the server has no other clients."""
    script = """
        local found = {}
        for _, pattern in ipairs(ARGV) do
          for _, key in ipairs(redis.call('KEYS', pattern)) do
            table.insert(found, { key, redis.call('PEXPIRETIME', key), redis.call('DUMP', key) })
          end
        end
        return found
    """
    name = log.keys.namespace
    patterns = (f"{name}:*", f"{{{name}:*", f"{{{name}}}:*")
    rows = await command(log.redis, "EVAL", script, 0, *patterns)
    keys = [(key, max(0, int(ms)), dump) for key, ms, dump in cast("list[list[bytes]]", rows)]
    return Snapshot(keys)


async def take_back(log: Log, snapshot: Snapshot) -> None:
    """Put a namespace back; then all connections but this one are cut, as by a restart."""
    await put(log, snapshot)
    await commands(log.redis, [("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")])


async def put(log: Log, snapshot: Snapshot) -> None:
    """Put a namespace back, and leave all connections as they are."""
    now = await names(log)
    flat = [word for key, ms, dump in snapshot.keys for word in (key, ms, dump)]
    await command(log.redis, "EVAL", _PUT, len(now), *now, *flat)


def written(server: OwnServer) -> int:
    """Return how long the append-only file is: a point to which the server can be taken back."""
    return _file(server).stat().st_size


def restart_at(server: OwnServer, point: int) -> None:
    """Kill the server, cut what it has written after a point, and start it."""
    server.kill()
    with _file(server).open("r+b") as file:
        file.truncate(point)
    server.start()


def _file(server: OwnServer) -> Path:
    return max((server.folder / "appendonlydir").glob("*.incr.aof"))
