"""Looks over the keys of users: whether this process can open them, and erasures that were left.

Rule: it reads, and opens nothing that is sealed.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.events.json_text import NotJson
from everfold.streams.redis.pages import hash_pages
from everfold.streams.sealing.user_keys import read_user_key


class KeyCheck(Struct, frozen=True):
    """What there is."""

    users: int
    """Users who have a key."""
    locked: int
    """Keys that this process cannot open, because it has not the key of the environment."""
    unfinished: int
    """Erasures that were interrupted."""


async def check_keys(log: Log) -> KeyCheck:
    """Return how many keys there are. Raises a leaf of Unavailable, WrongKeyType."""
    users = locked = unfinished = 0
    async for page in hash_pages(log.redis, log.keys.user_keys()):
        for text in page.values():
            users += 1
            locked += log.sealing is None or not log.sealing.has_seal_key(_by(text))
    async for page in hash_pages(log.redis, log.keys.erasures()):
        unfinished += len(page)
    return KeyCheck(users, locked, unfinished)


def _by(text: bytes) -> str:
    try:
        return read_user_key(text).by
    except NotJson:
        return ""
