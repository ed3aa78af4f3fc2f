"""A client of one server answers as one of many does: it is the primary of every key."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from everfold.streams.connections.change import ChangeCount
from everfold.streams.errors import ServerUnreachable
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_every_key_is_at_the_one_server(server_url: str) -> None:
    redis = connect(server_url)

    assert redis.at("a") is redis
    assert redis.primaries() == [redis]
    assert redis.node_of("a") == redis.node_of("b") == redis.name

    await redis.aclose()


async def test_a_change_of_the_primary_ends_a_blocking_read(
    server_url: str, namespace: str
) -> None:
    redis, key = connect(server_url), f"{namespace}:x"
    reader = redis.blocking(key, name="reader", block_s=60.0)
    reading = asyncio.create_task(command(reader, "XREAD", "BLOCK", 60_000, "STREAMS", key, "0"))

    async def is_there() -> bool:
        return b"name=reader" in cast("bytes", await command(redis, "CLIENT", "LIST"))

    await eventually(is_there)
    seen = redis.version
    waiting = asyncio.create_task(redis.changed(seen))
    redis.primary_changed()

    assert await asyncio.wait_for(waiting, 5.0) == seen + 1
    with pytest.raises(ServerUnreachable):
        await asyncio.wait_for(reading, 5.0)
    assert await command(reader, "PING") == b"PONG"  # it connects anew
    assert await command(redis, "PING") == b"PONG"

    await reader.aclose()
    await redis.aclose()


async def test_nobody_misses_a_change() -> None:
    count = ChangeCount()
    early = asyncio.create_task(count.above(1))
    await asyncio.sleep(0)
    count.rise()
    count.rise()

    assert await asyncio.wait_for(early, 5.0) == 2
    assert await asyncio.wait_for(count.above(0), 5.0) == 2
