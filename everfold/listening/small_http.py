"""Answers GET requests of machines that watch a process: scrapes and probes.

Rule: a peer costs a fixed amount of memory and time. One request a connection; its head is bounded
in bytes and in time, so is the answer; where there are too many connections the oldest goes. What
is only for this machine answers no name of another one, which a page in a browser may use.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from everfold.listening.sockets import is_private
from everfold.streams.border.logger import get_logger

logger = get_logger("everfold.listening")

HEAD_LIMIT_BYTES = 8 * 1024
HEAD_WITHIN_S = 5.0
ANSWER_WITHIN_S = 20.0
"""Seconds for making an answer and sending it; a scrape of Prometheus waits 10 by default."""
CLOSED_WITHIN_S = 0.5
"""Seconds for which a peer may close first."""
CONNECTIONS_LIMIT = 64

REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 421: "Misdirected Request", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip


class Answer(Struct, frozen=True):
    """What is sent."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


Answering = Callable[[], Awaitable[Answer]]


def refusal(status: int) -> Answer:
    """Return an answer that says no more than its status."""
    return Answer(f"{REASONS[status]}\n".encode(), status)


class SmallHttp:
    """Answers the requests that come by some sockets; each path has one answer."""

    def __init__(self, sockets: Sequence[socket.socket], answers: Mapping[str, Answering]) -> None:
        self._sockets, self._answers = list(sockets), dict(answers)
        self._is_private = is_private(self._sockets)
        self._open = dict[asyncio.StreamWriter, asyncio.Task[None] | None]()
        """The connections, the oldest first."""

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Answer while the context is open; then close everything at once."""
        servers = [
            await asyncio.start_server(self._connected, sock=one, limit=HEAD_LIMIT_BYTES)
            for one in self._sockets
        ]
        try:
            yield
        finally:
            for server in servers:
                server.close()
            for writer, task in list(self._open.items()):
                _abort(writer, task)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(self._open) >= CONNECTIONS_LIMIT:
            oldest = next(iter(self._open))
            _abort(oldest, self._open.pop(oldest))
        self._open[writer] = asyncio.current_task()
        try:
            await self._answer_one(reader, writer)
        except (OSError, RuntimeError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the peer has gone (RuntimeError: uvloop), was too slow, or the process ends
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            method, answer = "GET", refusal(431)
        except TimeoutError:
            method, answer = "GET", refusal(408)
        else:
            method, answer = await self._answer(head.decode("latin-1"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                writer.transport.set_write_buffer_limits(0)
                writer.write(_written(answer, with_body=method != "HEAD"))
                await writer.drain()
                writer.write_eof()
        # Closing before the peer does, with input unread, would reset its answer away.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSED_WITHIN_S):
                while await reader.read(HEAD_LIMIT_BYTES):
                    pass

    async def _answer(self, head: str) -> tuple[str, Answer]:
        line, _, rest = head.partition("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "GET", refusal(400)
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return method, refusal(405)
        if self._is_private and not _is_this_machine(_host(rest)):
            return method, refusal(421)
        answering = self._answers.get(target.partition("?")[0])
        if answering is None:
            return method, refusal(404)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return method, await answering()
        except TimeoutError:
            return method, refusal(503)
        except Exception:
            logger.exception("answer_failed path=%r", target)
            return method, refusal(500)


def _abort(writer: asyncio.StreamWriter, task: asyncio.Task[None] | None) -> None:
    writer.transport.abort()
    if task is not None:
        task.cancel()


def _written(answer: Answer, *, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {REASONS[answer.status]}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    head = "\r\n".join((*lines, "", "")).encode("latin-1")
    return head + answer.body if with_body else head


def _host(headers: str) -> str:
    for line in headers.split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "host":
            return value.strip()
    return ""


def _is_this_machine(host: str) -> bool:
    """Say whether a Host header names no other machine: none, localhost, or an address."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name.lower() in ("", "localhost"):
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False
