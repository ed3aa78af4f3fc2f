"""A proxy between a client and Redis that fails on demand, in the ways that networks fail.

Rule: the client never sees anything that a real network could not do to it. Faults that are meant
for one command name it by bytes that its request contains. Also a program of its own
(fault_control.py): python -m tests.support.trouble.fault_proxy --to redis://127.0.0.1:6379
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener

from tests.support.network import resp
from tests.support.trouble.faults import FaultRule, Faults

CHUNK_BYTES = 65536

ASIDE = b"*1\r\n$4\r\nPING\r\n"
"""Sent for a request that the server must not get: its answer keeps the place in the order."""

LOST = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)
"""How a stream says that the other side has gone."""


class FaultProxy(Faults):
    """Listens on loopback, passes everything on to `target`, and injects the faults that are set.

    `target` is redis://[user:password@]host:port[/db] or unix://path. Replies are matched to
    requests by order; do not set rules for connections that subscribe to channels.
    """

    def __init__(self, target: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__()
        self.target = target
        self.host = host
        self.port = port
        """Where it listens; 0 becomes the chosen port when it starts."""
        self.accepted = 0
        """How many connections were accepted so far."""
        self._links = set[Link]()
        self._listener: SocketListener | None = None
        self._held_port: socket.socket | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tasks.cancel_scope.cancel()
        self.cut()
        if self._held_port is not None:
            self._held_port.close()
        # The task group sees cancellation only: it would wrap other errors of the test in a group.
        if isinstance(error, Exception):
            await self._tasks.__aexit__(None, None, None)
        else:
            await self._tasks.__aexit__(kind, error, trace)

    @property
    def url(self) -> str:
        """What the client connects to, with the target's credentials and database."""
        parts = urlsplit(self.target)
        credentials, at, _ = parts.netloc.rpartition("@")
        path = "/0" if parts.scheme == "unix" else parts.path
        return urlunsplit(("redis", f"{credentials}{at}{self.host}:{self.port}", path, "", ""))

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    def cut(self) -> int:
        """Close all connections at once and say how many there were. New ones are accepted."""
        links = list(self._links)
        for link in links:
            link.close()
        return len(links)

    async def refuse(self) -> None:
        """Refuse new connections, as if no server were there. Open ones stay open."""
        if self._listener is None:
            return
        await self._listener.aclose()
        self._listener = None
        # Bound but not listening: the port stays ours, and connecting gives ECONNREFUSED.
        self._held_port = socket.socket()
        self._held_port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held_port.bind((self.host, self.port))

    async def accept(self) -> None:
        """Accept new connections (again)."""
        if self._held_port is not None:
            self._held_port.close()
            self._held_port = None
        if self._listener is None:
            multi = await anyio.create_tcp_listener(local_host=self.host, local_port=self.port)
            [listener] = multi.listeners
            assert isinstance(listener, SocketListener)
            self.port = listener.extra(SocketAttribute.local_port)
            self._listener = listener
            self._tasks.start_soon(self._accept, listener)

    async def heal(self) -> None:
        """Lift every fault and accept new connections; cut ones stay cut."""
        self.lift()
        await self.accept()

    async def _accept(self, listener: SocketListener) -> None:
        async with listener:
            while True:
                try:
                    client = await listener.accept()
                except anyio.ClosedResourceError:
                    return
                self.accepted += 1
                self._tasks.start_soon(self._connect, client)

    async def _connect(self, client: ByteStream) -> None:
        async with client:
            try:
                server = await _open(self.target)
            except OSError:
                return
            async with server:
                link = Link(self, client, server)
                self._links.add(link)
                try:
                    await link.run()
                finally:
                    self._links.discard(link)


class Link:
    """One client's connection, passed on to one connection to the server.

    Sockets are shut down and never waited for in a cancelled scope: anyio's unix sockets raise
    InvalidStateError in the event loop when a wait is cancelled while something arrives.
    """

    def __init__(self, faults: Faults, client: ByteStream, server: ByteStream) -> None:
        self._faults = faults
        self._client = client
        self._server = server
        self._awaited = deque[FaultRule | None]()
        """What happens to the replies that are still to come, in the requests' order."""
        self._open = anyio.CancelScope()

    async def run(self) -> None:
        with self._open:
            # Leaves here when the proxy has ended meanwhile: nobody would close this link.
            await anyio.lowlevel.checkpoint()
            async with anyio.create_task_group() as both:
                both.start_soon(self._until_lost, self._carry_requests)
                both.start_soon(self._until_lost, self._carry_replies)

    def close(self) -> None:
        self._open.cancel()
        for stream in (self._client, self._server):
            # It may have gone already.
            with suppress(OSError):
                stream.extra(SocketAttribute.raw_socket).shutdown(socket.SHUT_RDWR)

    async def _until_lost(self, carry: Callable[[], Awaitable[None]]) -> None:
        try:
            await carry()
        except LOST:
            pass
        finally:
            self.close()

    async def _carry_requests(self) -> None:
        rest = b""
        while True:
            requests, rest = resp.split(rest + await _received(self._client))
            await self._faults.gate(request=True)
            passing = b""
            for request in requests:
                rule = self._faults.rule_for(request)
                if rule and not rule.request_arrives:
                    await _send(self._server, passing)
                    return rule.apply()
                self._awaited.append(rule)
                passing += ASIDE if rule and rule.answers else request
            await self._faults.travel(passing, partial(_send, self._server))

    async def _carry_replies(self) -> None:
        rest = b""
        while True:
            replies, rest = resp.split(rest + await _received(self._server))
            await self._faults.gate(request=False)
            passing = b""
            for reply in replies:
                asked = self._awaited and not resp.is_push(reply)
                rule = self._awaited.popleft() if asked else None
                if rule and not rule.answers:
                    await _send(self._client, passing)
                    return rule.apply()
                passing += rule.answer if rule else reply
                if rule:
                    rule.apply()
            await self._faults.travel(passing, partial(_send, self._client))


async def _received(stream: ByteStream) -> bytes:
    with anyio.CancelScope(shield=True):
        received = await stream.receive(CHUNK_BYTES)
    return received  # noqa: RET504  # inside the scope, which may swallow, mypy misses a return


async def _send(stream: ByteStream, chunk: bytes) -> None:
    with anyio.CancelScope(shield=True):
        await stream.send(chunk)


async def _open(target: str) -> ByteStream:
    parts = urlsplit(target)
    if parts.scheme == "unix":
        return await anyio.connect_unix(parts.path)
    return await anyio.connect_tcp(parts.hostname or "127.0.0.1", parts.port or 6379)


if __name__ == "__main__":
    from tests.support.trouble.fault_control import main

    main()
