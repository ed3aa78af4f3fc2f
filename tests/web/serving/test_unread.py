"""Who does not read what was asked for loses the connection; what waits for it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from everfold.web.serving import unread
from tests.support.wait import eventually
from tests.web.site import Site, client_of

pytestmark = pytest.mark.anyio

LARGE = b"x" * (4 * 1024 * 1024)
ASKED = b"GET /userdata/large.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
AT_ONCE = 4
"""Answers that one peer asks for: the kernel takes the first of them."""


@contextlib.asynccontextmanager
async def asking(site: Site, sent: bytes = ASKED * AT_ONCE) -> AsyncIterator[socket.socket]:
    """Connect and ask for large answers."""
    loop, address = asyncio.get_running_loop(), urlsplit(site.url)
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        made.setblocking(False)
        await loop.sock_connect(made, (address.hostname, address.port))
        await loop.sock_sendall(made, sent)
        yield made


async def is_cut(peer: socket.socket) -> bool:
    """Say whether the server has ended a connection, without reading what came before that."""
    with contextlib.suppress(BlockingIOError):
        try:
            peer.send(b"G")
        except (ConnectionResetError, BrokenPipeError):
            return True
    return False


@pytest.fixture
async def large(client: httpx.AsyncClient) -> None:
    answer = await client.post("/userdata/large.bin", content=LARGE)
    assert answer.status_code == 200


@pytest.mark.parametrize("head", [b"", b"Connection: close\r\n"])
async def test_who_reads_nothing_is_cut_off(
    site: Site, large: None, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(unread, "TAKEN_WITHIN_S", 0.5)
    sent = ASKED * (AT_ONCE - 1) + ASKED[:-2] + head + b"\r\n"
    async with asking(site, sent) as peer, client_of(site) as other:
        await eventually(lambda: is_cut(peer), 10)
        assert (await other.get("/userdata/large.bin")).content == LARGE


async def test_who_reads_slowly_is_waited_for(
    site: Site, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "TAKEN_WITHIN_S", 2.0)
    loop, left = asyncio.get_running_loop(), AT_ONCE * len(LARGE)
    began_s = loop.time()
    async with asking(site) as peer:
        while left > 0:
            got = len(await loop.sock_recv(peer, 512 * 1024))
            assert got
            left -= got
            await asyncio.sleep(got / 3e6)  # so many bytes a second
    assert loop.time() - began_s > 2 * unread.TAKEN_WITHIN_S


async def test_all_peers_together_have_a_bound(
    site: Site, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "UNREAD_LIMIT_BYTES", 2 * len(LARGE))
    behind, look = list[int](), unread.Unread.look

    def noted(self: unread.Unread, connections: Collection[unread.Connection], now: float) -> None:
        look(self, connections, now)
        behind.append(len(self._behind))

    monkeypatch.setattr(unread.Unread, "look", noted)
    async with AsyncExitStack() as exits:
        first = await exits.enter_async_context(asking(site))
        await eventually(lambda: bool(behind) and behind[-1] == 1, 10)
        peers = [await exits.enter_async_context(asking(site)) for _ in range(8)]
        await eventually(lambda: is_cut(first), 10)

        async def cut() -> int:
            return sum([await is_cut(peer) for peer in peers])

        assert await eventually(cut, 10) < len(peers)
