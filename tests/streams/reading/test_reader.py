"""Reading: all of a job, from a sequence number, a partition, and live."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import cast

import anyio
import pytest
from anyio.to_thread import run_sync

from everfold.streams.appending.log import Log
from everfold.streams.errors import JobUnknown
from everfold.streams.events.event import Rewound
from everfold.streams.events.record import entry_order
from everfold.streams.reading.reader import (
    all_events,
    job_events,
    last_entry_ids,
    partition_events,
    tail,
)
from everfold.streams.redis.redis_errors import command
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


async def job_with(log: Log, events: int) -> str:
    job_id = (await log.submit(GRAPH)).job_id
    for _ in range(events - 1):
        await log.append(job_id, Rewound(seen_seq=2, found_seq=1), epoch=0)
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
    server = own_server(appendfsync="always")
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
    start = await last_entry_ids(log)
    job_id = await job_with(log, 5)
    async with tail(log, start) as batches:
        batch = await anext(batches)
        assert (batch[0].job_id, batch[0].seq) == (job_id, 1)


async def test_a_long_partition_is_read_in_pages_between_two_entries(log: Log) -> None:
    job_id = await job_with(log, 1203)
    partition = log.keys.partition_of(job_id)
    records = [record async for record in partition_events(log, partition)]
    assert [record.seq for record in records] == list(range(1, 1204))
    first, last = records[99].entry_id, records[1149].entry_id
    within = [r.seq async for r in partition_events(log, partition, after=first, until=last)]
    assert within == list(range(101, 1151))
    assert [r async for r in partition_events(log, 1 - partition)] == []


@pytest.mark.parametrize("events", [499, 500, 501, 1000])
async def test_histories_that_end_where_a_page_ends_are_whole(log: Log, events: int) -> None:
    job_id = await job_with(log, events)
    assert [record.seq for record in await job_events(log, job_id)] == list(range(1, events + 1))
    after = await job_events(log, job_id, after_seq=max(events - 500, 0))
    assert [record.seq for record in after] == list(range(max(events - 499, 1), events + 1))


async def test_a_history_that_was_trimmed_behind_a_page_begins_later(log: Log) -> None:
    job_id = await job_with(log, 700)
    key = log.keys.log(log.keys.partition_of(job_id))
    hundredth = (await job_events(log, job_id))[99]
    await command(log.redis, "XTRIM", key, "MINID", hundredth.entry_id)
    assert [record.seq for record in await job_events(log, job_id)] == list(range(100, 701))
    assert [record.seq for record in await job_events(log, job_id, 650)] == list(range(651, 701))
    await command(log.redis, "XTRIM", key, "MAXLEN", 0)
    assert await job_events(log, job_id) == []


async def test_two_tails_see_the_same_each_from_its_own_place(log: Log) -> None:
    start = await last_entry_ids(log)
    jobs = [await job_with(log, 3) for _ in range(3)]
    seen: dict[str, list[tuple[str, int]]] = {"whole": [], "rest": []}

    async def follow(name: str, after: dict[int, str], count: int) -> None:
        async with tail(log, after) as batches:
            async for batch in batches:
                seen[name] += [(record.job_id, record.seq) for record in batch]
                if len(seen[name]) >= count:
                    return

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow, "whole", start, 15)
            tasks.start_soon(follow, "rest", await last_entry_ids(log), 6)
            late = [await job_with(log, 3) for _ in range(2)]
    expected = [(job, seq) for job in jobs + late for seq in (1, 2, 3)]
    assert sorted(seen["whole"]) == sorted(expected)
    assert sorted(seen["rest"]) == sorted(expected[9:])


async def test_a_tail_from_now_on_misses_nothing_after_it_was_entered(log: Log) -> None:
    await job_with(log, 3)
    async with tail(log) as batches:
        job_id = await job_with(log, 2)
        found: list[int] = []
        with anyio.fail_after(10):
            async for batch in batches:
                assert {record.job_id for record in batch} == {job_id}
                found += [record.seq for record in batch]
                if len(found) == 2:
                    break
    assert found == [1, 2]


async def test_a_tail_hands_on_more_than_a_page_in_order(log: Log) -> None:
    start = await last_entry_ids(log)
    await job_with(log, 1203)
    seqs: list[int] = []
    async with tail(log, start) as batches:
        with anyio.fail_after(10):
            async for batch in batches:
                seqs += [record.seq for record in batch]
                if len(seqs) >= 1203:
                    break
    assert seqs == list(range(1, 1204))


async def test_a_tail_outlives_an_entry_that_is_gone_before_it_was_read(log: Log) -> None:
    async with tail(log) as batches:
        key = log.keys.log(0)

        async def is_waiting() -> bool:
            clients = cast("bytes", await command(log.redis.at(key), "CLIENT LIST"))
            return b"cmd=xread" in clients

        await eventually(is_waiting)
        add = "redis.call('XDEL', KEYS[1], redis.call('XADD', KEYS[1], '*', 'not', 'ours'))"
        await command(log.redis, "EVAL", add, 1, key)
        job_id = await job_with(log, 1)
        with anyio.fail_after(10):
            async for batch in batches:
                assert {record.job_id for record in batch} == {job_id}
                break
