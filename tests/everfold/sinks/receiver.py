"""A receiver of messages: a real HTTP server that notes what comes and answers as it is told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable

import anyio
from aiohttp import web
from msgspec import Struct


class Message(Struct, frozen=True):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


class Receiver:
    def __init__(self) -> None:
        self.url = ""
        self.messages: list[Message] = []
        """All that came, those that were not taken too."""
        self.answer: Callable[[Message], web.StreamResponse] = lambda _: web.Response(status=204)
        self.silent = False
        self._hung_up = anyio.Event()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._receive)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield
        finally:
            self._hung_up.set()
            await runner.cleanup()

    def hang_up(self) -> None:
        """Answer what waits, and from now on everything."""
        self.silent = False
        self._hung_up.set()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        message = Message(request.path, headers, await request.read())
        self.messages.append(message)
        if self.silent:
            await self._hung_up.wait()
        return self.answer(message)
