"""Mount the gateway in an application of your own, which knows its users itself.

Needs REDIS_URL (or `everfold up` on this machine). FastAPI mounts it with the same lines. Clients
of ComfyUI then use http://127.0.0.1:8000/comfy as their address; try
curl -H "Authorization: Bearer token-of-ada" http://127.0.0.1:8000/comfy/api/v2/jobs
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from everfold import Everfold, web

USERS = {"Bearer token-of-ada": "ada", "Bearer token-of-bob": "bob"}


class KnownUsers:
    """Says who calls. A gateway that is told so asks for no key of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            user = USERS.get(Headers(scope=scope).get("authorization", ""))
            if user is None:
                await PlainTextResponse("who are you?", 401)(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = web.Caller(role="user", user=user)
        await self.app(scope, receive, send)


@contextlib.asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[None]:
    namespace = os.environ.get("EVERFOLD_NAMESPACE", "everfold")
    async with Everfold.connect(namespace=namespace) as everfold:
        everfold.log.retry_for_s = 3.0  # a request does not wait longer for Redis
        gateway = web.app(everfold)
        application.mount("/comfy", gateway)
        async with gateway.router.lifespan_context(gateway):
            yield


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"hello {request.state.caller.user}\n")


application = Starlette(
    routes=[Route("/hello", hello)], middleware=[Middleware(KnownUsers)], lifespan=lifespan
)

if __name__ == "__main__":
    uvicorn.run(application, port=int(os.environ.get("PORT", "8000")), log_level="warning")
