"""HTTP connections whose heads are bounded: in bytes, in lines and in time, and in their number.

Rule: what a peer sends before anybody knows who it is costs a fixed amount of memory and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import cast

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from websockets.http11 import MAX_LINE_LENGTH

from everfold.web.comfyui.refusal import refusal
from everfold.web.event_stream import DIRECT
from everfold.web.problem import Problem
from everfold.web.serving.unread import CountedReading

HEAD_LIMIT_BYTES = 64 * 1024
"""Of a request's line and headers together; cookies and signed addresses need a few KiB."""
HEAD_LINES_LIMIT = 128
HEAD_WITHIN_S = 15.0
"""Seconds within which a head must be complete, or a body of which no more is wanted."""
CONNECTIONS_LIMIT = 8_192


def _refusal(status: str, code: str, message: str, *headers: str) -> bytes:
    """Return a whole answer in the words of ComfyUI's contract: no path is known yet."""
    kind = "content-type: application/json"
    body = refusal(Problem(int(status[:3]), code, message)).body
    head = (f"HTTP/1.1 {status}", kind, f"content-length: {len(body)}", *headers)
    return "\r\n".join((*head, "connection: close", "", "")).encode() + bytes(body)


_FULL = _refusal(
    "503 Service Unavailable",
    "unavailable",
    "the gateway has too many connections now: come again in a moment",
    "retry-after: 2",
)
_TOO_LARGE = _refusal(
    "431 Request Header Fields Too Large",
    "too_large",
    f"the head of a request has at most {HEAD_LIMIT_BYTES:,} bytes and {HEAD_LINES_LIMIT} lines",
)
_UNREADABLE = _refusal("400 Bad Request", "invalid_request", "this is no request of HTTP/1.1")


class HeadTooLarge(Exception):
    """The head of a request has more than it may have."""


class UpgradeWithBody(Exception):
    """A request for a websocket has a body: what waits for its end would wait for ever."""


class BoundedProtocol(CountedReading, HttpToolsProtocol):
    """uvicorn's, with bounds."""

    _head_bytes = 0
    """What has come of a head that is not complete, or since the last bytes of a body."""
    _is_in_head = True
    _has_taken = False
    """Whether what was read last had some of a body, or the end of a request: then most of it was
    no head."""
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_LIMIT:
            self._close_with(_FULL)
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, as long as the head, and what stands around a body, are within their bounds."""
        if self.transport.is_closing():
            return
        if self._is_in_head and self._head_timer is None:
            self._await_head()
        self._has_taken = False
        super().data_received(data)
        if self._has_taken or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_LIMIT_BYTES:
            self._close_with(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of the head: one that comes after a body means nothing here."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        super().on_body(body)
        self._head_bytes, self._has_taken = 0, True

    def on_headers_complete(self) -> None:
        """End a head.

        Raises HeadTooLarge, UpgradeWithBody, which the parser passes on as errors of its own.
        """
        self._is_in_head = False
        self._stop_timer()
        if self._is_too_large():
            raise HeadTooLarge
        if _is_upgrade_with_body(self.headers):
            raise UpgradeWithBody
        super().on_headers_complete()
        if getattr(self.cycle, "scope", None) is self.scope:
            # Its task has not begun: this is called while a read is parsed.
            extensions = cast("dict[str, object]", self.scope.setdefault("extensions", {}))
            extensions[DIRECT] = partial(self._send_chunk, self.cycle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Begin an answer, once most of the one before it was read: a peer holds one at a time."""

        async def begun(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            await self.flow.drain()
            if not cycle.disconnected:
                await app(scope, receive, send)

        super()._start_asgi_task(cycle, begun if self.flow.write_paused else app)

    def _send_chunk(self, cycle: RequestResponseCycle, chunk: bytes) -> bool:
        """Send a chunk of an answer that is under way, as uvicorn does; False where it must wait.

        The task of the answer must be waiting meanwhile, so that chunks keep their order.
        """
        if (
            cycle.response_complete
            or not cycle.chunked_encoding
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return False
        self.transport.write(chunk)
        return True

    def on_response_complete(self) -> None:
        """End an answer; of its request, where more comes, the rest is read so that it is heard."""
        super().on_response_complete()
        if not self._is_in_head and self.cycle.response_complete:
            self._await_head()

    def on_message_complete(self) -> None:
        """End a request: what comes next is a head."""
        super().on_message_complete()
        self._stop_timer()
        self._is_in_head, self._head_bytes, self._has_taken = True, 0, True

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser does not take."""
        self._close_with(_TOO_LARGE if self._is_too_large() else _UNREADABLE)

    def _is_too_large(self) -> bool:
        """Say whether the head has more than it may have, as far as it is known."""
        url, headers = getattr(self, "url", b""), self.headers or []
        size = len(url) + sum(len(name) + len(value) for name, value in headers)
        if size > HEAD_LIMIT_BYTES or len(headers) > HEAD_LINES_LIMIT:
            return True
        # What reads a websocket's head bounds each of its lines, and does not answer a longer one.
        lines = (len(url) + len("GET  HTTP/1.1\r\n"), *(len(n) + len(v) + 4 for n, v in headers))
        return _asks_for_websocket(dict(headers)) and max(lines) > MAX_LINE_LENGTH

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_with(self, answer: bytes) -> None:
        self._stop_timer()
        is_answering = getattr(self.cycle, "response_started", False)
        if not is_answering or self.cycle.response_complete:
            self.transport.write(answer)
        self.transport.close()


def _is_upgrade_with_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    asked = dict(headers)
    length = asked.get(b"content-length", b"").strip().strip(b"0")
    return bool(length or b"transfer-encoding" in asked) and _asks_for_websocket(asked)


def _asks_for_websocket(headers: Mapping[bytes, bytes]) -> bool:
    return headers.get(b"upgrade", b"").strip().lower() == b"websocket"
