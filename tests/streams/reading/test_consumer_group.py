"""A consumer group: what it was given stays pending until it is acknowledged."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.connections.replies import NoGroup
from everfold.streams.errors import Unavailable
from everfold.streams.events.event import Rewound
from everfold.streams.events.record import NO_ENTRY
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.support.servers import StartServer
from tests.support.trouble.fault_proxy import FaultProxy

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def job_with(log: Log, events: int) -> str:
    job_id = (await log.submit(GRAPH)).job_id
    for _ in range(events - 1):
        await log.append(job_id, Rewound(seen_seq=2, found_seq=1), epoch=0)
    return job_id


async def test_a_group_resumes_with_what_was_not_acknowledged(log: Log) -> None:
    job_id = await job_with(log, 4)
    partition = log.keys.partition_of(job_id)
    first = ConsumerGroup(log, "audit", "first", block_s=0.1)
    await first.create(partition)
    await first.create(partition)
    read = await first.read_new(partition)
    await first.acknowledge(partition, [read[0].entry_id])
    await first.aclose()
    second = ConsumerGroup(log, "audit", "second", block_s=0.1)
    assert await second.read_new(partition) == []
    assert (await second.pending(partition)).consumers == {"first": 3}
    await second.take_over_pending(partition)
    assert [record.seq for record in await second.read_pending(partition)] == [2, 3, 4]
    assert (await second.pending(partition)).consumers == {"second": 3}
    await command(log.redis, "XGROUP DESTROY", log.keys.log(partition), "audit")
    with pytest.raises(NoGroup):
        await second.read_new(partition)
    await second.aclose()


async def test_a_blocking_read_outlasts_the_time_limit_of_commands(log: Log) -> None:
    group = ConsumerGroup(log, "slow", "c", block_s=6.0)
    await group.create(0)
    with anyio.fail_after(12):
        assert await group.read_new(0) == []
    await group.aclose()


async def test_a_group_may_begin_behind_an_entry_and_begins_nowhere_by_itself(log: Log) -> None:
    job_id = await job_with(log, 6)
    third = (await job_events(log, job_id))[2].entry_id
    group = ConsumerGroup(log, "late", "c", block_s=0.05)
    with pytest.raises(NoGroup):
        await group.read_new(0)
    await group.create(0, after=third)
    await group.create(0, after=NO_ENTRY)
    assert [record.seq for record in await group.read_new(0)] == [4, 5, 6]
    await group.aclose()


async def test_each_entry_goes_to_one_consumer_of_a_group_and_to_every_group(log: Log) -> None:
    await job_with(log, 6)
    first, second, other = (
        ConsumerGroup(log, name, consumer, block_s=0.05)
        for name, consumer in (("a", "one"), ("a", "two"), ("b", "one"))
    )
    await first.create(0)
    await other.create(0)
    one, two = await first.read_new(0, most=4), await second.read_new(0)
    assert [record.seq for record in one] == [1, 2, 3, 4]
    assert [record.seq for record in two] == [5, 6]
    assert [record.seq for record in await other.read_new(0)] == [1, 2, 3, 4, 5, 6]
    pending = await first.pending(0)
    assert (pending.count, pending.first) == (6, one[0].entry_id)
    assert pending.consumers == {"one": 4, "two": 2}
    for group in (first, second, other):
        await group.aclose()


async def test_pending_entries_are_read_in_pages_and_acknowledged_once(log: Log) -> None:
    await job_with(log, 7)
    group = ConsumerGroup(log, "g", "c", block_s=0.05)
    await group.create(0)
    read = await group.read_new(0)
    page = await group.read_pending(0, most=3)
    rest = await group.read_pending(0, after=page[-1].entry_id)
    assert [*page, *rest] == read
    for _ in range(2):
        await group.acknowledge(0, [record.entry_id for record in page])
    await group.acknowledge(0, [])
    assert await group.read_pending(0) == rest
    await group.acknowledge(0, [record.entry_id for record in rest])
    pending = await group.pending(0)
    assert (pending.count, pending.first, pending.consumers) == (0, NO_ENTRY, {})
    await group.aclose()


async def test_everything_of_a_dead_consumer_is_inherited_however_much(log: Log) -> None:
    jobs = [await job_with(log, 50) for _ in range(24)]
    dead = ConsumerGroup(log, "g", "dead", block_s=0.05)
    await dead.create(0)
    assert len(await dead.read_new(0, most=5000)) == 50 * len(jobs)
    await dead.aclose()
    heir = ConsumerGroup(log, "g", "heir", block_s=0.05)
    await heir.take_over_pending(0)
    assert (await heir.pending(0)).consumers == {"heir": 1200}
    assert len(await heir.read_pending(0, most=5000)) == 1200
    await heir.aclose()


async def test_entries_whose_reply_was_lost_are_found_among_the_pending_ones(
    own_server: StartServer,
) -> None:
    server = own_server(tcp=True)
    async with (
        FaultProxy(server.url) as proxy,
        Log.open(proxy.url, namespace="lost", partitions=1) as log,
    ):
        await job_with(log, 5)
        group = ConsumerGroup(log, "g", "c", block_s=0.05)
        await group.create(0)
        rule = proxy.swallow_replies(1, containing=b"XREADGROUP")
        with pytest.raises(Unavailable):
            await group.read_new(0)
        await rule.used_up()
        while await group.read_new(0):
            pass
        assert [record.seq for record in await group.read_pending(0)] == [1, 2, 3, 4, 5]
        await group.aclose()


async def test_an_entry_that_was_trimmed_while_it_was_pending_is_a_value(log: Log) -> None:
    await job_with(log, 3)
    group = ConsumerGroup(log, "g", "c", block_s=0.05)
    await group.create(0)
    read = await group.read_new(0)
    await command(log.redis, "XTRIM", log.keys.log(0), "MAXLEN", 1)
    again = await group.read_pending(0)
    assert [record.entry_id for record in again] == [record.entry_id for record in read]
    assert [record.job_id == "" for record in again] == [True, True, False]
    await group.aclose()
