"""How many bytes the assets of one user may have: a limit as others of the namespace.

Rule: read at each put, so that a change counts from the next one on. One put that runs while it is
changed may still go by the old one.
"""

from __future__ import annotations

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command


async def quota_of(log: Log, owner: str) -> int:
    """Return the bytes that the assets of an owner may have, 0 for any number.

    A number that cannot be read counts as none. Raises a leaf of Unavailable.
    """
    fields = (f"assets user {owner}", "assets user *")
    found = await command(log.redis, "HMGET", log.keys.limits(), *fields)
    assert isinstance(found, list)
    for text in found:
        if isinstance(text, bytes):
            try:
                number = float(text)
            except ValueError:
                continue
            if 0 <= number < 2**62:
                return max(1, int(number))  # a quota of 0 takes nothing
    return 0
