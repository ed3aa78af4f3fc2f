"""Several users of one gateway, each told by a header of the test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from everfold import Everfold
from everfold.web.caller import Caller
from tests.support.programs.stack import Stack
from tests.web.site import Site, serving

HEADER = b"x-test-user"


def told_by_header(application: ASGIApp) -> ASGIApp:
    """Let a header say who calls, as keys do."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        found = dict(scope.get("headers", ())).get(HEADER)
        if found is not None:
            user = found.decode()
            state = {"caller": Caller(role="user", user=user, key_id=f"key of {user}")}
            scope = {**scope, "state": {**scope.get("state", {}), **state}}
        await application(scope, receive, send)

    return wrapped


@contextlib.asynccontextmanager
async def serving_users(everfold: Everfold, stack: Stack) -> AsyncIterator[Site]:
    """Serve several users."""
    async with serving(everfold, stack, wrap=told_by_header) as site:
        yield site


def client_of_user(site: Site, user: str) -> httpx.AsyncClient:
    """Return the client of one user."""
    headers = {HEADER.decode(): user}
    return httpx.AsyncClient(base_url=site.url, timeout=30, headers=headers)
