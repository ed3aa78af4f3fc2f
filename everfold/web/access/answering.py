"""One answer on its way out: its request id, headers for browsers, and its line in the access log.

Rule: a line holds no query, no header and no key; what a client chose is escaped and bounded by the
logger.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from starlette.types import Message, Send

from everfold.streams.border.logger import get_logger
from everfold.streams.events.ids import new_id
from everfold.web.access.request_head import RequestHead

logger = get_logger("everfold.access")

REQUEST_ID = "X-Comfy-Request-Id"

PATH_LIMIT = 500


class Answering:
    """Sends the messages of one answer."""

    def __init__(self, send: Send, head: RequestHead) -> None:
        self.request_id = new_id()
        self.headers: Mapping[str, str] = {}
        """What the answer gets besides its own."""
        self.key_id = ""
        self.has_begun = False
        self._send, self._head = send, head
        self._status, self._bytes = 0, 0
        self._began_s = time.monotonic()

    async def send(self, message: Message) -> None:
        """Send a message on, the first with the headers."""
        kind = message["type"]
        if kind in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            self.has_begun = True
            self._status = message.get("status", 101)
            message = {**message, "headers": self._completed(message.get("headers", ()))}
        elif kind == "websocket.close":
            self._status = self._status or 403
        self._bytes += len(message.get("body", b""))
        await self._send(message)

    def _completed(self, given: object) -> list[tuple[bytes, bytes]]:
        more = {
            **self.headers,
            REQUEST_ID: self.request_id,
            "X-Content-Type-Options": "nosniff",
        }
        names = {name.lower().encode() for name in more if name != "Vary"}
        assert isinstance(given, list | tuple)
        own = [(name, value) for name, value in given if name.lower() not in names]
        return own + [(name.lower().encode(), value.encode()) for name, value in more.items()]

    def log(self) -> None:
        """Write the answer's line, when it is over."""
        logger.info(
            "request method=%s path=%r status=%d ms=%.1f bytes=%d peer=%s key=%s id=%s",
            self._head.method,
            (self._head.prefix + self._head.path)[:PATH_LIMIT],
            self._status,
            1000 * (time.monotonic() - self._began_s),
            self._bytes,
            self._head.peer or "-",
            self.key_id or "-",
            self.request_id,
        )
