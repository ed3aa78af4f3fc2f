"""What peers have not read of what was sent to them: bounded in time for each, in bytes for all.

Rule: whoever does not read loses the connection, however the answer was made and whatever waits for
it. A peer that reads slowly is waited for, as long as there is room for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

from msgspec import Struct

from everfold.streams.border.logger import get_logger

logger = get_logger("everfold.web")

TAKEN_WITHIN_S = 30.0
TAKEN_BYTES = 64 * 1024
"""Within that time a peer reads at least so many bytes, or all there is for it."""
UNREAD_LIMIT_BYTES = 256 * 1024 * 1024
"""Of all connections together."""


class Connection(Protocol):
    """A connection of the server, of either protocol."""

    transport: asyncio.Transport
    resumed: int
    """How often so much was read that more could be sent."""


class CountedReading(asyncio.BaseProtocol):
    """Counts, of the protocol that it is mixed into, how often so much was read that more could be
    sent."""

    resumed = 0

    def resume_writing(self) -> None:
        """Go on sending."""
        self.resumed += 1
        super().resume_writing()


class _Behind(Struct, frozen=True):
    """How far behind a peer was when it last read something."""

    since_s: float
    bytes: int
    resumed: int


class Unread:
    """Looks after the connections of one server."""

    def __init__(self) -> None:
        self._behind = dict[Connection, _Behind]()

    def look(self, connections: Collection[Connection], now_s: float) -> None:
        """End the connections whose peers do not read."""
        before, self._behind = self._behind, {}
        total, longest_since_s = 0, now_s
        for one in connections:
            unread = one.transport.get_write_buffer_size()
            if not unread:
                continue
            was = before.get(one)
            if was is None or one.resumed != was.resumed or unread <= was.bytes - TAKEN_BYTES:
                was = _Behind(now_s, unread, one.resumed)
            self._behind[one] = was
            total, longest_since_s = total + unread, min(longest_since_s, was.since_s)
        if total > UNREAD_LIMIT_BYTES or now_s - longest_since_s >= TAKEN_WITHIN_S:
            self._end(now_s, total)

    def _end(self, now_s: float, total: int) -> None:
        longest_first = sorted(self._behind.items(), key=lambda item: item[1].since_s)
        for one, was in longest_first:
            if total <= UNREAD_LIMIT_BYTES and now_s - was.since_s < TAKEN_WITHIN_S:
                return
            unread = one.transport.get_write_buffer_size()
            logger.info("peer_does_not_read bytes=%d total=%d", unread, total)
            total -= unread
            del self._behind[one]
            one.transport.abort()
