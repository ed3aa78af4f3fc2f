"""A gateway before a ComfyUI: it speaks TLS, wants a header or a client certificate, or neither.

Rule: it looks at the first request of each connection, and passes the rest on as it is.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from tests.support.network.certificates import Certificates


class AccessProxy:
    """A running gateway: `url` leads through it."""

    def __init__(self, target: str, wanted: str, answer: bytes, takes_sockets: bool) -> None:
        parts = urlsplit(target)
        self.url = ""
        self.refused = 0
        self.passed: list[str] = []
        """The first line of the first request of each connection."""
        self._target = (parts.hostname or "", parts.port or 80)
        self._wanted, self._answer = wanted, answer
        self._takes_sockets = takes_sockets
        self._tasks = set[asyncio.Task[None]]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the gateway ends
        finally:
            await _closed(writer)
            self._tasks.discard(task)

    async def end(self) -> None:
        """Cut every connection."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        if self._answer or (self._wanted and self._wanted.lower() not in lines):
            self.refused += 1
            writer.write(self._answer or refusal("401 Unauthorized"))
            await writer.drain()
            return
        if lines[0].startswith("get /ws?") and not self._takes_sockets:
            writer.write(refusal("400 Bad Request"))
            await writer.drain()
            return
        self.passed.append(lines[0])
        there, back = await asyncio.open_connection(*self._target)
        try:
            back.write(head)
            ways = (_carry(reader, back), _carry(there, writer))
            both = [asyncio.create_task(way) for way in ways]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            await _closed(back)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 1)
    writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()


def refusal(status: str, body: bytes = b"", headers: str = "") -> bytes:
    """Return an answer with this status line, such as `401 Unauthorized`."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


@asynccontextmanager
async def access_proxy(
    target: str,
    *,
    wanted: str = "",
    answer: bytes = b"",
    certificates: Certificates | None = None,
    name: str = "good",
    wants_client: bool = False,
    takes_sockets: bool = True,
) -> AsyncIterator[AccessProxy]:
    """Run a gateway before `target` that lets in what has the line `wanted` in its head.

    With `answer` it lets nobody in and gives that. With `certificates` it speaks TLS and shows the
    one of that `name`, and lets in only who shows one of `ours`, if it `wants_client`. Without
    `takes_sockets` it passes no websocket on.
    """
    context = None
    if certificates is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.certificate(name), certificates.key(name))
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(certificates.authority)
    proxy = AccessProxy(target, wanted, answer, takes_sockets)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", ssl=context)
    scheme = "https" if context else "http"
    proxy.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
