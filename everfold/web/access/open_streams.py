"""The answers that go on: streams of server-sent events and websockets.

Rule: each can be ended from outside, whatever its route waits for, so that a gateway stops within
seconds and a revoked key reads nothing more. An answer of a known length is never cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everfold.web.problem import FULL_RETRY_S, Problem

EVENT_STREAM = b"text/event-stream"

STOPPED = 1012
"""The websocket's close code of a server that stops: a client connects again."""
REVOKED = 1008
"""The websocket's close code of a key that counts no more."""

LAST_WORD_S = 0.5
"""How long a client that reads nothing is waited for; then its connection is closed."""


class Stream:
    """One answer on its way, and whether it is one that goes on."""

    def __init__(
        self,
        streams: OpenStreams,
        scope: Scope,
        send: Send,
        key_id: str = "",
        most: int | None = None,
    ) -> None:
        """`most` is how many streams the key may have open, None for any number."""
        self.key_id = key_id
        self._most = most
        self._streams = streams
        self._send = send
        self._is_websocket = scope["type"] == "websocket"
        self._is_open = False
        """Whether it has begun and not ended."""
        self._cancel = anyio.CancelScope()
        self._code = STOPPED

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Let an application answer, until it is done or the stream is ended."""
        try:
            if self._is_websocket:
                self._begin()
            with self._cancel:
                await app(scope, receive, self.send)
            if self._cancel.cancelled_caught:
                with anyio.move_on_after(LAST_WORD_S):
                    await self._finish()
        finally:
            self._streams.remove(self)

    async def send(self, message: Message) -> None:
        """Pass a message on, and see by it whether the answer is a stream."""
        match message["type"]:
            case "http.response.start" if _is_event_stream(message):
                self._begin()
                self._is_open = True
            case "websocket.accept":
                self._is_open = True
            case "websocket.close" | "websocket.http.response.start":
                self._is_open = False
            case "http.response.body" if not message.get("more_body"):
                self._is_open = False
        await self._send(message)

    def _begin(self) -> None:
        if self._most is not None and self._streams.of_key(self.key_id) >= self._most:
            raise Problem(
                429,
                "too_many_streams",
                f"this key may have {self._most} streams open at one gateway: close one",
                retry_after_s=FULL_RETRY_S,
            )
        self._streams.add(self)

    def end(self, code: int) -> None:
        """Stop the route; what it has sent ends as if it were complete."""
        self._code = code
        self._cancel.cancel()

    async def _finish(self) -> None:
        if self._is_websocket:
            # Of one that was not accepted yet this is a refusal.
            await self._send({"type": "websocket.close", "code": self._code})
        elif self._is_open:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class OpenStreams:
    """The streams of one gateway."""

    def __init__(self) -> None:
        self._streams = set[Stream]()
        self._counts = Counter[str]()
        self.is_closed = False
        """No stream may begin any more."""

    def __len__(self) -> int:
        return len(self._streams)

    def of_key(self, key_id: str) -> int:
        """Return how many streams a key has open."""
        return self._counts[key_id]

    def add(self, stream: Stream) -> None:
        """Take a stream in; it is ended at once where the gateway stops."""
        self._streams.add(stream)
        self._counts[stream.key_id] += 1
        if self.is_closed:
            stream.end(STOPPED)

    def remove(self, stream: Stream) -> None:
        """Forget a stream that has ended."""
        if stream in self._streams:
            self._streams.remove(stream)
            self._counts[stream.key_id] -= 1
            self._counts = +self._counts

    def close(self) -> None:
        """End all streams, and each that begins from now on."""
        self.is_closed = True
        self._end(STOPPED, lambda _: True)

    def end_without(self, is_good: Callable[[str], bool]) -> None:
        """End the streams whose key, by its id, is not good any more."""
        self._end(REVOKED, lambda stream: not is_good(stream.key_id))

    def _end(self, code: int, which: Callable[[Stream], bool]) -> None:
        for stream in list(self._streams):
            if which(stream):
                stream.end(code)


def _is_event_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(EVENT_STREAM)
        for name, value in message.get("headers", ())
    )
