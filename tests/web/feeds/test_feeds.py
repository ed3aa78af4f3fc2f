"""One read of the log for all watchers of a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.errors import JobUnknown
from everfold.streams.events.event import Canceled, CancelRequested
from everfold.streams.reading.reader import job_events
from everfold.web.feeds import feeds as feeds_module
from everfold.web.feeds.feeds import Feeds
from everfold.web.feeds.happening import Change
from everfold.web.feeds.job_feed import JobFeed
from everfold.web.feeds.ring import Overtaken, Ring
from tests.projector.jobs import add_raw
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield log


async def changes_of(feeds: Feeds, job_id: str, opened: asyncio.Event) -> list[Change]:
    found = list[Change]()
    async with feeds.open(job_id) as feed:
        place = feed.changes.end
        opened.set()
        while changes := await feed.changes.after(place):
            found += changes
            place += len(changes)
    return found


async def test_all_watchers_of_a_job_get_the_same_changes_up_to_its_end(log: Log) -> None:
    job_id = (await log.submit(sleeper(1))).job_id
    async with Feeds(log) as feeds, asyncio.timeout(10):
        opened = [asyncio.Event() for _ in range(30)]
        watchers = [asyncio.create_task(changes_of(feeds, job_id, one)) for one in opened]
        for one in opened:
            await one.wait()
        await log.append(job_id, CancelRequested(), epoch=0)
        await log.append(job_id, Canceled(), epoch=UNLEASED)
        told = await asyncio.gather(*watchers)

    assert [[change.job.status for change in one] for one in told] == [
        ["canceling", "canceled"]
    ] * 30
    assert len({id(one[0]) for one in told}) == 1


async def test_a_job_that_has_ended_ends_its_feed_at_once(log: Log) -> None:
    job_id = (await log.submit(sleeper(1))).job_id
    await log.append(job_id, CancelRequested(), epoch=0)
    await log.append(job_id, Canceled(), epoch=UNLEASED)
    async with Feeds(log) as feeds, feeds.open(job_id) as feed:
        assert feed.job.status == "canceled"
        assert await feed.changes.after(feed.changes.end) == []


async def test_a_job_that_nobody_submitted_has_no_feed(log: Log) -> None:
    async with Feeds(log) as feeds:
        with pytest.raises(JobUnknown):
            async with feeds.open("nobody"):
                pass


async def test_a_reader_that_is_too_slow_is_told_so() -> None:
    ring = Ring[int](3)
    for number in range(5):
        ring.add(number)

    assert await ring.after(2) == [2, 3, 4]
    with pytest.raises(Overtaken):
        await ring.after(1)


async def test_a_closed_ring_ends_after_its_last_item() -> None:
    ring = Ring[int](3)
    waiting = asyncio.create_task(ring.after(0))
    await asyncio.sleep(0)
    ring.add(7)
    ring.close()

    assert await waiting == [7]
    assert await ring.after(1) == []


async def test_a_feed_that_is_begun_while_it_is_read_is_one_feed(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[JobFeed]()
    job_id = (await log.submit(sleeper(1))).job_id
    [record] = await job_events(log, job_id)

    async def current_then_begun(log: Log, job_id: str) -> Job:
        found = await current(log, job_id)
        begun.append(feeds.begin(record))
        return found

    monkeypatch.setattr(feeds_module, "current", current_then_begun)
    async with Feeds(log) as feeds, asyncio.timeout(10):
        held = await feeds.hold(job_id)
        await log.append(job_id, CancelRequested(), epoch=0)
        await log.append(job_id, Canceled(), epoch=UNLEASED)
        await eventually(lambda: held.job.status == "canceled")
        assert begun == [held]


async def test_what_was_not_told_of_a_job_is_found_by_a_look(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds_module, "LOOK_EVERY_S", 0.05)
    job_id = (await log.submit(sleeper(1))).job_id
    async with Feeds(log) as feeds, feeds.open(job_id) as feed, asyncio.timeout(10):
        feeds._tasks[0].cancel()
        await log.append(job_id, CancelRequested(), epoch=0)
        await log.append(job_id, Canceled(), epoch=UNLEASED)
        changes = await feed.changes.after(0)
        changes += await feed.changes.after(len(changes)) if len(changes) < 2 else []

    assert [change.job.status for change in changes] == ["canceling", "canceled"]


async def test_the_end_is_told_where_events_before_it_are_gone(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds_module, "LOOK_EVERY_S", 0.05)
    job_id = (await log.submit(sleeper(1))).job_id
    key = log.keys.log(log.keys.partition_of(job_id))
    async with Feeds(log) as feeds, feeds.open(job_id) as feed, asyncio.timeout(10):
        feeds._tasks[0].cancel()
        await log.append(job_id, CancelRequested(), epoch=0)
        await log.append(job_id, Canceled(), epoch=UNLEASED)
        await log.redis.xtrim(key, maxlen=1, approximate=False)
        changes = await feed.changes.after(0)

    assert [change.job.status for change in changes][-1] == "canceled"


async def test_an_ignorable_event_of_a_newer_version_stops_no_feed(log: Log) -> None:
    job_id = (await log.submit(sleeper(1))).job_id
    async with Feeds(log) as feeds, feeds.open(job_id) as feed, asyncio.timeout(10):
        note = b'{"type":"noted","v":1,"ignorable":true}'
        await add_raw(log, job_id, 2, note)
        await log.append(job_id, CancelRequested(), epoch=0)
        await log.append(job_id, Canceled(), epoch=UNLEASED)
        await eventually(lambda: feed.job.is_terminal)

    assert feed.job.seq == 4


async def test_large_events_are_kept_within_their_bytes() -> None:
    ring = Ring[bytes](100, 1_000, len)
    for number in range(20):
        ring.add(bytes([number]) * 300)

    assert len(ring.items_after(17)) == 3
    with pytest.raises(Overtaken):
        ring.items_after(16)
    ring.add(b"x" * 5_000)
    assert len(ring.items_after(20)) == 1
