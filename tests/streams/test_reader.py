"""Reading: all of a job, from a sequence number, a partition, and live."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from itertools import pairwise

import anyio
import pytest
from anyio.to_thread import run_sync

from streams.border import NoGroup, command
from streams.errors import JobUnknown
from streams.events import CancelRequested
from streams.group import ConsumerGroup
from streams.log import Log
from streams.reader import all_events, ends, job_events, partition_events, tail
from streams.record import entry_order
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


async def job_with(log: Log, events: int) -> str:
    job_id = (await log.submit(GRAPH)).job_id
    for _ in range(events - 1):
        await log.append(job_id, CancelRequested(), epoch=0)
    return job_id


async def test_a_long_history_is_read_in_pages_and_in_order(log: Log) -> None:
    job_id = await job_with(log, 1203)
    await job_with(log, 3)
    events = await job_events(log, job_id)
    assert [record.seq for record in events] == list(range(1, 1204))
    assert all(later.previous == earlier.entry_id for earlier, later in pairwise(events))
    assert [record.seq for record in await job_events(log, job_id, 1200)] == [1201, 1202, 1203]
    assert await job_events(log, job_id, 1203) == []
    with pytest.raises(JobUnknown):
        await job_events(log, "nobody")


async def test_where_the_log_was_trimmed_a_history_begins_later(log: Log) -> None:
    job_id = await job_with(log, 10)
    fifth = (await job_events(log, job_id))[4]
    key = log.keys.log(log.keys.partition_of(job_id))
    await command(log.redis, "XTRIM", key, "MINID", fifth.entry_id)
    assert [record.seq for record in await job_events(log, job_id)] == list(range(5, 11))


async def test_all_events_of_all_jobs_are_merged_by_time(log: Log) -> None:
    jobs = [await job_with(log, 20) for _ in range(6)]
    found = [record async for record in all_events(log)]
    assert len(found) == 120
    assert {record.job_id for record in found} == set(jobs)
    order = [entry_order(record.entry_id) for record in found]
    assert order == sorted(order)
    one = [record async for record in partition_events(log, 0, after=found[0].entry_id)]
    assert all(log.keys.partition_of(record.job_id) == 0 for record in one)


async def test_an_entry_that_is_not_ours_is_a_value_and_no_error(log: Log) -> None:
    await command(log.redis, "XADD", log.keys.log(0), "*", "hello", "world")
    [record] = [record async for record in partition_events(log, 0)]
    assert (record.job_id, record.payload) == ("", b"hello world")


async def test_a_tail_sees_all_that_follows_across_a_restart(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="tail", partitions=2) as log:
        await job_with(log, 2)
        seen: list[tuple[str, int]] = []
        async with tail(log) as batches, anyio.create_task_group() as tasks:

            async def follow() -> None:
                async for batch in batches:
                    seen.extend((record.job_id, record.seq) for record in batch)
                    if len(seen) >= 12:
                        return

            tasks.start_soon(follow)
            first = await job_with(log, 6)
            await run_sync(server.restart, signal.SIGKILL)
            second = await job_with(log, 6)
        assert sorted(seen) == sorted(
            [(job, seq) for job in (first, second) for seq in range(1, 7)]
        )


async def test_a_tail_resumes_at_given_cursors(log: Log) -> None:
    start = await ends(log)
    job_id = await job_with(log, 5)
    async with tail(log, start) as batches:
        batch = await anext(batches)
        assert (batch[0].job_id, batch[0].seq) == (job_id, 1)


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
    await second.inherit(partition)
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
