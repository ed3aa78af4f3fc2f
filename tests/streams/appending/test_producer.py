"""The public producer: order of claims, fairness, renewing, giving back, names that are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease, LeaseOver, Renewed
from everfold.streams.errors import Fenced, InvalidName, JobClosed
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Claimed,
    Event,
    Failed,
    Failure,
    Released,
    Retried,
    Started,
    Succeeded,
)
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.keys import PRIORITIES, RELEASED
from everfold.streams.redis.redis_errors import command

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
FAILURE = Failure(code="execution_error", message="boom", retryable=True)
DONE = Succeeded(attempt=1, outputs={})


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=4) as log:
        yield log


async def submitted(log: Log, **more: str) -> str:
    return (await log.submit(GRAPH, **more)).job_id  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [DONE, Failed(failure=FAILURE), Canceled()], ids=str)
async def test_a_job_goes_from_submit_to_its_end(log: Log, end: Event) -> None:
    job_id = await submitted(log)
    producer = Producer(log, "r1")
    [lease] = await producer.claim()
    await producer.append(lease, Started(attempt=1))
    assert await producer.renew([lease]) == [Renewed(canceling=False)]
    await producer.finish(lease, end)  # type: ignore[arg-type]  # each is terminal
    assert await producer.renew([lease]) == [LeaseOver(1)]
    with pytest.raises(JobClosed):
        await producer.append(lease, Started(attempt=2))
    kinds = [type(record.event).__name__ for record in await job_events(log, job_id)]
    assert kinds == ["Submitted", "Claimed", "Started", type(end).__name__]


async def test_it_finds_every_job_of_its_queues_and_no_others(log: Log) -> None:
    mine = {
        await submitted(log, queue=queue, priority=priority)
        for queue in ("a", "b")
        for priority in PRIORITIES
        for _ in range(4)
    }
    await submitted(log, queue="c")
    producer = Producer(log, "r1", ["a", "b"])
    found = {lease.job_id for lease in await producer.claim(most=100)}
    assert found == mine
    assert {lease.job_id for lease in await producer.own_leases()} == mine
    assert await Producer(log, "r2", ["a", "b"]).own_leases() == []


async def test_urgent_jobs_of_all_partitions_go_before_all_others(log: Log) -> None:
    low = [await submitted(log, priority="low") for _ in range(4)]
    normal = [await submitted(log) for _ in range(8)]
    high = [await submitted(log, priority="high") for _ in range(8)]
    producer, taken = Producer(log, "r1"), list[str]()
    for _ in range(20):
        [lease] = await producer.claim(most=1)
        taken.append(lease.job_id)
    assert taken == [*high, *normal, *low]


@pytest.mark.usefixtures("rested_server")
async def test_orphaned_jobs_go_before_waiting_ones(log: Log) -> None:
    orphan = await submitted(log)
    [lease] = await Producer(log, "dead").claim()
    await submitted(log)
    key = log.keys.dispatch(log.keys.partition_of(orphan), lease.queue, lease.priority)
    old = ("IDLE", 60_000, "JUSTID")
    await command(log.redis, "XCLAIM", key, "runners", "dead", 0, lease.dispatch_id, *old)
    [taken] = await Producer(log, "r2", lease_ttl_s=1).claim(most=1)
    assert (taken.job_id, taken.epoch) == (orphan, 2)
    with pytest.raises(Fenced):
        await Producer(log, "dead").append(lease, Started(attempt=1))


async def test_a_lease_that_is_alive_is_left_alone(log: Log) -> None:
    await submitted(log)
    await Producer(log, "r1").claim()
    assert await Producer(log, "r2").claim(most=5) == []


async def test_it_waits_for_the_first_job_no_longer_than_it_was_told(log: Log) -> None:
    producer = Producer(log, "r1")
    with anyio.fail_after(5):
        assert await producer.claim(wait_s=0.05) == []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submitted, log)
            [lease] = await producer.claim(wait_s=10)
    assert lease.epoch == 1


async def test_what_is_given_back_is_offered_again(log: Log) -> None:
    job_id = await submitted(log)
    first, second = Producer(log, "r1"), Producer(log, "r2")
    [lease] = await first.claim()
    await first.release(lease, Released(reason="drain"))
    [lease] = await second.claim()
    await second.release(lease, Retried(attempt=1, failure=FAILURE, not_before_ms=1))
    [lease] = await first.claim()
    assert (lease.job_id, lease.epoch) == (job_id, 3)


async def test_a_wish_to_cancel_is_told_with_the_renewal(log: Log) -> None:
    job_id = await submitted(log)
    producer = Producer(log, "r1")
    [lease] = await producer.claim()
    await log.append(job_id, CancelRequested(), epoch=0)
    assert await producer.renew([lease]) == [Renewed(canceling=True)]


CLAIMED, GIVEN_BACK = Claimed(owner="r"), Released(reason="drain")
AGAIN = Retried(attempt=1, failure=FAILURE, not_before_ms=0)


@pytest.mark.parametrize(
    ("call", "event"),
    [
        *(("append", event) for event in (CLAIMED, GIVEN_BACK, AGAIN)),
        *(("finish", event) for event in (Started(attempt=1), GIVEN_BACK)),
        *(("release", event) for event in (DONE, Started(attempt=1))),
    ],
)
async def test_an_event_of_another_call_is_refused(log: Log, call: str, event: Event) -> None:
    job_id = await submitted(log)
    producer = Producer(log, "r1")
    [lease] = await producer.claim()

    with pytest.raises(InvalidName, match=type(event).__name__):
        await getattr(producer, call)(lease, event)
    [outcome] = await producer.append_many([(lease, event)]) if call == "append" else [None]
    assert outcome is None or isinstance(outcome, InvalidName)
    assert len(await job_events(log, job_id)) == 2
    await producer.finish(lease, DONE)


async def test_what_is_no_lease_is_refused(log: Log) -> None:
    producer = Producer(log, "r1")
    job_id = cast("Lease", await submitted(log))
    for call in (
        producer.append(job_id, DONE),
        producer.finish(job_id, DONE),
        producer.release(job_id, GIVEN_BACK),
        producer.renew([job_id]),
        producer.renew(cast("list[Lease]", job_id)),
    ):
        with pytest.raises(InvalidName, match="lease"):
            await call


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, RELEASED])
async def test_names_that_would_do_harm_are_refused(log: Log, name: str) -> None:
    with pytest.raises(InvalidName):
        Producer(log, name)
    if name != RELEASED:
        with pytest.raises(InvalidName):
            Producer(log, "r1", ["default", name])
    assert await Dispatch(log, "r1").own_leases([]) == []
