"""Jobs that wait too long, where every runner is a `Producer`: its claims end them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Event,
    Expired,
    Failure,
    Policy,
    Retried,
    Started,
)
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
SHORT = Policy(queue_deadline_s=0.001)


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=4) as log:
        yield log


async def last_event(log: Log, job_id: str) -> object:
    event = (await job_events(log, job_id))[-1].event
    assert isinstance(event, Event)
    return event


async def test_a_claim_ends_what_waits_past_its_deadline_or_a_cancel(log: Log) -> None:
    late = (await log.submit(GRAPH, policy=SHORT)).job_id
    canceled = (await log.submit(GRAPH)).job_id
    await log.append(canceled, CancelRequested(reason="away"), epoch=UNLEASED)
    bounded = (await log.submit(GRAPH, policy=Policy(queue_deadline_s=900))).job_id
    producer = Producer(log, "r1", ["other"])
    assert await producer.claim() == []

    async def has_ended() -> bool:
        await producer.claim()
        return isinstance(await last_event(log, late), Expired)

    await eventually(has_ended)
    assert (await last_event(log, late)).reason == "queue_deadline"  # type: ignore[attr-defined]
    end = await last_event(log, canceled)
    assert isinstance(end, Canceled)
    assert (end.reason, end.attempt) == ("away", 0)
    assert [lease.job_id for lease in await Producer(log, "r2").claim(most=9)] == [bounded]


async def test_a_job_that_has_started_has_met_its_deadline(log: Log) -> None:
    policy = Policy(queue_deadline_s=1)
    job_id = (await log.submit(GRAPH, policy=policy)).job_id
    producer = Producer(log, "r1")
    [lease] = await producer.claim()
    await producer.append(lease, Started(attempt=1))
    failure = Failure(code="execution_error", message="boom", retryable=True)
    await producer.release(lease, Retried(attempt=1, failure=failure, not_before_ms=1))
    deadlines = log.keys.deadlines(log.keys.partition_of(job_id))
    assert await command(log.redis, "ZSCORE", deadlines, job_id)

    async def is_met() -> bool:
        assert await Producer(log, "r2", ["other"]).claim() == []
        return await command(log.redis, "ZSCORE", deadlines, job_id) is None

    await eventually(is_met)
    assert [one.job_id for one in await producer.claim()] == [job_id]


async def test_one_with_damaged_keys_holds_back_no_other(log: Log) -> None:
    jobs = list[str]()
    while len(jobs) < 3:
        job_id = (await log.submit(GRAPH, policy=SHORT)).job_id
        if log.keys.partition_of(job_id) == 0:
            jobs.append(job_id)
    await command(log.redis, "HSET", log.keys.head(jobs[0]), "last", "x")
    producer = Producer(log, "r1", ["other"])

    async def have_ended() -> bool:
        await producer.claim()
        ends = [await last_event(log, job_id) for job_id in jobs[1:]]
        return all(isinstance(end, Expired) for end in ends)

    await eventually(have_ended)
