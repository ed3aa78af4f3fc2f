"""Sends bytes to a gateway, and reads how it answers, within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from urllib.parse import urlsplit

from msgspec import Struct

from tests.web.fuzz.hostile import HostileRequest

ANSWER_WITHIN_S = 15.0
"""On a machine that does other things, too; a stream has begun by then."""
READ_LIMIT = 4 * 1024 * 1024


class WireAnswer(Struct, frozen=True):
    """How a request was answered."""

    request: HostileRequest
    status: int
    """0: the connection was closed without one; -1: nothing came in time."""
    head: str
    body: bytes
    took_s: float

    def __str__(self) -> str:
        return (
            f"{self.request.row}: {self.request.sent[:400]!r} -> {self.status} {self.body[:300]!r}"
        )


async def send(url: str, request: HostileRequest) -> WireAnswer:
    """Send one request on a connection of its own; never raises for what comes back."""
    parts = urlsplit(url)
    began_s = time.monotonic()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    status, head, body = 0, "", b""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            with contextlib.suppress(ConnectionError):
                writer.write(request.sent)
                await writer.drain()
            if not request.ends:
                await asyncio.sleep(0)
                return WireAnswer(request, 0, "", b"", time.monotonic() - began_s)
            has_body = not request.sent.startswith(b"HEAD ")
            status, head, body = await _read(reader, has_body=has_body)
    except TimeoutError:
        status = -1
    finally:
        writer.close()
        with contextlib.suppress(Exception):
            await writer.wait_closed()
    return WireAnswer(request, status, head, body, time.monotonic() - began_s)


async def _read(reader: asyncio.StreamReader, *, has_body: bool) -> tuple[int, str, bytes]:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
        return 0, "", b""
    head = raw.decode("latin-1")
    status = int(head.split(" ", 2)[1])
    if status == 100:
        return await _read(reader, has_body=has_body)
    if "text/event-stream" in head or status in (101, 204, 304) or not has_body:
        return status, head, b""
    body, length = b"", re.search(r"(?mi)^content-length: (\d+)", head)
    if length and "connection: close" not in head.lower():
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            body = await reader.readexactly(min(int(length[1]), READ_LIMIT))
        return status, head, body
    with contextlib.suppress(ConnectionError):
        while len(body) < READ_LIMIT and (part := await reader.read(65_536)):
            body += part
    return status, head, body
