"""The gateway as a process of its own: it listens at once, reaches Redis, and ends within seconds.

Rule: Redis that is away ends nothing. What is wrongly set up ends the process with its sentence.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, cast

import anyio
import uvicorn
from prometheus_client.core import Metric
from starlette.types import ASGIApp

from everfold.client import Everfold
from everfold.listening.sockets import is_private
from everfold.metrics.namespace_source import NamespaceSource
from everfold.streams.errors import Misconfigured, Unavailable
from everfold.streams.redis.retry import Backoff
from everfold.web.access.key_store import stored_keys
from everfold.web.application import app
from everfold.web.gateway import Gateway
from everfold.web.serving.bounded_protocol import BoundedProtocol
from everfold.web.serving.bounded_socket import BoundedSocket
from everfold.web.serving.front import Front
from everfold.web.serving.unread import Connection, Unread
from everfold.web.settings import WebSettings

RETRY_FOR_S = 3.0
"""Seconds that a request waits for Redis; then its client is to come again."""

KEEP_ALIVE_S = 75
"""Seconds that a connection without a request is kept: longer than clients that poll keep theirs,
so that none sends into one that is being closed."""
PING_EVERY_S = 20.0
"""Seconds between two pings to a websocket: proxies close what is silent. No answer is waited for,
since ComfyUI waits for none, and scripts read theirs when they need it. TCP finds who has gone."""
STOP_WITHIN_S = 1
"""Seconds that answers under way have once streams are closed."""

NEEDS_KEYS = (
    "without keys the gateway listens on this machine's own addresses only: run `everfold keys add "
    "NAME --role operator` first, or leave --host out"
)

WEBSOCKET_LIMIT_BYTES = 1024 * 1024
"""Of one message that a client sends."""

Connect = Callable[[], AbstractAsyncContextManager[Everfold]]
"""Opens the client of the gateway alone. Raises Unavailable while Redis is away."""


class _LookingServer(uvicorn.Server):
    """uvicorn's, which looks whether what it has sent is read."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._unread = Unread()

    async def on_tick(self, counter: int) -> bool:
        """Do what is done ten times a second."""
        connections = cast("Collection[Connection]", self.server_state.connections)
        self._unread.look(connections, anyio.current_time())
        return await super().on_tick(counter)


def web_server(served: ASGIApp, *, lifespan: Literal["on", "off"] = "off") -> uvicorn.Server:
    """Return a server with a gateway's bounds, which leaves signals to its process."""
    config = uvicorn.Config(
        served,
        http=BoundedProtocol,
        ws=BoundedSocket,
        ws_max_size=WEBSOCKET_LIMIT_BYTES,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=None,
        ws_per_message_deflate=False,  # a quarter of a MiB for each socket
        log_config=None,
        access_log=False,
        lifespan=lifespan,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = _LookingServer(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    return server


async def _tell_nobody(_: Everfold) -> None:
    pass


class GatewayServer:
    """One gateway that listens on some sockets."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        connect: Connect,
        settings: WebSettings,
        on_wait: Callable[[str], None] = lambda _: None,
        on_ready: Callable[[Everfold], Awaitable[None]] = _tell_nobody,
    ) -> None:
        self._sockets, self._connect, self._settings = list(sockets), connect, settings
        self._on_wait = on_wait
        """Is told why Redis cannot be reached."""
        self._on_ready = on_ready
        """Is called once it is reached, and nothing is wrongly set up."""
        self._gateway: Gateway | None = None
        self._front = Front()
        self._stop, self._ended = anyio.Event(), anyio.Event()
        self._server = web_server(self._front)

    async def run(self) -> None:
        """Serve until `stop`. Raises what is wrong with the namespace or the settings."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow_redis)
            await self._server.serve(self._sockets)
            tasks.cancel_scope.cancel()
        self._ended.set()

    async def metrics(self) -> Iterable[Metric]:
        """Return what /metrics shows besides the measures of this process."""
        if self._gateway is None:
            return ()
        shown = await NamespaceSource(self._gateway.sampled)()
        return (*shown, *self._gateway.counters.registry.collect())

    def stop(self) -> None:
        """End streams and connections; `run` returns within about two seconds."""
        self._stop.set()

    async def end(self) -> None:
        """Stop, and wait for the end."""
        self.stop()
        await self._ended.wait()

    async def _follow_redis(self) -> None:
        """Open the gateway as soon as Redis is there, and keep it open until `stop`."""
        backoff, said = Backoff(first_s=0.2, most_s=2.0), ""
        while not self._stop.is_set():
            try:
                await self._serve_once()
            except Unavailable as error:
                if said != (said := str(error)):
                    self._on_wait(said)
                with anyio.move_on_after(backoff.next_s()):
                    await self._stop.wait()
        self._server.should_exit = True

    async def _serve_once(self) -> None:
        async with self._connect() as everfold:
            everfold.log.retry_for_s = RETRY_FOR_S
            if not is_private(self._sockets) and not await stored_keys(everfold.log):
                raise Misconfigured(NEEDS_KEYS)
            made = app(everfold, self._settings)
            async with made.router.lifespan_context(made):
                self._gateway = made.state.gateway
                self._front.open(made)
                await self._on_ready(everfold)
                await self._stop.wait()
                made.state.gateway.streams.close()
                self._server.should_exit = True
                # Answers under way need the client until they are done.
                await anyio.sleep_forever()
