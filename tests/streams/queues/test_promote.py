"""From later to dispatch when the time has come, and who waited past a deadline."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.events.event import Canceled, Policy, Released
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.redis.redis_errors import command
from tests.streams.events.stored import stored

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
LANES = all_lanes(["default"])
QUEUES = ["default"]


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def test_promote_moves_what_is_due_and_says_when_the_next_is(log: Log) -> None:
    far_ms = int(time.time() * 1000) + 3_600_000
    due = [
        (await log.submit(GRAPH, run_at_ms=time_ms, priority="low")).job_id for time_ms in (1, 2)
    ]
    waiting = (await log.submit(GRAPH, run_at_ms=far_ms)).job_id
    dispatch = Dispatch(log, "r1")
    promotion = await dispatch.promote(0)
    assert (promotion.promoted, promotion.next_due_ms) == (2, far_ms)
    now = await stored(log, due[0])
    assert now.later == {waiting: far_ms}
    assert (now.head["phase"], set(now.waiting)) == ("waiting", set(due))
    leases = await dispatch.claim(0, QUEUES, 9)
    assert [(lease.job_id, lease.priority) for lease in leases] == [(job, "low") for job in due]
    again = await dispatch.promote(0)
    assert (again.promoted, again.next_due_ms) == (0, far_ms)


async def test_a_job_that_ended_while_it_waited_is_not_promoted(log: Log) -> None:
    made = await log.submit(GRAPH, run_at_ms=1)
    await command(log.redis, "HSET", log.keys.head(made.job_id), "phase", "closed")
    await Dispatch(log, "r1").promote(0)
    assert (await stored(log)).places == 0


async def test_only_jobs_that_still_wait_are_overdue(log: Log) -> None:
    policy = Policy(queue_deadline_s=0.001)
    later_ms = int(time.time() * 1000) - 1
    waits = (await log.submit(GRAPH, policy=policy, priority="low")).job_id
    delayed = (await log.submit(GRAPH, policy=policy, run_at_ms=later_ms)).job_id
    ended = (await log.submit(GRAPH, policy=policy)).job_id
    leased = (await log.submit(GRAPH, policy=policy, priority="high")).job_id
    dispatch = Dispatch(log, "r1")
    [lease] = await dispatch.claim(0, QUEUES, 1)
    assert lease.job_id == leased
    await log.append(ended, Canceled(), epoch=UNLEASED)
    assert set((await dispatch.promote(0)).overdue) == {waits, delayed}
    assert set((await stored(log)).deadlines) == {waits, delayed, leased}
    # It came back unstarted: its deadline ends it, although no runner ever has room for it.
    await dispatch.release(lease, Released(reason="no_room"), wait_s=0)
    assert leased in (await dispatch.promote(0)).overdue
