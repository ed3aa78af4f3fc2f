"""A socket that is closed between two commands, in each event loop that programs use."""

from __future__ import annotations

import asyncio

import pytest
import redis.exceptions as theirs

from everfold.streams.connections.connection import PatientConnection, packed
from everfold.streams.redis.server import connect

uvloop = pytest.importorskip("uvloop")


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_socket_that_was_closed_is_an_outage_in_each_event_loop(
    server_url: str, loop: type[asyncio.AbstractEventLoop]
) -> None:
    async def send_on_a_closed_one() -> None:
        redis = connect(server_url)
        pool = redis.connection_pool
        connection: PatientConnection = await pool.get_connection()  # type: ignore[no-untyped-call]
        for _ in range(2):  # it is opened anew
            await connection.send_packed_command(packed(("PING",)))
            assert await connection.read_response() == b"PONG"
            writer = connection._writer
            assert writer is not None
            connection.cut()
            await writer.wait_closed()
            connection._writer = writer
            with pytest.raises(theirs.ConnectionError):
                await connection.send_packed_command(packed(("PING",)), check_health=False)
        await redis.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(send_on_a_closed_one())
