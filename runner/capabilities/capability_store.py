"""Keeps what servers have in Redis, once by content, for clients that check graphs at submit.

Rule: a key that is missing or damaged means unknown. Runners renew what their servers have, so that
it is forgotten when no server has it any more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from hashlib import sha256

import anyio
import anyio.to_thread

from everfold.runner.capabilities.object_info import (
    BODY_LIMIT_BYTES,
    Described,
    ObjectInfo,
    decode,
)
from everfold.streams.appending.log import Log
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.redis.redis_errors import command

KEPT_S = 7 * 86_400
RENEW_EVERY_S = 60.0
"""How soon a key comes back that the server has lost."""


class CapabilityStore:
    """Writes what the servers of one runner have."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._renewed_at_s: dict[str, float] = {}
        """Content hash -> steady time of the last write or renewal."""

    async def keep(self, infos: Iterable[ObjectInfo]) -> None:
        """Write what is new, and renew now and then what is there. Raises a leaf of Unavailable."""
        due = dict[str, ObjectInfo | Described]()
        for info in infos:
            due[info.hash] = info
            if info.described is not None:
                due[info.described.hash] = info.described
        for known in self._renewed_at_s.keys() - due.keys():
            del self._renewed_at_s[known]
        for content_hash, content in due.items():
            now_s = steady_s()
            if now_s - self._renewed_at_s.get(content_hash, -RENEW_EVERY_S) < RENEW_EVERY_S:
                continue
            key = self._log.keys.object_info(content_hash)
            if not await command(self._log.redis, "PEXPIRE", key, KEPT_S * 1000):
                packed = _packed(content)
                await command(self._log.redis, "SET", key, packed, "PX", KEPT_S * 1000)
            self._renewed_at_s[content_hash] = now_s


def _packed(content: ObjectInfo | Described) -> bytes:
    return content.packed if isinstance(content, Described) else zlib.compress(content.encoded)


async def stored_capabilities(log: Log, content_hash: str) -> ObjectInfo | None:
    """Return what a runner wrote under this hash; None where that is gone or damaged.

    Raises a leaf of Unavailable.
    """
    text = await stored_description(log, content_hash)
    # In a thread: megabytes take a while, and the caller has other things to do.
    return None if text is None else await anyio.to_thread.run_sync(decode, text)


async def stored_description(log: Log, content_hash: str) -> bytes | None:
    """Return the text that a runner wrote under this hash; None where that is gone or damaged.

    Raises a leaf of Unavailable.
    """
    packed = await command(log.redis, "GET", log.keys.object_info(content_hash))
    if not isinstance(packed, bytes):
        return None
    return await anyio.to_thread.run_sync(_unpacked, packed, content_hash)


def _unpacked(packed: bytes, content_hash: str) -> bytes | None:
    try:
        text = zlib.decompressobj().decompress(packed, BODY_LIMIT_BYTES)
    except zlib.error:
        return None
    return text if sha256(text).hexdigest() == content_hash else None
