"""Every outcome of every script, and what Redis holds before and after."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import cast

import pytest

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.appending.outcomes import Lease, LeaseOver, Renewed
from everfold.streams.errors import (
    Fenced,
    IdempotencyConflict,
    JobClosed,
    JobLeased,
    JobUnknown,
    Refused,
    WrongExpectedSequence,
)
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Claimed,
    Failure,
    Policy,
    Progressed,
    Recovered,
    Released,
    Retried,
    Started,
    Succeeded,
)
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command, read_hash
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
OTHER = {"1": {"class_type": "LoadImage", "inputs": {}}}
NORMAL = ("default", "normal")
LANES = all_lanes(["default"])
QUEUES = ["default"]


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def submit(log: Log, **more: object) -> str:
    return (await log.submit(GRAPH, **more)).job_id  # type: ignore[arg-type]


async def claim(log: Log, runner: str = "r1", most: int = 1) -> list[Lease]:
    return await Dispatch(log, runner).claim(0, QUEUES, most)


async def waiting_entries(log: Log) -> int:
    return cast("int", await command(log.redis, "ZCARD", log.keys.waiting(0, "default")))


async def pending_entries(log: Log) -> int:
    reply = await command(log.redis, "XPENDING", log.keys.dispatch(0, *NORMAL), "runners")
    return cast("list[int]", reply)[0]


async def test_submit_makes_everything_at_once_and_a_repeat_finds_the_job(log: Log) -> None:
    first = await log.submit(GRAPH, idempotency_key="k")
    again = await log.submit(GRAPH, idempotency_key="k")
    assert (first.created, again.created) == (True, False)
    assert (again.job_id, again.entry_id) == (first.job_id, first.entry_id)
    assert await waiting_entries(log) == 1
    assert len(await job_events(log, first.job_id)) == 1
    with pytest.raises(IdempotencyConflict, match="another workflow"):
        await log.submit(OTHER, idempotency_key="k")


async def test_an_event_is_appended_once_however_often_it_is_sent(log: Log) -> None:
    await submit(log)
    [lease] = await claim(log)
    event = log.stamp(Started(attempt=1))
    first = await log.append(lease.job_id, event, epoch=lease.epoch)
    for step in range(5):
        progress = Progressed(attempt=1, value=step / 9, nodes_done=0, nodes_total=1)
        await log.append(lease.job_id, progress, epoch=lease.epoch)
    again = await log.append(lease.job_id, event, epoch=lease.epoch)
    assert (again.seq, again.entry_id, again.duplicate) == (first.seq, first.entry_id, True)


async def test_append_refuses_what_must_not_enter(log: Log) -> None:
    job_id = await submit(log)
    with pytest.raises(Fenced):
        await log.append(job_id, Started(attempt=1), epoch=1)
    with pytest.raises(JobUnknown):
        await log.append("nobody", Started(attempt=1), epoch=0)
    [lease] = await claim(log)
    with pytest.raises(JobLeased, match="r1"):
        await log.append(job_id, Canceled(), epoch=UNLEASED)
    with pytest.raises(WrongExpectedSequence, match="at sequence 2, not at the expected 7"):
        await log.append(job_id, Started(attempt=1), epoch=lease.epoch, expected=7)
    with pytest.raises(Fenced):
        await log.append(job_id, Started(attempt=1), epoch=lease.epoch, holder="r2")
    with pytest.raises(Refused, match="terminal"):
        await log.append(job_id, Canceled(), epoch=0)
    await log.append(job_id, Succeeded(attempt=1, outputs={}), epoch=lease.epoch)
    with pytest.raises(JobClosed, match="succeeded"):
        await log.append(job_id, Started(attempt=1), epoch=lease.epoch)
    assert [record.seq for record in await job_events(log, job_id)] == [1, 2, 3]


async def test_a_terminal_event_takes_the_job_out_of_dispatch_in_the_same_step(log: Log) -> None:
    job_id = await submit(log)
    [lease] = await claim(log)
    assert (await waiting_entries(log), await pending_entries(log)) == (0, 1)
    await log.append(job_id, Succeeded(attempt=1, outputs={}), epoch=lease.epoch)
    assert (await waiting_entries(log), await pending_entries(log)) == (0, 0)
    head = await read_hash(log.redis, log.keys.head(job_id))
    assert (head[b"status"], head[b"phase"]) == (b"succeeded", b"closed")


async def test_a_graph_is_kept_as_long_as_an_open_job_needs_it(log: Log) -> None:
    jobs = [await submit(log) for _ in range(2)]
    [sha] = await read_hash(log.redis, log.keys.workflows(0))
    key = log.keys.workflow(0, sha.decode())
    leases = await claim(log, most=2)
    done = Succeeded(attempt=1, outputs={})
    await log.append(leases[0].job_id, done, epoch=leases[0].epoch)
    assert await command(log.redis, "TTL", key) == -1
    await log.append(leases[1].job_id, done, epoch=leases[1].epoch)
    assert cast("int", await command(log.redis, "TTL", key)) > 6 * 24 * 3600
    await submit(log)
    assert await command(log.redis, "TTL", key) == -1
    assert await log.workflow(jobs[0], sha.decode()) is not None


async def test_a_job_nobody_holds_is_closed_without_a_lease(log: Log) -> None:
    job_id = await submit(log)
    await log.append(job_id, CancelRequested(), epoch=0)
    await log.append(job_id, Canceled(), epoch=UNLEASED)
    assert await waiting_entries(log) == 0
    assert await claim(log) == []


async def test_claims_follow_the_lanes_and_stop_at_the_limit(log: Log) -> None:
    low, high = await submit(log, priority="low"), await submit(log, priority="high")
    normal = [await submit(log) for _ in range(3)]
    leases = await claim(log, most=3)
    assert [lease.job_id for lease in leases] == [high, *normal[:2]]
    assert [lease.job_id for lease in await claim(log, most=9)] == [normal[2], low]
    assert [lease.epoch for lease in leases] == [1, 1, 1]
    assert await claim(log) == []


async def test_only_leases_that_ran_out_are_taken_over(log: Log) -> None:
    await submit(log)
    [lease] = await claim(log)
    survivor = Dispatch(log, "r2")
    assert await survivor.take_over(0, NORMAL, idle_limit_s=60) == ("-", [])
    _, [taken] = await survivor.take_over(0, NORMAL, idle_limit_s=0)
    assert (taken.job_id, taken.epoch, taken.runner) == (lease.job_id, 2, "r2")
    event = (await job_events(log, lease.job_id))[-1].event
    assert isinstance(event, Recovered)
    assert (event.previous_owner, event.crashes, event.owner) == ("r1", 1, "r2")
    assert await Dispatch(log, "r1").renew([lease]) == [LeaseOver(2)]
    assert await survivor.renew([taken]) == [Renewed(canceling=False)]
    assert await survivor.take_over(0, NORMAL, idle_limit_s=0) == ("-", []), "not from itself"


async def test_a_suspect_loses_its_leases_at_once_and_nobody_else_does(log: Log) -> None:
    for _ in range(2):
        await submit(log)
    [first], [second] = await claim(log, "r1"), await claim(log, "r2")
    _, taken = await Dispatch(log, "r3").take_over(0, NORMAL, idle_limit_s=60, suspect="r1")
    assert [lease.job_id for lease in taken] == [first.job_id]
    assert await Dispatch(log, "r2").renew([second]) == [Renewed(canceling=False)]


async def test_a_walk_from_a_kept_cursor_reaches_every_entry(log: Log) -> None:
    jobs = {await submit(log) for _ in range(1200)}
    await claim(log, "dead", most=1200)
    survivor, cursor, taken, calls = Dispatch(log, "r2"), "-", set[str](), 0
    while len(taken) < 1200:
        cursor, leases = await survivor.take_over(
            0, NORMAL, idle_limit_s=0, cursor=cursor, most=100
        )
        taken |= {lease.job_id for lease in leases}
        calls += 1
        assert calls < 40, "some entry starves"
    assert taken == jobs


async def test_renewing_tells_of_a_wish_to_cancel(log: Log) -> None:
    job_id = await submit(log)
    [lease] = await claim(log)
    await log.append(job_id, CancelRequested(), epoch=0)
    assert await Dispatch(log, "r1").renew([lease]) == [Renewed(canceling=True)]


async def test_a_released_job_is_taken_at_once_and_that_is_no_crash(log: Log) -> None:
    job_id = await submit(log)
    [lease] = await claim(log)
    await Dispatch(log, "r1").release(lease, Released(reason="drain"))
    with pytest.raises(Fenced):
        await log.append(job_id, Started(attempt=1), epoch=lease.epoch)
    _, [taken] = await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=86_400)
    assert taken.epoch == 2
    assert isinstance((await job_events(log, job_id))[-1].event, Claimed)


async def test_a_release_sent_again_is_a_duplicate(log: Log) -> None:
    await submit(log)
    [lease] = await claim(log)
    event = log.stamp(Released(reason="drain"))
    dispatch = Dispatch(log, "r1")
    first = await dispatch.release(lease, event)
    again = await dispatch.release(lease, event)
    assert (again.seq, again.duplicate) == (first.seq, True)


async def test_a_retried_job_waits_for_its_time_and_comes_back(log: Log) -> None:
    job_id = await submit(log)
    [lease] = await claim(log)
    due_ms = int(time.time() * 1000) + 300
    failure = Failure(code="out_of_memory", message="no room", retryable=True)
    retried = Retried(attempt=1, failure=failure, not_before_ms=due_ms)
    dispatch = Dispatch(log, "r1")
    await dispatch.release(lease, retried)
    assert await waiting_entries(log) == 0
    assert (await dispatch.promote(0)).promoted == 0
    assert (await dispatch.promote(0)).next_due_ms == due_ms

    async def due() -> bool:
        return (await dispatch.promote(0)).promoted == 1

    await eventually(due)
    assert [lease.job_id for lease in await claim(log)] == [job_id]


async def test_jobs_that_wait_too_long_are_named_until_they_are_closed(log: Log) -> None:
    job_id = await submit(log, policy=Policy(queue_deadline_s=0.001))
    dispatch = Dispatch(log, "r1")

    async def named() -> bool:  # a limit of nothing is one millisecond
        return (await dispatch.promote(0)).overdue == (job_id,)

    await eventually(named)
    assert await named()
    await log.append(job_id, Canceled(), epoch=UNLEASED)
    assert (await dispatch.promote(0)).overdue == ()


async def test_held_names_the_leases_that_the_server_knows(log: Log) -> None:
    jobs = {await submit(log) for _ in range(3)}
    await claim(log, most=3)
    held = await Dispatch(log, "r1").own_leases(LANES)
    assert {lease.job_id for lease in held} == jobs
    assert {lease.epoch for lease in held} == {1}
    assert await Dispatch(log, "r2").own_leases(LANES) == []


async def test_scripts_that_the_server_forgot_are_sent_again(log: Log) -> None:
    await submit(log)
    await command(log.redis, "SCRIPT FLUSH")
    [lease] = await claim(log)
    await command(log.redis, "SCRIPT FLUSH")
    assert (await log.append(lease.job_id, Started(attempt=1), epoch=lease.epoch)).seq == 3
