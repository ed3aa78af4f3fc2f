"""A balancer before several servers: each connection is passed on to one of them.

As a service of Kubernetes does, or nginx.

Rule: which one is chosen is up to the test; a connection stays with its server until it is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

CHUNK_BYTES = 65536


class Balancer:
    """A running balancer: `url` leads through it. `choose` returns the URL of a server for the
    connection of a number, from 0."""

    def __init__(self, choose: Callable[[int], str]) -> None:
        self.choose = choose
        self.url = ""
        self.connections = 0
        """How many have come."""
        self._tasks = set[asyncio.Task[None]]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        target = urlsplit(self.choose(self.connections))
        self.connections += 1
        try:
            with suppress(OSError):
                there, back = await asyncio.open_connection(target.hostname, target.port)
                await asyncio.gather(_pass(reader, back), _pass(there, writer))
        except asyncio.CancelledError:
            pass  # the balancer ends
        finally:
            writer.close()
            self._tasks.discard(task)

    async def cut(self) -> None:
        """Cut every connection."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                writer.write(chunk)
                await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def balanced(choose: Callable[[int], str]) -> AsyncIterator[Balancer]:
    """Run a balancer until the context ends."""
    balancer = Balancer(choose)
    listener = await asyncio.start_server(balancer.serve, "127.0.0.1", 0)
    balancer.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield balancer
    finally:
        listener.close()
        await balancer.cut()
