"""Takes a server, or a namespace alone, back to what it was before its newest writes.

Rule: a server that is taken back was killed, has what its append-only file had then, and is another
run; a namespace goes back whole, with its leases and groups, in one step at each primary.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from tests.support.servers import OwnServer
from tests.support.stored_names import names_of

# Without KEYS: they are of many slots, which a cluster's node allows a script that names none.
_PUT = """
local gone = tonumber(ARGV[1])
for i = 2, gone + 1 do redis.call('UNLINK', ARGV[i]) end
for i = gone + 2, #ARGV, 3 do redis.call('RESTORE', ARGV[i], ARGV[i + 1], ARGV[i + 2], 'ABSTTL') end
"""


class Snapshot(Struct, frozen=True):
    """All keys of a namespace: name, time of its end in Unix ms (0 for none), content."""

    keys: list[tuple[bytes, int, bytes]]


async def names(log: Log) -> list[bytes]:
    """Return the names of all keys of a namespace."""
    return await names_of(log.redis, log.keys.namespace)


async def taken(log: Log) -> Snapshot:
    """Return what a namespace holds now; in one step, as far as servers have no other clients."""
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
    found = list[tuple[bytes, int, bytes]]()
    for server in log.redis.primaries():
        rows = cast("list[list[bytes]]", await command(server, "EVAL", script, 0, *patterns))
        found += [(key, max(0, int(ms)), dump) for key, ms, dump in rows]
    return Snapshot(found)


async def take_back(log: Log, snapshot: Snapshot) -> None:
    """Put a namespace back; then all connections but this one are cut, as by a restart."""
    await put(log, snapshot)
    for server in log.redis.primaries():
        await command(server, "CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")


async def put(log: Log, snapshot: Snapshot) -> None:
    """Put a namespace back, and leave all connections as they are."""
    now, at = await names(log), log.redis.at
    for server in log.redis.primaries():
        gone = [key for key in now if at(key.decode()) is server]
        back = [word for row in snapshot.keys if at(row[0].decode()) is server for word in row]
        await command(server, "EVAL", _PUT, 0, len(gone), *gone, *back)


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
