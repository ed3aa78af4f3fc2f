"""What waits to be sent to one socket, bounded in number and bytes.

Rule: previews give way first: of a prompt's there is one, and none while much waits. When more
than the bounds waits, the reader is too slow: it has to connect again, and costs nobody else.
"""

from __future__ import annotations

import asyncio
from collections import deque

from everfold.web.comfyui.socket.frames import Frame, Picture

MOST_FRAMES = 2_000
MOST_BYTES = 8 * 2**20
MOST_BYTES_WITH_PREVIEWS = 2 * 2**20


class Outbox:
    """For one event loop."""

    def __init__(self) -> None:
        self._frames = deque[Frame]()
        self._bytes = 0
        self._news, self._overfull = asyncio.Event(), asyncio.Event()

    @property
    def is_overfull(self) -> bool:
        """Whether more waits than is kept; nothing is taken in any more."""
        return self._overfull.is_set()

    def put(self, frame: Frame) -> None:
        """Let a frame wait, or drop it where it is a preview and much waits."""
        if self.is_overfull:
            return
        if isinstance(frame, Picture) and not self._makes_room(frame):
            return
        self._frames.append(frame)
        self._bytes += frame.size_bytes
        self._news.set()
        if len(self._frames) > MOST_FRAMES or self._bytes > MOST_BYTES:
            self._overfull.set()

    def _makes_room(self, picture: Picture) -> bool:
        for waiting in self._frames:
            if isinstance(waiting, Picture) and waiting.prompt_id == picture.prompt_id:
                self._frames.remove(waiting)
                self._bytes -= waiting.size_bytes
                break
        return self._bytes + picture.size_bytes <= MOST_BYTES_WITH_PREVIEWS

    async def next(self) -> Frame:
        """Wait for the next frame."""
        while not self._frames:
            self._news.clear()
            await self._news.wait()
        frame = self._frames.popleft()
        self._bytes -= frame.size_bytes
        return frame

    async def overfull(self) -> None:
        """Wait until the reader is too slow."""
        await self._overfull.wait()
