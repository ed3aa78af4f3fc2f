"""Server-sent events: an answer that goes on until its source ends or its client goes away.

Rule: nothing is buffered for a client beyond what its connection holds. One that takes nothing for
SEND_WITHIN_S is dropped; it resumes where it was, by the last `id` that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.web.counters import Counters
from everfold.web.feeds.ring import Overtaken, Ring

logger = get_logger("everfold.web")

T = TypeVar("T")

KEEP_ALIVE_S = 15.0
"""Seconds after which a comment is sent, so that nothing between takes the connection for dead."""
SEND_WITHIN_S = 30.0
"""Seconds within which a client must take what is sent to it."""

COMMENT = b": still here\n\n"
RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a browser connects again."""

HEADERS = {
    "Cache-Control": "no-store",
    # nginx buffers answers unless it is told not to.
    "X-Accel-Buffering": "no",
}

SSE = "sse"
"""How the counters call these streams."""


async def following(ring: Ring[T], place: int) -> AsyncGenerator[list[T], None]:
    """Yield what comes to a ring from `place` on; an empty list after KEEP_ALIVE_S without any.

    Ends with the ring. Raises Overtaken for a reader that is too slow.
    """
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                items = await ring.after(place)
        except TimeoutError:
            yield []
            continue
        if not items:
            return
        place += len(items)
        yield items


class EventStream(Response):
    """Sends frames, each one or more whole messages, as they come from a generator.

    One that raises Overtaken, or an EverfoldError, ends the connection: its client resumes.
    """

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes, None], counters: Counters) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._frames, self._counters = frames, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the generator ends, the client goes away or takes nothing any more."""
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        async with aclosing(self._frames):
            await send(start)
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            self._counters.note_opened(SSE)
            tasks = [asyncio.create_task(self._send_all(send)), asyncio.create_task(_gone(receive))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._counters.note_closed(SSE)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        try:
            async for frame in self._frames:
                async with asyncio.timeout(SEND_WITHIN_S):
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
                self._counters.note_sent(SSE, frame.count(b"\ndata:") or 1)
        except TimeoutError:
            self._counters.note_dropped(SSE)
            return  # without the end of the body: the connection is closed
        except Overtaken:
            self._counters.note_dropped(SSE)
        except EverfoldError as error:
            logger.warning("stream_ended why=%r", str(error))
        async with asyncio.timeout(SEND_WITHIN_S):
            await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
