"""Answers that are sent piece by piece, to readers of any speed.

Rule: whoever does not read is left after a while, and whoever has gone is noticed at once. What
breaks in the middle ends the connection: a body is never taken for whole that is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from everfold.streams.border.logger import get_logger

logger = get_logger("everfold.web")

SEND_WITHIN_S = 60.0
"""Seconds within which a reader must take each piece."""


class Streamed(Response):
    """An answer whose body is what a generator yields; the generator is closed at the end."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        send_within_s: float = SEND_WITHIN_S,
    ) -> None:
        self.pieces, self.send_within_s = pieces, send_within_s
        self.status_code, self.background = status, None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(until_gone(receive))
        sending = asyncio.ensure_future(self._send_all(send))
        try:
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            with anyio.CancelScope(shield=True):
                for task in (gone, sending):
                    task.cancel()
                await asyncio.gather(gone, sending, return_exceptions=True)
                await self.pieces.aclose()

    async def _send_all(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        try:
            async for piece in self.pieces:
                message = {"type": "http.response.body", "body": piece, "more_body": True}
                await asyncio.wait_for(send(message), self.send_within_s)
        except TimeoutError:
            return  # unfinished, so the server closes the connection
        except Exception as error:
            logger.warning("answer_cut why=%r", str(error))
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_gone(receive: Receive) -> None:
    """Wait until a client has gone; what it still sends is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass
