"""Server-sent events: an answer that goes on until its source ends or its client goes away.

Rule: nothing is buffered for a client beyond what its connection holds. One that takes nothing for
SEND_WITHIN_S is dropped; it resumes where it was, by the last `id` that it has.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.web.counters import Counters
from everfold.web.feeds.piece import Piece, message_count
from everfold.web.feeds.ring import Overtaken, Ring
from everfold.web.streamed import until_gone

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

DIRECT = "everfold.direct"
"""The extension of ASGI that our own server has, and others have not: a call that sends a chunk of
the answer under way at once, or says False."""


class Overdue:
    """Calls `late` when something takes too long: one timer for all that one stream waits for."""

    __slots__ = ("_late", "_limit_s", "_loop", "_since_s", "_timer")  # each stream has two

    def __init__(self, limit_s: float, late: Callable[[], object]) -> None:
        self._limit_s, self._late = limit_s, late
        self._loop = asyncio.get_running_loop()
        self._since_s = math.inf
        self._timer = self._loop.call_later(limit_s, self._look)

    def begin(self) -> None:
        """Note that something begins now."""
        self._since_s = self._loop.time()

    def end(self) -> None:
        """Note that it is over."""
        self._since_s = math.inf

    def close(self) -> None:
        """Call nothing any more."""
        self._timer.cancel()

    def _look(self) -> None:
        left_s = min(self._limit_s, self._since_s + self._limit_s - self._loop.time())
        self._timer = self._loop.call_later(left_s if left_s > 0 else self._limit_s, self._look)
        if left_s <= 0:
            self.end()
            self._late()


async def following(
    ring: Ring[T], place: int, take: Callable[[T], bool] | None = None
) -> AsyncGenerator[list[T], None]:
    """Yield what comes to a ring from `place` on; an empty list after KEEP_ALIVE_S without any.

    With `take` it yields only what that does not take: each item is given to it at once, in the
    call that adds it, while nothing else is due to the reader. Ends with the ring. Raises Overtaken
    for a reader that is too slow.
    """
    more: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def took(item: T) -> bool:
        nonlocal place
        if take is None or not take(item):
            return False
        place += 1
        idle.begin()
        return True

    def is_idle() -> None:
        if not more.done():
            more.set_result(None)

    idle = Overdue(KEEP_ALIVE_S, is_idle)
    try:
        while True:
            if place == ring.end and not ring.is_closed:
                more = ring.until_more(place) if take is None else ring.hand_on(took)
                idle.begin()
                await more
                idle.end()
                ring.leave(more)
                if place == ring.end and not ring.is_closed:
                    yield []
                    continue
            items = ring.items_after(place)
            if not items:
                return
            place += len(items)
            yield items
    finally:
        more.cancel()
        ring.leave(more)
        idle.close()


def direct_sender(scope: Scope, counters: Counters) -> Callable[[Piece], bool] | None:
    """Return what sends messages on an open stream at once, without a task; None where none can.

    It says False, and has sent nothing, while its client is behind or once it has gone.
    """
    send: Callable[[bytes], bool] | None = scope.get("extensions", {}).get(DIRECT)
    if send is None:
        return None

    def send_counted(piece: Piece) -> bool:
        is_sent = send(piece.chunk)
        if is_sent:
            counters.note_sent(SSE, piece.messages)
        return is_sent

    return send_counted


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
            sending = asyncio.create_task(self._send_all(send))
            try:
                with anyio.CancelScope() as waiting:
                    sending.add_done_callback(lambda _: waiting.cancel())
                    await until_gone(receive)
            finally:
                self._counters.note_closed(SSE)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        taking = Overdue(SEND_WITHIN_S, partial(self._drop, asyncio.current_task()))
        try:
            async for frame in self._frames:
                taking.begin()
                await send({"type": "http.response.body", "body": frame, "more_body": True})
                taking.end()
                self._counters.note_sent(SSE, message_count(frame))
        except Overtaken:
            self._counters.note_dropped(SSE)
        except EverfoldError as error:
            logger.warning("stream_ended why=%r", str(error))
        finally:
            taking.close()
        async with asyncio.timeout(SEND_WITHIN_S):
            await send({"type": "http.response.body", "body": b""})

    def _drop(self, sending: asyncio.Task[None] | None) -> None:
        """Leave a client that takes nothing; without the end of the body, as it is not complete."""
        self._counters.note_dropped(SSE)
        if sending is not None:
            sending.cancel()
