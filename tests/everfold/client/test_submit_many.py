"""Many submits at once are as many single ones, each with an answer of its own."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from everfold import Everfold, EverfoldError, SubmittedJob
from everfold.streams.appending.many.submits import ManySubmits
from everfold.streams.appending.outcomes import Submission
from everfold.streams.appending.submitted_event import JobRequest
from everfold.streams.errors import (
    IdempotencyConflict,
    InvalidName,
    InvalidWorkflow,
    QueueFull,
    TooLarge,
)
from everfold.streams.events.event import Submitted
from everfold.streams.queues.limits import Limit, set_limit
from everfold.streams.queues.waiting_jobs import in_order, peek_all
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command, read_hash

pytestmark = [pytest.mark.anyio, pytest.mark.server]

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {"width": 64}}}


@pytest.fixture
async def client(redis_url: str, namespace: str) -> AsyncIterator[Everfold]:
    async with Everfold.connect(redis_url, namespace=namespace) as client:
        yield client


def ids(outcomes: list[SubmittedJob | EverfoldError]) -> list[str]:
    assert all(isinstance(one, SubmittedJob) and one.created for one in outcomes), outcomes
    return [one.job_id for one in outcomes if isinstance(one, SubmittedJob)]


async def test_many_jobs_are_known_and_wait_as_if_submitted_one_by_one(
    client: Everfold,
) -> None:
    graphs = [GRAPH] * 300 + [{"1": {"class_type": "Other", "inputs": {"n": n}}} for n in range(50)]

    made = ids(await client.submit_many(graphs, batch="b", user="ada", tags=["x"]))

    log = client.log
    pages = await peek_all(log, range(log.keys.partitions), "default", each=1000)
    assert len(set(made)) == 350
    assert sorted(job.job_id for job in in_order(pages)) == sorted(made)
    for job_id in (made[0], made[349]):
        [record] = await job_events(log, job_id)
        assert isinstance(record.event, Submitted)
        assert (record.event.batch, record.event.user, record.event.tags) == ("b", "ada", ("x",))
    assert await client.graph(made[349]) == graphs[349]


async def test_what_is_stored_of_one_of_many_is_what_a_submit_stores(client: Everfold) -> None:
    policy = {"queue_deadline_s": 600}
    alone = (await client.submit(GRAPH, user="ada", kind="x", policy=policy)).job_id
    (one,) = ids(await client.submit_many([GRAPH], user="ada", kind="x", policy=policy))

    keys, redis = client.log.keys, client.log.redis
    heads = [await read_hash(redis, keys.head(job_id)) for job_id in (alone, one)]
    for head in heads:
        for own in (b"first", b"last", b"made_by", b"place"):
            assert head.pop(own)
    assert heads[0] == heads[1]
    partition = keys.partition_of(one)
    assert await command(redis, "ZSCORE", keys.deadlines(partition), one) is not None


async def test_a_repeat_with_the_same_keys_makes_no_second_job(client: Everfold) -> None:
    keys = [f"order {number}" for number in range(40)]
    first = ids(await client.submit_many([GRAPH] * 40, idempotency_keys=keys))

    again = await client.submit_many([GRAPH] * 40, idempotency_keys=keys)
    twice = await client.submit_many([GRAPH] * 2, idempotency_keys=["new", "new"])

    assert [(one.job_id, one.created) for one in again if isinstance(one, SubmittedJob)] == [
        (job_id, False) for job_id in first
    ]
    assert [one.created for one in twice if isinstance(one, SubmittedJob)] == [True, False]


async def test_what_is_wrong_with_one_job_stops_no_other(client: Everfold) -> None:
    await client.submit(GRAPH, idempotency_key="taken")
    other = {"1": {"class_type": "Other", "inputs": {}}}

    found = await client.submit_many(
        [GRAPH, {}, other, GRAPH], idempotency_keys=["a", "b", "taken", "c" * 5000]
    )

    kinds = [SubmittedJob, InvalidWorkflow, IdempotencyConflict, TooLarge]
    assert [type(one) for one in found] == kinds


async def test_what_is_wrong_with_all_is_raised_and_nothing_is_written(client: Everfold) -> None:
    with pytest.raises(InvalidName):
        await client.submit_many([GRAPH], queue="two words")
    with pytest.raises(InvalidName):
        await client.submit_many([GRAPH], idempotency_keys=["a", "b"])
    assert await client.submit_many([]) == []


async def test_a_bounded_queue_takes_as_many_as_it_may(client: Everfold) -> None:
    await client.submit(GRAPH)
    await set_limit(client.log, Limit("waiting", "queue", "default", 5))

    found = await client.submit_many([GRAPH] * 10)

    assert sorted(type(one).__name__ for one in found) == ["QueueFull"] * 6 + ["SubmittedJob"] * 4
    assert any(isinstance(one, QueueFull) for one in found)


async def test_jobs_for_a_time_are_submitted_too(client: Everfold) -> None:
    common = JobRequest(workflow=None, run_at_ms=2**41)

    found = await ManySubmits(client.log, common).submit([(GRAPH, None)] * 3)

    for one in found:
        assert isinstance(one, Submission)
        later = client.log.keys.later(client.log.keys.partition_of(one.job_id))
        assert await command(client.log.redis, "ZSCORE", later, one.job_id) is not None


async def test_a_graph_is_stored_also_where_the_job_that_brings_it_is_known(
    client: Everfold,
) -> None:
    keys = [f"key-{number}" for number in range(120)]
    known = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
    other = {"1": {"class_type": "EmptyImage", "inputs": {"width": 16}}}
    for key in keys[:60]:
        await client.submit(known, idempotency_key=key, validate=False)
    outcomes = await client.submit_many([other] * 120, idempotency_keys=keys, validate=False)
    assert {type(one) for one in outcomes[:60]} == {IdempotencyConflict}
    for one in outcomes[60:]:
        assert isinstance(one, SubmittedJob)
        assert await client.graph(one.job_id) == other


async def test_a_call_that_is_cancelled_anywhere_leaves_nothing_behind(client: Everfold) -> None:
    await client.submit(GRAPH)  # what is opened once is open
    loop, reports = asyncio.get_running_loop(), list[dict[str, object]]()
    loop.set_exception_handler(lambda _, report: reports.append(report))
    for turns in range(1, 40):
        before = asyncio.all_tasks()
        call = asyncio.create_task(client.submit_many([GRAPH] * 3, validate=False))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        left = [str(task) for task in asyncio.all_tasks() - before if "submits.py" in str(task)]
        assert left == []
        del call
        gc.collect()
    assert reports == []
    assert ids(await client.submit_many([GRAPH] * 3))
