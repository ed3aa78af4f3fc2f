"""Clients of a gateway that cost little: they count what comes, and read little of it.

They speak HTTP/1.1 on plain sockets, so that what is measured is the gateway.
"""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import urlsplit

FRAME_BEGINS = b"event: "
ENDED = b'"succeeded"'


class Watcher(asyncio.Protocol):
    """Counts the messages of one event stream."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.frames = 0
        self.began = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        """When the end of the job was told, by this machine's clock."""
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        whole = self._tail + data
        self.frames += whole.count(FRAME_BEGINS) - self._tail.count(FRAME_BEGINS)
        self._tail = whole[-64:]
        if not self.began.done() and b"\r\n\r\n" in whole:
            self.began.set_result(whole.partition(b"\r\n")[0])
        if not self.ended.done() and ENDED in whole:
            self.ended.set_result(time.time())

    def connection_lost(self, error: Exception | None) -> None:
        if not self.began.done():
            self.began.set_result(b"closed")


async def watch(base: str, path: str) -> Watcher:
    """Open a stream; raises RuntimeError where the answer is none."""
    place = urlsplit(base)
    loop = asyncio.get_running_loop()
    _, watcher = await loop.create_connection(
        lambda: Watcher(path), place.hostname or "", place.port or 80
    )
    async with asyncio.timeout(60):
        first = await watcher.began
    if b" 200 " not in first:
        raise RuntimeError(f"{path} was answered with {first!r}")
    return watcher


class Connection:
    """One connection that is kept, for one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._turn = reader, writer, asyncio.Lock()

    async def ask(self, method: str, path: str, body: object = None) -> object:
        """Send a request and return its answer's JSON; raises RuntimeError unless it is a 2xx."""
        async with self._turn:
            return await self._ask(method, path, body)

    async def _ask(self, method: str, path: str, body: object) -> object:
        content = b"" if body is None else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if content else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}"
        self._writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.decode().lower().split("\r\n")
        length = next(
            int(line.split(":")[1]) for line in lines if line.startswith("content-length")
        )
        found = await self._reader.readexactly(length)
        if not lines[0].split()[1].startswith("2"):
            raise RuntimeError(f"{method} {path}: {lines[0]} {found[:200]!r}")
        return json.loads(found)

    def close(self) -> None:
        self._writer.close()


async def connection(base: str) -> Connection:
    place = urlsplit(base)
    return Connection(*await asyncio.open_connection(place.hostname or "", place.port or 80))
