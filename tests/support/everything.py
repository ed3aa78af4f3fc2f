"""Everything that the server holds of a namespace, as bytes, to look for what must not be there."""

from __future__ import annotations

from typing import cast

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from tests.support.stored_names import names_of

READS = {
    b"string": ("GET",),
    b"hash": ("HGETALL",),
    b"set": ("SMEMBERS",),
    b"zset": ("ZRANGE", 0, -1),
    b"stream": ("XRANGE", "-", "+"),
}


async def everything_stored(log: Log) -> bytes:
    """Return all keys with their values, without what every process notes of its servers now and
    then; a key of another type is an error."""
    found = list[bytes]()
    for key in await names_of(log.redis, log.keys.namespace):
        kind = cast("bytes", await command(log.redis, "TYPE", key))
        if kind == b"none" or key == log.keys.servers().encode():
            continue  # it has expired since, or is noted
        name, *more = READS[kind]
        found += [key, *_flat(await command(log.redis, str(name), key, *more))]
    return b"\n".join(found)


def _flat(value: object) -> list[bytes]:
    if isinstance(value, list | tuple | set):
        return [part for each in value for part in _flat(each)]
    return [value if isinstance(value, bytes) else str(value).encode()]
