"""Counting the jobs of many queues: exact, by priority, and whatever the keys hold."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.queues.queue_counts import (
    WaitingCount,
    count_held,
    count_later,
    count_waiting,
)
from everfold.streams.redis.redis_errors import command
from tests.support.many_jobs import GRAPH

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=4) as log:
        yield log


async def test_what_waits_is_counted_by_priority_over_all_partitions(log: Log) -> None:
    first = await log.submit(GRAPH, queue="a", priority="low")
    for number in range(7):
        await log.submit(GRAPH, queue="a", user=f"u{number}")
    for _ in range(3):
        await log.submit(GRAPH, queue="b", priority="high")
    found = await count_waiting(log, ["a", "b", "none"])

    assert found["a"].by_priority == (0, 7, 1)
    assert found["b"].by_priority == (3, 0, 0)
    assert found["none"] == WaitingCount()
    head = await command(log.redis, "HGET", log.keys.head(first.job_id), "first")
    assert found["a"].first_ms == int(head.decode().split("-")[0])  # type: ignore[attr-defined]


async def test_more_queues_than_one_call_takes(log: Log) -> None:
    names = [f"q{number}" for number in range(250)]
    for name in names[::50]:
        await log.submit(GRAPH, queue=name)
    found = await count_waiting(log, names)

    assert {name for name, count in found.items() if sum(count.by_priority)} == set(names[::50])


async def test_a_key_of_another_type_counts_nothing(log: Log) -> None:
    job = await log.submit(GRAPH, queue="a")
    await command(log.redis, "DEL", log.keys.head(job.job_id))
    await command(log.redis, "SET", log.keys.head(job.job_id), "no hash")
    await command(log.redis, "SET", log.keys.waiting(0, "odd"), "no set")
    found = await count_waiting(log, ["a", "odd"])

    assert found["a"] == WaitingCount((0, 1, 0), 0)
    assert found["odd"] == WaitingCount()


async def test_held_jobs_are_counted_by_priority(log: Log) -> None:
    for priority in ("high", "low", "low"):
        await log.submit(GRAPH, queue="a", priority=priority)
    await log.submit(GRAPH, queue="b")
    dispatch = Dispatch(log, "r1")
    for partition in range(4):
        await dispatch.claim(partition, ["a"], 10)

    assert await count_held(log, ["a", "b"]) == {"a": (1, 0, 2)}
    assert await count_held(log, []) == {}


async def test_jobs_for_later_beyond_the_limit_are_counted_together(log: Log) -> None:
    for number in range(12):
        await log.submit(GRAPH, queue="a", priority="high", delay_s=1_000 + number)
    counts, besides = await count_later(log, 100)
    assert counts == {("a", "high"): 12}
    assert besides == 0

    counts, besides = await count_later(log, 4)
    assert sum(counts.values()) + besides == 12
    assert sum(counts.values()) <= 4
