"""A gateway that listens on a port of its own, in the test's event loop, and what is behind it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import httpx
from starlette.applications import Starlette
from starlette.types import ASGIApp

from everfold import Everfold
from everfold.web import WebSettings, app
from everfold.web.gateway import Gateway
from everfold.web.serving.gateway_server import web_server
from tests.support.programs.stack import Stack
from tests.support.wait import eventually


class Site:
    """A gateway, the client inside it, and the processes of its namespace."""

    def __init__(self, url: str, everfold: Everfold, stack: Stack, application: Starlette) -> None:
        self.url = url
        self.application = application
        self.gateway: Gateway = application.state.gateway
        self.everfold = everfold
        self.stack = stack


@contextlib.asynccontextmanager
async def serving(
    everfold: Everfold,
    stack: Stack,
    settings: WebSettings | None = None,
    wrap: Callable[[ASGIApp], ASGIApp] | None = None,
) -> AsyncIterator[Site]:
    """Serve a namespace on a free port of this machine until the context ends.

    `wrap` puts something around the application, such as another way to know who calls.
    """
    taken = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    application = app(everfold, settings)
    server = web_server(wrap(application) if wrap else application, lifespan="on")
    running = asyncio.create_task(server.serve([taken]))
    try:
        await eventually(lambda: server.started or running.done(), 10)
        yield Site(url, everfold, stack, application)
    finally:
        server.should_exit = True
        await running


@contextlib.asynccontextmanager
async def client_of(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of a gateway."""
    async with httpx.AsyncClient(base_url=site.url, timeout=20) as client:
        yield client
