"""Stands before all routes of a gateway.

Rule: it speaks plain ASGI, so that streams and websockets pass through it as they are.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from everfold.web.access.open_streams import OpenStreams, Stream


class Gate:
    """What every request passes."""

    def __init__(self, app: ASGIApp, streams: OpenStreams) -> None:
        self._app = app
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        stream = Stream(self._streams, scope, send, key_id="")
        await stream.run(self._app, scope, receive)
