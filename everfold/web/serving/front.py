"""What listens from the first moment on: the gateway, and before it has reached Redis its 503.

Rule: a client of the first moment waits a little; then it is told when to come again. It is never
left without an answer.
"""

from __future__ import annotations

import anyio
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from everfold.web.contracts import form_of
from everfold.web.problem import AWAY_RETRY_S, Problem

AWAY = Problem(
    503, "unavailable", "the gateway has not reached Redis yet", retry_after_s=AWAY_RETRY_S
)
TRY_AGAIN_LATER = 1013
"""The websocket's close code for that."""


STARTS_WITHIN_S = 3.0
"""Seconds for which the first requests wait: a gateway whose Redis is there needs less than one."""


class Front:
    """Passes requests on to the gateway as soon as there is one."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._opened = anyio.Event()
        self._waits_until_s = anyio.current_time() + STARTS_WITHIN_S

    def open(self, app: ASGIApp) -> None:
        """Pass requests on from now on."""
        self._app = app
        self._opened.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._app is None and scope.get("path") != "/livez":
            with anyio.CancelScope(deadline=self._waits_until_s):
                await self._opened.wait()
        if self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
        elif scope["type"] == "http" and scope["path"] == "/livez":
            await PlainTextResponse("ok\n")(scope, receive, send)
        elif scope["type"] == "http":
            await form_of(scope["path"])(AWAY)(scope, receive, send)
