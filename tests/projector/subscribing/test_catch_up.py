"""A cursor that the subscriber keeps: everything after it, or an error that says why not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.projector.subscribing.catch_up import CatchUp, Cursor, read_cursor
from everfold.projector.subscribing.delivery import Delivery
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.errors import InvalidName, Refused, Trimmed, WentBack
from everfold.streams.events.event import CancelRequested
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.trimming import trim
from tests.projector.jobs import add_raw, make_jobs, work
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

WITHIN_S = 15


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=4) as log:
        yield log


async def some(feed: CatchUp, count: int) -> list[Delivery]:
    """Return the next deliveries; the cursor is then after the last of them."""
    found = list[Delivery]()
    with anyio.fail_after(WITHIN_S):
        async for delivery in feed:
            found.append(delivery)
            if len(found) == count:
                break
    return found


async def test_a_cursor_resumes_right_after_the_last_delivery(log: Log) -> None:
    jobs = await make_jobs(log, 6)
    await work(log)
    seen: list[tuple[str, int]] = []
    cursor: Cursor | None = None
    for _ in range(5):
        async with CatchUp(log, cursor) as feed:
            found = await some(feed, 12)
            seen += [(d.record.job_id, d.record.seq) for d in found]
            cursor = read_cursor(str(feed.cursor))
    for job_id in jobs:
        assert [seq for told, seq in seen if told == job_id] == list(range(1, 11))


async def test_it_goes_on_with_what_happens_from_then_on(log: Log) -> None:
    async with CatchUp(log, types=["succeeded"]) as feed, anyio.create_task_group() as tasks:

        async def later() -> None:
            await make_jobs(log, 3)
            await work(log)

        tasks.start_soon(later)
        found = await some(feed, 3)
    assert {delivery.job.status for delivery in found} == {"succeeded"}


async def test_filters_look_at_the_job_of_the_event(log: Log) -> None:
    await make_jobs(log, 6)
    await work(log)
    async with CatchUp(log, types=["job.succeeded"], users=["u1"]) as feed:
        found = await some(feed, 2)
    assert [(d.type, d.job.user) for d in found] == [("job.succeeded", "u1")] * 2


async def test_a_range_that_was_trimmed_is_named(log: Log) -> None:
    await make_jobs(log, 6)
    async with CatchUp(log) as feed:
        await some(feed, 3)
        cursor = feed.cursor
    await work(log)
    for partition in range(4):
        await trim(log, partition, retention_s=0, needs_archive=False)
    with pytest.raises(Trimmed, match=r"partition \d: the events after .* were trimmed"):
        async with CatchUp(log, cursor) as feed:
            await some(feed, 1)


async def test_without_a_cursor_it_begins_with_what_is_still_there(log: Log) -> None:
    await make_jobs(log, 6)
    await work(log)
    for partition in range(4):
        await trim(log, partition, retention_s=0, needs_archive=False)
    (job_id,) = await make_jobs(log, 1)
    async with CatchUp(log) as feed:
        (found,) = await some(feed, 1)
    assert found.record.job_id == job_id


async def test_with_the_archive_a_trimmed_range_is_read_there(log: Log, tmp_path: object) -> None:
    archive = Archive(Folder(str(tmp_path)))
    jobs = await make_jobs(log, 6)
    async with CatchUp(log, archive=archive) as feed:
        first = await some(feed, 3)
        cursor = feed.cursor
    await work(log)
    await Archiver(log, archive).run(everything=True)
    for partition in range(4):
        await trim(log, partition, retention_s=0)
    async with CatchUp(log, cursor, archive=archive) as feed:
        rest = await some(feed, 57)
    told = [(d.record.job_id, d.record.seq) for d in (*first, *rest)]
    for job_id in jobs:
        assert [seq for told_of, seq in told if told_of == job_id] == list(range(1, 11))


async def test_a_log_that_went_back_in_time_is_noticed(log: Log) -> None:
    jobs = await make_jobs(log, 6)
    async with CatchUp(log) as feed:
        found = await some(feed, 6)
        cursor = feed.cursor
    last = found[-1].record
    key = log.keys.log(log.keys.partition_of(last.job_id))
    await command(log.redis, "XDEL", key, last.entry_id)  # what an older file does not have
    await make_jobs(log, len(jobs))
    with pytest.raises(WentBack, match=f"entry {last.entry_id} that was read before is gone"):
        async with CatchUp(log, cursor) as feed:
            await some(feed, 1)


async def test_a_log_that_goes_back_while_it_is_read_is_noticed(log: Log) -> None:
    async with CatchUp(log) as feed:
        await make_jobs(log, 8)
        found = await some(feed, 8)
        last = found[-1].record
        key = log.keys.log(log.keys.partition_of(last.job_id))
        await command(log.redis, "XDEL", key, last.entry_id)
        await log.append(last.job_id, CancelRequested(reason="no more"), epoch=0)
        with pytest.raises(WentBack):
            await some(feed, 1)


async def test_a_namespace_that_was_made_anew_is_noticed(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url) as log:
        await make_jobs(log, 1)
        async with CatchUp(log) as feed:
            await some(feed, 1)
            cursor = feed.cursor
        await command(log.redis, "FLUSHALL")
    async with Log.open(server.url) as log:
        await make_jobs(log, 1)
        with pytest.raises(WentBack):
            async with CatchUp(log, cursor) as feed:
                await some(feed, 1)


async def test_events_that_nobody_can_read_are_left_out_and_counted(log: Log) -> None:
    (job_id,) = await make_jobs(log, 1)
    await add_raw(log, job_id, 2, b'{"type":"job.teleported","id":"x","actor":"y","v":1}')
    await work(log)
    async with CatchUp(log) as feed:
        found = await some(feed, 10)
    assert [d.record.seq for d in found] == [1, *range(3, 12)]
    assert feed.left_out == 1


def test_what_is_no_cursor_is_refused() -> None:
    with pytest.raises(Refused, match="this is not a cursor"):
        read_cursor("17")


async def test_a_cursor_that_no_server_counts_to_is_refused(log: Log) -> None:
    with pytest.raises(InvalidName, match="cursor"):
        CatchUp(log, Cursor(log.generation, {0: "5-18446744073709551616"}))
