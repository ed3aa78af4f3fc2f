"""One read of the log for all watchers of a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.errors import JobUnknown
from everfold.streams.events.event import Canceled, CancelRequested
from everfold.web.feeds.feeds import Feeds
from everfold.web.feeds.happening import Change
from everfold.web.feeds.ring import Overtaken, Ring
from tests.support.stack import sleeper

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
