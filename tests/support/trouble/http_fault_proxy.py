"""A proxy between a client and an HTTP server that fails on demand, in the ways networks fail.

Rule: one request a connection, so that a fault meets exactly the requests that it is meant for. A
fault names them by bytes of their first line.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import SocketAttribute, SocketStream

from tests.support.trouble.fault_proxy import CHUNK_BYTES, LOST
from tests.support.trouble.faults import FaultRule, Faults


class Held:
    """A request that is never answered."""

    def __init__(self, number: int, *, arrives: bool) -> None:
        self.number, self.arrives = number, arrives
        self.came = anyio.Event()
        """Set once it has come, and arrived where it arrives."""


class HttpFaultProxy(Faults):
    """Listens on loopback, passes everything on to the server, and injects the faults."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self.target = (host, port)
        self.port = 0
        """Where it listens, once it has started."""
        self.seen = list[bytes]()
        """The first line of each request."""
        self._shortened = set[int]()
        self._cut = set[int]()
        self._held = Held(0, arrives=False)
        self.hanging = b""
        """Requests whose first line has these bytes are never answered; empty: none is so."""

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = listener.extra(SocketAttribute.local_port)
        self._tasks.start_soon(self._listen, listener)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    def shorten_bodies(self, count: int = 1, containing: bytes = b"") -> FaultRule:
        """Cut the last byte of the next bodies of this kind, as a broken store would."""
        rule = self._add(FaultRule(count, containing, request_arrives=True))
        self._shortened.add(id(rule))
        return rule

    def cut_replies(self, count: int = 1, containing: bytes = b"") -> FaultRule:
        """Pass on half of the next replies of this kind."""
        rule = self._add(FaultRule(count, containing, request_arrives=True))
        self._cut.add(id(rule))
        return rule

    def hold(self, number: int, *, arrives: bool) -> Held:
        """Never answer the request of this number, from 1; it reaches the server, or not."""
        self._held = Held(number, arrives=arrives)
        return self._held

    async def _listen(self, listener: anyio.abc.Listener[SocketStream]) -> None:
        async with listener:
            await listener.serve(self._serve)

    async def _serve(self, client: SocketStream) -> None:
        async with client:
            with suppress(*LOST):
                await self._pass_on(client)

    async def _pass_on(self, client: SocketStream) -> None:
        head, body = await _request(client)
        line = head.partition(b"\r\n")[0]
        self.seen.append(line)
        held = self._held if len(self.seen) == self._held.number else None
        if held and not held.arrives:
            held.came.set()
            await anyio.sleep_forever()
        if self.hanging and self.hanging in line:
            await anyio.sleep_forever()
        rule = self.rule_for(line)
        await self.gate(request=True)
        if rule and not rule.request_arrives:
            rule.apply()
            return
        if rule and id(rule) in self._shortened:
            old, new = (b"ontent-length: %d\r\n" % (len(body) - n) for n in (0, 1))
            head, body = head.replace(old, new), body[:-1]
        async with await anyio.connect_tcp(*self.target) as server:
            await server.send(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await self.travel(body, server.send)
            reply = await _all_of(server)
        if held:
            held.came.set()
            await anyio.sleep_forever()
        await self.gate(request=False)
        if rule:
            rule.apply()
        if rule and id(rule) in self._cut:
            await client.send(reply[: len(reply) // 2])
        if not rule or id(rule) in self._shortened:
            await self.travel(reply, client.send)
            client.extra(SocketAttribute.raw_socket).shutdown(socket.SHUT_WR)


async def _request(stream: SocketStream) -> tuple[bytes, bytes]:
    """Return the head of a request, with the empty line after it, and its body."""
    head, body = await stream.receive(CHUNK_BYTES), b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive(CHUNK_BYTES)
    head, end, body = head.partition(b"\r\n\r\n")
    sizes = [one for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")]
    left = int(sizes[0].partition(b":")[2]) - len(body) if sizes else 0
    pieces = [body]
    while left > 0:
        pieces.append(await stream.receive(CHUNK_BYTES))
        left -= len(pieces[-1])
    return head + end, b"".join(pieces)


async def _all_of(stream: SocketStream) -> bytes:
    pieces = list[bytes]()
    with suppress(anyio.EndOfStream):
        while True:
            pieces.append(await stream.receive(CHUNK_BYTES))
    return b"".join(pieces)
