"""What is left to be done of an erasure: bytes that are to be removed and that no record names.

Rule: it is written before the first record is removed, and forgotten when the last bytes are gone.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import with_retry
from everfold.streams.sealing.user_keys import field_of


class Erasure(Struct, frozen=True):
    """An erasure that has begun."""

    hashes: list[str]


_read = decoder(Erasure)


async def unfinished(log: Log, user: str) -> Erasure | None:
    """Return what an erasure of the user has left. Raises a leaf of Unavailable."""
    ask = ("HGET", log.keys.erasures(), field_of(user))
    found = await with_retry(lambda: command(log.redis, *ask), log.retry_for_s)
    try:
        return _read(found) if isinstance(found, bytes) else None
    except NotJson:
        return None


async def begin(log: Log, user: str, hashes: Collection[str]) -> Erasure:
    """Note which bytes are to be removed, besides those of an erasure that was interrupted."""
    before = await unfinished(log, user)
    found = Erasure(sorted({*hashes, *(before.hashes if before else ())}))
    entry = (field_of(user), msgspec.json.encode(found))
    ask = ("HSET", log.keys.erasures(), *entry)
    await with_retry(lambda: command(log.redis, *ask), log.retry_for_s)
    return found


async def end(log: Log, user: str) -> None:
    """Note that nothing is left to be done. Raises a leaf of Unavailable."""
    ask = ("HDEL", log.keys.erasures(), field_of(user))
    await with_retry(lambda: command(log.redis, *ask), log.retry_for_s)
