"""What one who looks on is still to be sent: the newest of everything, each thing once.

Rule: putting something in never waits. A slow reader finds states that were passed over left out;
one that is JOBS_LIMIT jobs behind is cut off, and comes back with the id of its last message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from everfold.web.feeds.ring import Overtaken

JOBS_LIMIT = 20_000
"""Jobs whose change a reader has not been sent: their summaries are shared by all readers."""


class Mailbox:
    """For one reader of the farm, in one event loop."""

    def __init__(self, user: str | None, resumed: str = "") -> None:
        """`user` is whose jobs it sees, None for all."""
        self.user = user
        self.cursor = resumed
        """Where the reader is, once it has what is in here."""
        self.is_closed = False
        self._members: dict[str, bytes] = {}
        self._jobs: dict[str, bytes] = {}
        self._more = asyncio.Event()

    def put(self, members: Mapping[str, bytes], jobs: Mapping[str, bytes], cursor: str) -> None:
        """Add members of the farm and summaries of jobs, as JSON, in place of older ones."""
        self._members |= members
        self._jobs |= jobs
        self.cursor = cursor
        if members or jobs:
            self._more.set()

    def wake(self) -> None:
        """Let the reader look, for another reason than what is in here."""
        self._more.set()

    def close(self) -> None:
        """Let the reader end."""
        self.is_closed = True
        self._more.set()

    async def wait(self, limit_s: float) -> bool:
        """Wait for something to send; False when nothing came in time."""
        try:
            async with asyncio.timeout(limit_s):
                await self._more.wait()
        except TimeoutError:
            return False
        self._more.clear()
        return True

    def take(self) -> tuple[dict[str, bytes], list[bytes]]:
        """Take out what is to be sent: members, and summaries. Raises Overtaken."""
        if len(self._jobs) > JOBS_LIMIT:
            raise Overtaken
        members, self._members = self._members, {}
        jobs, self._jobs = self._jobs, {}
        return members, [*jobs.values()]


def farm_frame(members: Mapping[str, bytes], at_ms: int, cursor: str, message_id: str) -> bytes:
    """Return a message with members of the farm."""
    inside = b"".join(b',"%b":%b' % (name.encode(), text) for name, text in members.items())
    head = b'{"at_ms":%d,"cursor":"%b"' % (at_ms, cursor.encode())
    return frame("farm", head + inside + b"}", message_id)


def jobs_frame(summaries: Iterable[bytes], message_id: str) -> bytes:
    """Return a message with summaries of jobs."""
    return frame("jobs", b"[" + b",".join(summaries) + b"]", message_id)


def frame(event: str, data: bytes, message_id: str) -> bytes:
    """Return a message of server-sent events; `data` is one line."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (event.encode(), message_id.encode(), data)
