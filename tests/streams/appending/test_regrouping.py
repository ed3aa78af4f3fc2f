"""Partitions that move between nodes while they are followed: nothing is lost, nothing doubled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.events.event import CancelRequested
from everfold.streams.events.record import Recorded
from everfold.streams.live.live_tail import tail_with_live
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import partition_page, tail_partitions
from tests.support.groups.split_redis import SplitRedis, split_log
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

PARTITIONS = 4
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}

Pages = AsyncIterator[tuple[int, list[Recorded]]]
Follow = Callable[[Log], AbstractAsyncContextManager[AsyncIterator[tuple[int, list[Recorded]]]]]


class _WithLive(AbstractAsyncContextManager[Pages]):
    def __init__(self, log: Log) -> None:
        self._tail = tail_with_live(log)

    async def __aenter__(self) -> Pages:
        batches = await self._tail.__aenter__()
        return ((batch.partition, batch.records) async for batch in batches)

    async def __aexit__(self, *error: object) -> None:
        await self._tail.__aexit__(*error)  # type: ignore[arg-type]


async def move_for_ever(log: Log, proxy: FaultProxy) -> None:
    """Move partitions to and fro, cut connections, and say so as a router does."""
    turn = 0
    while True:
        await anyio.sleep(0.03)
        turn += 1
        if turn % 7 == 0:
            proxy.cut()
        assert isinstance(log.redis, SplitRedis)
        log.redis.behind = {turn % PARTITIONS, (turn // 3) % PARTITIONS}
        log.redis.changes.rise()


async def write(log: Log, count: int) -> None:
    for _ in range(count):
        job_id = (await log.submit(GRAPH)).job_id
        await log.append(job_id, CancelRequested(), epoch=0)


@pytest.mark.parametrize("follow", [tail_partitions, _WithLive])
async def test_a_tail_tells_each_event_once_while_partitions_move(
    server_url: str, namespace: str, follow: Follow
) -> None:
    told: dict[int, list[str]] = defaultdict(list)
    async with (
        FaultProxy(server_url) as proxy,
        split_log(server_url, proxy, namespace, partitions=PARTITIONS, behind=[0]) as log,
        Log.open(server_url, namespace=namespace) as writer,
        anyio.create_task_group() as tasks,
        follow(log) as batches,
    ):

        async def read() -> None:
            async for partition, records in batches:
                told[partition] += [record.entry_id for record in records]

        tasks.start_soon(read)
        async with anyio.create_task_group() as moves:
            moves.start_soon(move_for_ever, log, proxy)
            await write(writer, 150)
            # On a busy machine a read takes longer than there is from one move to the next.
            moves.cancel_scope.cancel()

        async def is_told() -> bool:
            for partition in range(PARTITIONS):
                page = await partition_page(writer, partition, "0-0", 1000)
                if [record.entry_id for record in page] != told[partition]:
                    return False
            return True

        try:
            await eventually(is_told, 30)
        finally:
            tasks.cancel_scope.cancel()
    assert sum(map(len, told.values())) == 300


async def test_a_consumer_group_reads_on_where_its_partition_is(
    server_url: str, namespace: str
) -> None:
    async with (
        FaultProxy(server_url) as proxy,
        split_log(server_url, proxy, namespace, partitions=1, behind=[0]) as log,
    ):
        group = ConsumerGroup(log, "g", "c", block_s=5.0)
        await group.create(0)
        await log.submit(GRAPH)
        assert len(await group.read_new(0)) == 1
        assert isinstance(log.redis, SplitRedis)
        log.redis.behind = set()
        log.redis.changes.rise()
        proxy.black_hole()
        await log.submit(GRAPH)

        assert len(await group.read_new(0)) == 1
        await group.aclose()
