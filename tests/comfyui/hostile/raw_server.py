"""A server that breaks HTTP on purpose, byte by byte."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketAttribute, SocketStream


class Exchange:
    """One connection: what came in, and a way to answer."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.received = b""
        self.is_cut = False
        """True when the peer closed before the body was whole."""

    async def read_head(self) -> None:
        await self._read_until(lambda: b"\r\n\r\n" in self.received)

    async def read_request(self) -> None:
        await self.read_head()
        found = re.search(rb"content-length: (\d+)", self.received.lower())
        length = int(found[1]) if found else 0
        await self._read_until(lambda: len(self.body) >= length)

    @property
    def body(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2]

    async def _read_until(self, is_enough: Callable[[], bool]) -> None:
        try:
            while not is_enough():
                self.received += await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self.is_cut = True

    async def answer(self, status: int, body: bytes = b"", headers: bytes = b"") -> None:
        head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n" % (status, len(body), headers)
        await self.stream.send(head + body)


class RawServer:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.exchanges: list[Exchange] = []
        """One per connection."""


@asynccontextmanager
async def raw_server(serve: Callable[[Exchange], Awaitable[None]]) -> AsyncIterator[RawServer]:
    """Run `serve` for every connection, which is closed when it returns."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server = RawServer(listener.extra(SocketAttribute.local_port))

    async def accept(stream: SocketStream) -> None:
        exchange = Exchange(stream)
        server.exchanges.append(exchange)
        async with stream:
            await serve(exchange)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, accept)
        yield server
        group.cancel_scope.cancel()
