"""What is taken away from a subscription, or written beside its events, while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.projector.subscribing.admin import create, remove
from everfold.projector.subscribing.catch_up import CatchUp
from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.status import subscriptions
from everfold.projector.subscribing.subscription import NOW, Subscription
from everfold.streams.appending.log import Log
from everfold.streams.errors import SubscriptionUnknown
from everfold.streams.reading.readers import group_positions
from everfold.streams.redis.redis_errors import command
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "A", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as opened:
        yield opened


async def test_a_consumer_ends_when_its_subscription_is_removed(log: Log) -> None:
    seen: list[str] = []

    @Subscription("hook", start=NOW)
    async def hook(delivery: Delivery) -> None:
        seen.append(delivery.record.job_id)

    for number in range(20):
        await log.submit(GRAPH, job_id=f"old{number}")
    ended: list[SubscriptionUnknown] = []

    async def consume(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            await Consumer(log, "c", hook).run(task_status=task_status)
        except SubscriptionUnknown as error:
            ended.append(error)

    async with anyio.create_task_group() as tasks:
        await tasks.start(consume)
        await log.submit(GRAPH, job_id="new")
        await eventually(lambda: seen == ["new"])
        await remove(log, "hook")
        await eventually(lambda: bool(ended), 10)
    assert "there is no subscription 'hook'" in str(ended[0])
    assert seen == ["new"], "nothing old is delivered"
    assert await subscriptions(log) == {}
    for partition in range(2):
        keys = log.keys.subscription(partition, "hook")
        assert await command(log.redis, "EXISTS", keys.checkpoint(), keys.held()) == 0
        groups = await command(log.redis, "XINFO GROUPS", log.keys.log(partition))
        assert "subscription:hook" not in str(groups)


async def test_a_removal_that_was_interrupted_is_finished_by_the_next_one(log: Log) -> None:
    await create(log, Subscription("hook"))
    await command(log.redis, "HDEL", log.keys.subscriptions(), "hook")  # and the process dies
    await remove(log, "hook")
    for partition in range(2):
        assert await group_positions(log, partition) == {}
        keys = log.keys.subscription(partition, "hook")
        assert await command(log.redis, "EXISTS", keys.checkpoint(), keys.held()) == 0
    for name in ("hook", "other", "hook:held"):
        with pytest.raises(SubscriptionUnknown):
            await remove(log, name)


ODD_ENTRIES: list[tuple[str | bytes, ...]] = [
    ("x", "1"),
    ("j", "a"),
    ("j", b"\xff\xfe", "s", "1", "e", "0", "p", "0-0", "d", "{}"),
    ("j", "a", "s", "one", "e", "0", "p", "0-0", "d", "{}"),
    ("j", "a", "s", "1", "e", "0", "p", "", "d", b"\x00\xff"),
    ("j", "a", "s", "9" * 30, "e", "-" * 3, "p", "0-0", "d", "[" * 3000),
]


async def test_entries_of_other_programs_are_passed_by_every_reader(log: Log) -> None:
    taken: list[str] = []

    @Subscription("all")
    async def everything(delivery: Delivery) -> None:
        taken.append(delivery.record.job_id)

    async def consume(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await Consumer(log, "c", everything).run(task_status=task_status)

    async with CatchUp(log) as feed, anyio.create_task_group() as tasks:
        await tasks.start(consume)
        seen: list[str] = []

        async def follow() -> None:
            nonlocal seen
            async for delivery in feed:
                seen += [delivery.record.job_id]

        tasks.start_soon(follow)
        wanted = set()
        for number, entry in enumerate(ODD_ENTRIES):
            for partition in range(2):
                await command(log.redis, "XADD", log.keys.log(partition), "*", *entry)
            for part in "abc":
                wanted.add((await log.submit(GRAPH, job_id=f"{part}{number}")).job_id)
            await eventually(lambda: wanted <= set(seen) and wanted <= set(taken), 15)
        cursors = dict(feed.cursor.after)
        tasks.cancel_scope.cancel()
    for partition, cursor in cursors.items():
        assert await command(log.redis, "XRANGE", log.keys.log(partition), cursor, cursor)
