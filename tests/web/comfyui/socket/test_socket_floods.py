"""Frames of which no message comes: they cost a bounded amount, whoever sends them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode

from everfold.web.comfyui.socket import client_socket
from everfold.web.serving import bounded_socket, unread
from tests.support.wait import eventually
from tests.web.comfyui.socket.client import connected
from tests.web.comfyui.socket.test_socket_traffic import deaf, remaining, submitted
from tests.web.site import Site

pytestmark = pytest.mark.anyio


def frames_of(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


PING = frames_of(Opcode.PING, b"x" * 125)
PONG = frames_of(Opcode.PONG, b"x" * 125)
BEGIN, MORE = frames_of(Opcode.TEXT, b"", fin=False), frames_of(Opcode.CONT, b"", fin=False)
END = frames_of(Opcode.CONT, b"", fin=True)


def send_raw(connection: ClientConnection, sent: bytes) -> None:
    connection.transport.write(sent)


@pytest.mark.parametrize(
    ("flood", "code"),
    [
        (PING * 200, 1008),
        (PONG * 200, 1008),
        (BEGIN + MORE * 2_000, 1009),
    ],
)
async def test_a_flood_ends_the_socket_with_its_code(site: Site, flood: bytes, code: int) -> None:
    async with connected(site.url, "ada") as client, connected(site.url, "bob") as other:
        send_raw(client.connection, flood)
        await eventually(lambda: client.closed, 10)
        assert client.closed
        assert client.closed[0] == code
        assert other.closed is None


async def test_a_few_of_them_are_taken(site: Site) -> None:
    fragments = BEGIN + MORE * (bounded_socket.MOST_FRAGMENTS - 2) + END
    async with connected(site.url, "ada") as client:
        send_raw(client.connection, PONG * 20 + fragments + PING * 20 + fragments)
        await asyncio.wait_for(await client.connection.ping(), 10)
        await submitted(site.everfold, "ada")
        await eventually(lambda: len(remaining(client)) == 2, 10)
        assert client.closed is None


async def test_one_who_pings_and_does_not_read_is_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "TAKEN_WITHIN_S", 0.5)
    monkeypatch.setattr(client_socket, "CLOSE_WITHIN_S", 0.1)
    loop = asyncio.get_running_loop()
    async with deaf(site.url, "deaf") as peer:
        await eventually(lambda: len(site.gateway.hub) == 1, 10)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    await loop.sock_sendall(peer, PING * 1_000)
        await eventually(lambda: len(site.gateway.hub) == 0, 10)
