"""Stands before all routes of a gateway: who calls, from where, how often, and how much.

Rule: it speaks plain ASGI, so that streams and websockets pass through it as they are. What it
refuses is refused in the form of the contract that the path belongs to.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everfold.streams.border.logger import get_logger
from everfold.streams.telemetry.caller_trace import given_traceparent
from everfold.web.access.answering import Answering
from everfold.web.access.doorkeeper import Doorkeeper, Visitor
from everfold.web.access.key_store import KEYS_LIMIT
from everfold.web.access.open_streams import OpenStreams, Stream
from everfold.web.access.origin import cors_headers, is_preflight
from everfold.web.access.rates import Buckets
from everfold.web.access.request_head import RequestHead, read_head
from everfold.web.caller import Caller
from everfold.web.problem import Problem, problem_of
from everfold.web.settings import WebSettings

logger = get_logger("everfold.web")

FormOf = Callable[[str], Callable[[Problem], Response]]
"""Returns how the contract of a path answers with a problem."""

BURST_S = 5.0
"""A key that has rested may ask as much at once as otherwise in so many seconds."""


class Gate:
    """What every request passes."""

    def __init__(
        self,
        app: ASGIApp,
        doorkeeper: Doorkeeper,
        streams: OpenStreams,
        settings: WebSettings,
        form_of: FormOf,
    ) -> None:
        self._app = app
        self._doorkeeper, self._streams, self._settings = doorkeeper, streams, settings
        self._form_of = form_of
        self._buckets = Buckets(KEYS_LIMIT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        head = read_head(scope, self._settings.trusted_proxies)
        answering = Answering(send, head)
        try:
            with given_traceparent(head.header("traceparent")):
                await self._answer(head, scope, receive, answering)
        except Exception as error:
            if answering.has_begun:
                raise
            problem = problem_of(error)
            if problem is None:
                logger.exception("request_failed")
                problem = Problem(500, "internal_error", "the gateway failed over this request")
            await self._form_of(head.path)(problem)(scope, receive, answering.send)
        finally:
            answering.log()

    async def _answer(
        self, head: RequestHead, scope: Scope, receive: Receive, answering: Answering
    ) -> None:
        origins = self._settings.allowed_origins
        answering.headers = cors_headers(head, origins)
        given = scope.get("state", {}).get("caller")
        if isinstance(given, Caller):  # an application around the gateway knows who calls
            visitor = Visitor(given)
        else:
            visitor = await self._doorkeeper.admit(head)
        answering.key_id = visitor.caller.key_id
        if is_preflight(head):
            status = 204 if self._doorkeeper.may_ask(head) else 403
            await Response(status_code=status)(scope, receive, answering.send)
            return
        self._count(visitor)
        most = visitor.key.body_limit_bytes if visitor.key else None
        stream = Stream(
            self._streams, scope, answering.send, visitor.caller.key_id, self._streams_of(visitor)
        )
        limited = receive if most is None else _limited(head, receive, most)
        await stream.run(self._app, _admitted(scope, head, visitor, answering), limited)

    def _count(self, visitor: Visitor) -> None:
        """Take a request from the key's budget. Raises Problem where there is none."""
        if visitor.key is None:
            return
        per_s = visitor.key.requests_per_s or self._settings.requests_per_s
        wait_s = self._buckets.take(visitor.caller.key_id, per_s, per_s * BURST_S, time.monotonic())
        if wait_s:
            raise Problem(
                429,
                "rate_limited",
                f"too many requests: at most {per_s:g} a second with this key at one gateway",
                retry_after_s=wait_s,
            )

    def _streams_of(self, visitor: Visitor) -> int | None:
        if visitor.key is None:
            return None
        return self._settings.streams if visitor.key.streams is None else visitor.key.streams


def _admitted(
    scope: Scope, head: RequestHead, visitor: Visitor, answering: Answering
) -> dict[str, object]:
    """Return the scope with who calls, and with the addresses by which the request came.

    The routes of an application around the gateway are none of its own.
    """
    state = {
        **scope.get("state", {}), "caller": visitor.caller, "request_id": answering.request_id,
    }  # fmt: skip
    host = head.header("host").encode("latin-1")
    headers = [
        (name, host if name.lower() == b"host" else value) for name, value in scope["headers"]
    ]
    kept = {name: value for name, value in scope.items() if name not in ("router", "endpoint")}
    return {
        **kept,
        "state": state,
        "headers": headers,
        "scheme": head.scheme,
        "path": head.prefix + head.path,
        "root_path": head.prefix,
        "app_root_path": head.prefix,
    }


def _limited(head: RequestHead, receive: Receive, most: int) -> Receive:
    """Return what receives a body of at most so many bytes, and raises Problem for more."""
    problem = Problem(
        413,
        "too_large",
        f"this key may send {most:,} bytes at most",
        headers={"Connection": "close"},
    )
    length, size = head.header("content-length"), 0
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > most):
        raise problem

    async def received() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise problem
        return message

    return received
