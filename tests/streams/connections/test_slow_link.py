"""A slow link and large values: what makes progress is never timed out, nor sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.connections.pipelining import BATCH_BYTES, PipeliningRedis
from everfold.streams.errors import ServerUnreachable
from everfold.streams.events.event import Progressed
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect
from tests.support.trouble.fault_proxy import FaultProxy

pytestmark = pytest.mark.anyio

TIMEOUT_S = 0.4
SLOW = 400_000
"""Bytes a second of the slow link."""


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server_url) as proxy:
        yield proxy


@pytest.fixture
async def redis(proxy: FaultProxy) -> AsyncIterator[PipeliningRedis]:
    client = connect(proxy.url, timeout_s=TIMEOUT_S)
    yield client
    await client.aclose()


async def test_a_large_command_and_a_large_reply_have_the_time_that_they_need(
    redis: PipeliningRedis, proxy: FaultProxy, namespace: str
) -> None:
    key, value = f"{{{namespace}:0}}:x", "A" * 700_000
    proxy.bytes_per_s = SLOW
    assert await command(redis, "SET", key, value) == b"OK"
    assert await command(redis, "GET", key) == value.encode()


async def test_many_commands_at_once_are_sent_in_pieces_and_each_once(
    redis: PipeliningRedis, proxy: FaultProxy, namespace: str
) -> None:
    key, value = f"{{{namespace}:0}}:x", "A" * 60_000
    await command(redis, "PING")
    proxy.bytes_per_s = SLOW
    asked = [command(redis, "APPEND", key, value) for _ in range(20)]
    assert sorted(map(int, map(str, await asyncio.gather(*asked)))) == [
        60_000 * n for n in range(1, 21)
    ]


async def test_a_write_is_no_larger_than_its_limit(
    redis: PipeliningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    kind = redis.connection_pool.connection_class
    send = kind.send_packed_command

    async def counted(self: object, sent: bytes, check_health: bool = True) -> None:
        writes.append(len(sent))
        await send(self, sent, check_health)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "send_packed_command", counted)
    await asyncio.gather(*[command(redis, "ECHO", "A" * 60_000) for _ in range(20)])
    sent = [size for size in writes if size > 1000]
    assert max(sent) <= BATCH_BYTES
    assert len(sent) == 5


async def test_a_server_that_says_nothing_is_still_given_up(
    redis: PipeliningRedis, proxy: FaultProxy
) -> None:
    await command(redis, "PING")
    proxy.black_hole()
    with pytest.raises(ServerUnreachable), anyio.fail_after(TIMEOUT_S * 3):
        await command(redis, "PING")
    proxy.lift()


async def test_a_reader_that_blocks_bears_a_reply_that_takes_long(
    proxy: FaultProxy, namespace: str
) -> None:
    key = f"{{{namespace}:0}}:x"
    client = connect(proxy.url, timeout_s=TIMEOUT_S)
    reader = client.blocking(key, name="reader", block_s=0.1)
    await command(reader, "XADD", key, "*", "d", "A" * 600_000)
    proxy.bytes_per_s = SLOW
    reply = await command(reader, "XREAD", "STREAMS", key, "0")
    assert "A" * 600_000 in str(reply)
    proxy.black_hole()
    with pytest.raises(ServerUnreachable):
        await command(reader, "XREAD", "STREAMS", key, "0")
    proxy.lift()
    await reader.aclose()
    await client.aclose()


async def test_appends_of_several_megabytes_are_written_once_each(
    proxy: FaultProxy, namespace: str
) -> None:
    async with Log.open(proxy.url, namespace=namespace, partitions=1) as log:
        producer = Producer(log, "r1")
        for _ in range(8):
            await log.submit({"1": {"class_type": "A", "inputs": {}}})
        leases = await producer.claim(8)
        proxy.bytes_per_s = 3_000_000
        log.redis.at("")._timeout_s = TIMEOUT_S
        log.retry_for_s = 0.0
        text = "x" * 900_000
        events = [
            Progressed(attempt=1, value=0.1, nodes_done=0, nodes_total=1, node=text) for _ in leases
        ]
        pairs = zip(leases, events, strict=True)
        found = await asyncio.gather(*[producer.append(lease, event) for lease, event in pairs])
        assert [(one.seq, one.duplicate) for one in found] == [(3, False)] * 8
