"""What watches a process is answered, and costs it little whatever it sends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from everfold.listening import small_http
from everfold.listening.small_http import CONNECTIONS_LIMIT, Answer, SmallHttp
from everfold.listening.sockets import listen
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


class Peer:
    """Sends raw bytes to a small server."""

    def __init__(self, port: int, served: SmallHttp | None = None) -> None:
        self.port = port
        self.served = served

    async def ask(self, sent: bytes) -> bytes:
        """Send it all, and return all that comes until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(sent)
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            await _close(writer)

    async def get(self, path: str, *headers: str, method: str = "GET") -> bytes:
        lines = (f"{method} {path} HTTP/1.1", *headers, "", "")
        return await self.ask("\r\n".join(lines).encode())


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async def hello() -> Answer:
        return Answer(b"hello\n")

    async def broken() -> Answer:
        raise ValueError("a secret")

    async def large() -> Answer:
        return Answer(b"x" * 32_000_000)

    [one] = listen("127.0.0.1", 0)
    answers = {"/hello": hello, "/broken": broken, "/large": large}
    served = SmallHttp([one], answers)
    async with served.serve():
        yield Peer(one.getsockname()[1], served)


async def test_an_answer_comes_whole_and_the_connection_ends(peer: Peer) -> None:
    found = await peer.get("/hello?x=1", "Host: 127.0.0.1")

    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"hello\n"
    assert b"Content-Length: 6" in head
    assert b"Connection: close" in head
    assert (await peer.get("/hello", method="HEAD")).endswith(b"\r\n\r\n")


async def test_a_large_answer_is_not_cut(peer: Peer) -> None:
    assert (await peer.get("/large")).endswith(b"\r\n\r\n" + b"x" * 32_000_000)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"POST /hello HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"GET /hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /hello SPDY/3\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"z" * 1_000_000, 431),
        (b"GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /hello HTTP/1.1\r\nHost: [::1]:9\r\n\r\n", 200),
        (b"GET /hello HTTP/1.1\r\nhOsT: localhost:9\r\n\r\n", 200),
        (b"GET /broken HTTP/1.1\r\n\r\n", 500),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_strange_requests_have_an_answer(peer: Peer, sent: bytes, status: int) -> None:
    found = await peer.ask(sent)

    assert found.startswith(b"HTTP/1.1 %d " % status)
    assert b"secret" not in found


async def test_a_peer_that_never_ends_its_head_is_told_so(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_http, "HEAD_WITHIN_S", 0.1)

    assert b" 408 " in await peer.ask(b"GET /hello HTTP/1.1\r\n")


async def test_a_peer_that_does_not_read_is_dropped(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_http, "ANSWER_WITHIN_S", 0.2)
    monkeypatch.setattr(small_http, "CLOSED_WITHIN_S", 0.1)
    served = peer.served
    assert served is not None
    with socket.create_connection(("127.0.0.1", peer.port)) as silent:
        silent.sendall(b"GET /large HTTP/1.1\r\n\r\n")

        await eventually(lambda: served.connections == 1)
        await eventually(lambda: served.connections == 0)


async def test_silent_connections_shut_nobody_out(peer: Peer) -> None:
    silent = [
        await asyncio.open_connection("127.0.0.1", peer.port) for _ in range(CONNECTIONS_LIMIT * 2)
    ]

    assert b"hello" in await peer.get("/hello")
    assert await asyncio.wait_for(_end(silent[0][0]), 10)
    for _, writer in silent:
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _end(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def test_an_answer_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_http, "ANSWER_WITHIN_S", 0.1)
    [one] = listen("127.0.0.1", 0)

    async def never() -> Answer:
        await asyncio.sleep(3_600)
        return Answer(b"")

    async with SmallHttp([one], {"/": never}).serve():
        assert b" 503 " in await Peer(one.getsockname()[1]).get("/")


async def test_the_end_of_the_process_ends_what_is_open() -> None:
    [one] = listen("127.0.0.1", 0)
    async with SmallHttp([one], {}).serve():
        reader, writer = await asyncio.open_connection(*one.getsockname())
        writer.write(b"GET")
        await writer.drain()

    assert await asyncio.wait_for(_end(reader), 10)
    await _close(writer)


def test_a_peer_that_goes_before_its_answer_is_no_error_in_either_event_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def gone_before_its_answer() -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def slow() -> Answer:
            asked.set()
            await gone.wait()
            return Answer(b"late")

        [one] = listen("127.0.0.1", 0)
        served = SmallHttp([one], {"/": slow})
        async with served.serve():
            _reader, writer = await asyncio.open_connection("127.0.0.1", one.getsockname()[1])
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await asked.wait()
            [theirs] = served._open
            writer.transport.abort()
            theirs.transport.abort()
            with contextlib.suppress(OSError):
                await theirs.wait_closed()
            gone.set()
            await eventually(lambda: served.connections == 0)

    for loop in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(gone_before_its_answer())
    assert not caplog.records
