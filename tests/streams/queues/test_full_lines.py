"""Users at their running limit, however many, keep nobody behind them from a runner."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.leases.full_lines import at_limit
from everfold.streams.leases.producer import Producer
from everfold.streams.queues.limits import Limit, remove_limit, set_limit
from everfold.streams.queues.waiting_jobs import in_order, peek_all

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
QUEUE = "default"


@pytest.fixture(params=[False, True], ids=["shared", "spread"])
async def log(redis_url: str, namespace: str, request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    spread = request.param
    async with Log.open(redis_url, namespace=namespace, partitions=1, spread=spread) as log:
        yield log


async def submit(log: Log, user: str, priority: str = "normal") -> str:
    return (await log.submit(GRAPH, user=user, priority=priority)).job_id


async def at_their_limit(log: Log, users: int) -> None:
    """Let this many users have one job that runs, the most that they may have, and one more."""
    await set_limit(log, Limit("running", "user", "*", 1))
    for number in [*range(users), *range(users)]:
        await submit(log, f"user-{number}", "high")
    assert len(await Producer(log, "busy", lease_ttl_s=120).claim(users)) == users


async def test_a_newcomer_is_served_behind_many_users_at_their_limit(log: Log) -> None:
    await at_their_limit(log, 150)
    first, second = [await submit(log, user) for user in ("newcomer", "another")]
    producer = Producer(log, "free", lease_ttl_s=120)

    assert [lease.job_id for lease in await producer.claim()] == [first]
    assert [lease.job_id for lease in await producer.claim(most=3)] == [second]


async def test_a_question_about_limits_leases_nothing(log: Log) -> None:
    await at_their_limit(log, 3)
    free = await submit(log, "newcomer")
    waiting = in_order(await peek_all(log, [0], QUEUE))

    assert await at_limit(log, QUEUE, waiting) == [job for job in waiting if job.job_id != free]
    assert in_order(await peek_all(log, [0], QUEUE)) == waiting
    await remove_limit(log, "running", "user", "*")
    assert await at_limit(log, QUEUE, waiting) == []
    assert in_order(await peek_all(log, [0], QUEUE)) == waiting
    assert await at_limit(log, QUEUE, []) == []
