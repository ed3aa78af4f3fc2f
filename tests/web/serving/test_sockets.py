"""The sockets of a gateway."""

from __future__ import annotations

import asyncio
import socket

import pytest

from everfold.listening.sockets import listen
from everfold.web.serving.gateway_server import KEEP_ALIVE_S, web_server

pytestmark = pytest.mark.anyio


async def test_an_answer_in_two_pieces_does_not_wait_for_the_ack_of_the_first() -> None:
    [listening] = listen("127.0.0.1", 0)
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made = writer.get_extra_info("socket")
        found.set_result(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(accepted, sock=listening):
        with socket.create_connection(listening.getsockname()):
            assert await asyncio.wait_for(found, 10)


async def test_a_connection_outlives_the_pauses_of_common_clients() -> None:
    async def nothing(*_: object) -> None: ...

    assert web_server(nothing).config.timeout_keep_alive == KEEP_ALIVE_S >= 75
