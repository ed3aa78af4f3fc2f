"""Websockets whose frames are bounded where no message comes of them.

Rule: a ping is answered without anybody having asked for the answer, and a fragment is kept until
its message is whole. So both have bounds of their own; a client that passes them is told its code.
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from everfold.web.serving.unread import CountedReading

MOST_PINGS_PER_S = 50
"""Pings and pongs of one client; browsers send none, others one in some seconds."""
MOST_FRAGMENTS = 1_000
"""Of one message: tiny ones cost more than they hold."""


class BoundedSocket(CountedReading, WebSocketsSansIOProtocol):
    """uvicorn's, with bounds."""

    _second, _pings = 0, 0

    def handle_ping(self) -> None:
        """Answer a ping."""
        if self._may_ping():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Take the answer to a ping."""
        if self._may_ping():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Keep a fragment, up to the end of its message."""
        if self.close_sent:
            return
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._refuse(CloseCode.MESSAGE_TOO_BIG, "a message has too many fragments")

    def _may_ping(self) -> bool:
        if self.close_sent:
            return False
        second = int(self.loop.time())
        self._second, self._pings = second, self._pings + 1 if second == self._second else 1
        if self._pings > MOST_PINGS_PER_S:
            self._refuse(CloseCode.POLICY_VIOLATION, "too many pings")
        return not self.close_sent

    def _refuse(self, code: CloseCode, reason: str) -> None:
        self.frames = []
        self.conn.fail(code, reason)
        self.handle_parser_exception()
