"""What a subscription keeps in memory is bounded in bytes, whatever its jobs and events are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.projector.folding import job_tracker
from everfold.projector.folding.job_tracker import JobTracker
from everfold.projector.subscribing import classify
from everfold.projector.subscribing.classify import Classifier
from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.delivery import Delivery, filter_of
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from everfold.streams.events.event import OutputSaved, Progressed, Succeeded
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import partition_events
from everfold.streams.redis.pages import PAGE_BYTES
from tests.projector.jobs import GRAPH

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def large_jobs(log: Log, count: int, *, finish: bool) -> None:
    """Give each of so many jobs about 1 MiB of events; the last event of each is small."""
    producer = Producer(log, "r")
    for _ in range(count):
        await log.submit(GRAPH)
    leases = await producer.claim(most=count)
    for lease in leases:
        for node in "1234":  # one text is shortened to 10,000 characters, an output to 256 KiB
            output: dict[str, object] = {"text": ["x" * 9_000] * 25}
            await producer.append(lease, OutputSaved(attempt=0, node=node, output=output))
    for lease in leases:
        if finish:
            await producer.finish(lease, Succeeded(attempt=0, outputs={}))
        else:
            progress = Progressed(attempt=0, value=0.5, nodes_done=0, nodes_total=1)
            await producer.append(lease, progress)


async def test_cached_jobs_are_bounded_in_bytes(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_tracker, "CACHED_BYTES", 4 * MIB)
    await large_jobs(log, 12, finish=False)
    tracker, largest = JobTracker(log, 0), 0
    async for record in partition_events(log, 0):
        assert (await tracker.after(record)).seq == record.seq
        largest = max(largest, tracker.cached_bytes)
    assert 2 * MIB < largest <= 4 * MIB


async def test_jobs_that_have_ended_are_not_kept(log: Log) -> None:
    await large_jobs(log, 3, finish=True)
    tracker = JobTracker(log, 0)
    async for record in partition_events(log, 0):
        await tracker.after(record)
    assert tracker.cached_bytes > 2 * MIB
    tracker.evict()
    assert tracker.cached_bytes == 0


async def test_small_events_of_large_jobs_are_delivered_a_few_jobs_at_a_time(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_tracker, "CACHED_BYTES", 2 * MIB)
    monkeypatch.setattr(classify, "IN_HAND_BYTES", 3 * MIB)
    await large_jobs(log, 12, finish=False)
    records = [record async for record in partition_events(log, 0)]
    classifier = Classifier(log, 0, filter_of((), (), ()), None)
    classifier.start_over(NO_ENTRY)
    rest, parts = records[-12:], list[int]()
    while rest:
        found = await classifier.classify(rest)
        parts.append(len(found.deliveries))
        rest = list(found.rest)
    assert sum(parts) == 12
    assert max(parts) <= 4


async def test_a_slow_subscriber_gets_every_event_in_order_with_a_page_in_memory(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small events first, then large ones: no read is sized by what came before."""
    monkeypatch.setattr(classify, "IN_HAND_BYTES", 2 * MIB)
    read: list[int] = []
    seen: dict[str, list[int]] = {}
    done = anyio.Event()

    def weighed(name: str) -> None:
        give = getattr(ConsumerGroup, name)

        async def weigh(group: ConsumerGroup, partition: int, most: int = 500) -> list[Recorded]:
            batch: list[Recorded] = await give(group, partition, most)
            read.append(sum(len(record.payload) for record in batch))
            return batch

        monkeypatch.setattr(ConsumerGroup, name, weigh)

    async def deliver(delivery: Delivery) -> None:
        seen.setdefault(delivery.record.job_id, []).append(delivery.record.seq)
        if sum(map(len, seen.values())) == 12 * 7:
            done.set()

    weighed("read_ready")
    weighed("wait_new")
    await large_jobs(log, 12, finish=True)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            await tasks.start(Consumer(log, "c", Subscription("slow")(deliver)).run)
            await done.wait()
            tasks.cancel_scope.cancel()
    assert list(seen.values()) == [[1, 2, 3, 4, 5, 6, 7]] * 12
    assert max(read) <= PAGE_BYTES + 256 * 1024
