"""Leases: every outcome of claim, take over, renew, release and promote, replies lost or not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.appending.outcomes import Lease, LeaseOver, Renewed
from everfold.streams.errors import Fenced, JobClosed, JobUnknown
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Claimed,
    Failure,
    Recovered,
    Released,
    Retried,
    Started,
    Succeeded,
)
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.keys import RELEASED, RUNNERS_GROUP
from everfold.streams.redis.redis_errors import command
from tests.streams.events.stored import stored

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
NORMAL = ("default", "normal")
LANES = all_lanes(["default"])
QUEUES = ["default"]
DONE = Succeeded(attempt=1, outputs={})
DRAIN = Released(reason="drain")


def retried(not_before_ms: int) -> Retried:
    failure = Failure(code="out_of_memory", message="no room", retryable=True)
    return Retried(attempt=1, failure=failure, not_before_ms=not_before_ms)


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def lease_of(log: Log, runner: str = "r1") -> Lease:
    await log.submit(GRAPH)
    [lease] = await Dispatch(log, runner).claim(0, QUEUES, 1)
    return lease


async def leases_of(log: Log, runner: str, count: int) -> list[Lease]:
    for _ in range(count):
        await log.submit(GRAPH)
    return await Dispatch(log, runner).claim(0, QUEUES, count)


async def test_the_first_claim_makes_the_group_and_a_new_epoch(log: Log) -> None:
    made = await log.submit(GRAPH)
    assert (await stored(log)).pending == {}
    [lease] = await Dispatch(log, "r1").claim(0, QUEUES, 5)
    now = await stored(log, made.job_id)
    told = tuple(await job_events(log, made.job_id))
    dispatch_id = now.head["dispatch"]
    expected = Lease(made.job_id, "r1", 1, 2, "default", "normal", dispatch_id, told)
    assert replace(lease, stored=None) == expected
    assert now.pending == {lease.dispatch_id: "r1"}
    assert now.dispatch == {lease.dispatch_id: made.job_id}
    assert (now.head["phase"], now.head["owner"], now.head["epoch"]) == ("leased", "r1", "1")
    record = (await job_events(log, made.job_id))[-1]
    assert (record.seq, record.epoch, type(record.event)) == (2, 1, Claimed)


async def test_each_first_claim_brings_its_own_jobs_history_and_later_ones_bring_none(
    log: Log,
) -> None:
    for number in range(3):
        await log.submit({"1": {"class_type": "EmptyImage", "inputs": {"n": number}}})
    dispatch = Dispatch(log, "r1")
    leases = await dispatch.claim(0, QUEUES, 5)
    for lease in leases:
        assert list(lease.history) == await job_events(log, lease.job_id)

    await dispatch.release(leases[0], DRAIN, wait_s=0.0)
    await dispatch.promote(0)
    [again] = await dispatch.claim(0, QUEUES, 5)

    assert (again.job_id, again.history) == (leases[0].job_id, ())


async def test_what_was_told_before_the_first_claim_must_be_read(log: Log) -> None:
    made = await log.submit(GRAPH)
    await log.append(made.job_id, CancelRequested(), epoch=0)
    [lease] = await Dispatch(log, "r1").claim(0, QUEUES, 5)
    assert (lease.seq, lease.history) == (3, ())


async def test_nothing_to_claim_changes_nothing(log: Log) -> None:
    before = await stored(log)
    assert await Dispatch(log, "r1").claim(0, QUEUES, 5) == []
    await log.submit(GRAPH)
    assert await Dispatch(log, "r1").claim(0, QUEUES, 0) == []
    assert await Dispatch(log, "r1").claim(0, ["other"], 5) == []
    assert before.pending == (await stored(log)).pending


@pytest.mark.parametrize("orphan", ["unknown", "closed"])
async def test_waiting_jobs_that_are_none_are_removed_by_whoever_meets_them(
    log: Log, orphan: str
) -> None:
    job_id = "nobody"
    if orphan == "closed":
        job_id = (await log.submit(GRAPH)).job_id
        await log.append(job_id, Canceled(), epoch=UNLEASED)
    made = await log.submit(GRAPH)
    line = (await stored(log, made.job_id)).head["line"]
    for key in (log.keys.waiting(0, "default"), log.keys.line(0, "default", line)):
        await command(log.redis, "ZADD", key, 1, job_id)
    leases = await Dispatch(log, "r1").claim(0, QUEUES, 9)
    assert [lease.job_id for lease in leases] == [made.job_id]
    assert (await stored(log)).waiting == {}


@pytest.mark.parametrize("orphan", ["unknown", "closed", "not ours"])
async def test_entries_of_no_open_job_are_removed_when_leases_are_restored(
    log: Log, orphan: str
) -> None:
    [lease] = await leases_of(log, "r1", 1)
    job_id = "nobody"
    if orphan == "closed":
        job_id = (await log.submit(GRAPH)).job_id
        await log.append(job_id, Canceled(), epoch=UNLEASED)
    fields = ("x", "y") if orphan == "not ours" else ("j", job_id)
    for _ in range(3):
        await command(log.redis, "XADD", log.keys.dispatch(0, *NORMAL), "*", *fields)
    dispatch = Dispatch(log, "r2")
    assert await dispatch.lacks_leases(0, NORMAL)
    assert await dispatch.restore(0, NORMAL) == 3
    assert not await dispatch.lacks_leases(0, NORMAL)
    assert await dispatch.take_over(0, NORMAL, idle_limit_s=60) == ("-", [])
    now = await stored(log)
    assert now.dispatch == {lease.dispatch_id: lease.job_id}
    assert now.pending == {lease.dispatch_id: "r1"}


async def test_jobs_of_a_lost_group_are_released_and_taken_over(log: Log) -> None:
    leases = await leases_of(log, "r1", 3)
    await command(log.redis, "XGROUP DESTROY", log.keys.dispatch(0, *NORMAL), RUNNERS_GROUP)
    _, taken = await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=60)
    assert [lease.job_id for lease in taken] == [lease.job_id for lease in leases]
    assert {lease.epoch for lease in taken} == {2}


async def test_an_orphaned_entry_that_is_pending_is_removed_by_a_take_over(log: Log) -> None:
    lease = await lease_of(log)
    await command(log.redis, "DEL", log.keys.head(lease.job_id))
    assert await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=0) == ("-", [])
    now = await stored(log)
    assert (now.places, now.pending) == (0, {})


async def test_where_there_is_no_group_there_is_nothing_to_take_over(log: Log) -> None:
    assert await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=0) == ("-", [])


async def test_a_take_over_counts_the_crash_and_raises_the_epoch(log: Log) -> None:
    lease = await lease_of(log)
    for crashes in (1, 2, 3):
        survivor = Dispatch(log, f"s{crashes}")
        cursor, [taken] = await survivor.take_over(0, NORMAL, idle_limit_s=0)
        assert (cursor, taken.epoch, taken.dispatch_id) == ("-", 1 + crashes, lease.dispatch_id)
        record = (await job_events(log, lease.job_id))[-1]
        assert (record.seq, record.epoch) == (taken.seq, taken.epoch)
        assert isinstance(record.event, Recovered)
        assert (record.event.crashes, record.event.reason) == (crashes, "lease_expired")
        assert record.event.previous_owner == ("r1" if crashes == 1 else f"s{crashes - 1}")
    now = await stored(log, lease.job_id)
    assert (now.pending, now.places, now.head["owner"]) == ({lease.dispatch_id: "s3"}, 1, "s3")


async def test_entries_behind_a_thousand_of_a_living_runner_are_reached(log: Log) -> None:
    await leases_of(log, "survivor", 1500)
    dead = {lease.job_id for lease in await leases_of(log, "dead", 30)}
    survivor, cursor, taken = Dispatch(log, "survivor"), "-", set[str]()
    for _ in range(4):
        cursor, leases = await survivor.take_over(0, NORMAL, idle_limit_s=0, cursor=cursor, most=10)
        taken |= {lease.job_id for lease in leases}
    assert taken == dead
    assert cursor == "-"


async def test_a_suspect_s_entries_behind_a_thousand_of_others_are_taken_at_once(log: Log) -> None:
    await leases_of(log, "alive", 1100)
    suspected = {lease.job_id for lease in await leases_of(log, "suspect", 5)}
    cursor, leases = await Dispatch(log, "survivor").take_over(
        0, NORMAL, idle_limit_s=3600, suspect="suspect"
    )
    assert ({lease.job_id for lease in leases}, cursor) == (suspected, "-")
    event = (await job_events(log, leases[0].job_id))[-1].event
    assert isinstance(event, Recovered)
    assert event.reason == "connection_gone"


@pytest.mark.usefixtures("rested_server")
async def test_a_lease_that_was_renewed_has_not_run_out(log: Log) -> None:
    lease = await lease_of(log)
    key = log.keys.dispatch(0, *NORMAL)
    # Ten seconds ago, as far as the server knows.
    ago = ("IDLE", 10_000, "JUSTID")
    await command(log.redis, "XCLAIM", key, RUNNERS_GROUP, "r1", 0, lease.dispatch_id, *ago)
    assert await Dispatch(log, "r1").renew([lease]) == [Renewed(canceling=False)]
    assert await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=0.9) == ("-", [])
    await command(log.redis, "XCLAIM", key, RUNNERS_GROUP, "r1", 0, lease.dispatch_id, *ago)
    _, [taken] = await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=0.9)
    assert taken.job_id == lease.job_id


@pytest.mark.usefixtures("rested_server")
async def test_renewing_never_takes_a_job_back(log: Log) -> None:
    lost, released, ended, kept = await leases_of(log, "r1", 4)
    own = Dispatch(log, "r1")
    await own.release(released, DRAIN)
    await log.append(ended.job_id, DONE, epoch=ended.epoch)
    key = log.keys.dispatch(0, *NORMAL)
    old = ("IDLE", 60_000, "JUSTID")
    await command(log.redis, "XCLAIM", key, RUNNERS_GROUP, "r1", 0, lost.dispatch_id, *old)
    _, taken = await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=1)
    assert {lease.job_id for lease in taken} == {lost.job_id, released.job_id}
    await log.append(kept.job_id, CancelRequested(), epoch=0)
    before = await stored(log, lost.job_id)
    assert await own.renew([lost, released, ended, kept]) == [
        LeaseOver(2),
        LeaseOver(2),
        LeaseOver(1),
        Renewed(canceling=True),
    ]
    assert await stored(log, lost.job_id) == before


async def test_an_old_lease_is_over_even_when_its_runner_has_the_job_again(log: Log) -> None:
    old = await lease_of(log)
    own = Dispatch(log, "r1")
    await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=0)
    _, [new] = await own.take_over(0, NORMAL, idle_limit_s=0)
    assert await own.renew([old, new]) == [LeaseOver(3), Renewed(canceling=False)]
    with pytest.raises(Fenced):
        await log.append(old.job_id, Started(attempt=1), epoch=old.epoch, holder="r1")


async def test_a_take_over_corrects_the_place_that_a_head_names(log: Log) -> None:
    # As after a server came back with older data and the job was put back to dispatch by hand.
    job_id = (await lease_of(log)).job_id
    key = log.keys.dispatch(0, *NORMAL)
    await command(log.redis, "DEL", key)
    await command(log.redis, "XADD", key, "*", "j", job_id)
    _, [lease] = await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=0)
    await log.append(job_id, DONE, epoch=lease.epoch)
    now = await stored(log, job_id)
    assert (now.places, now.pending) == (0, {})


async def test_renewing_a_job_that_is_unknown_or_another_runner_s_is_refused(log: Log) -> None:
    lease = await lease_of(log)
    foreign = Lease(lease.job_id, "r2", 1, 2, "default", "normal", lease.dispatch_id)
    nobody = Lease("nobody", "r1", 1, 2, "default", "normal", lease.dispatch_id)
    assert await Dispatch(log, "r2").renew([foreign]) == [LeaseOver(1)]
    assert await Dispatch(log, "r1").renew([nobody]) == [LeaseOver(-1)]
    assert (await stored(log)).pending == {lease.dispatch_id: "r1"}


async def test_many_leases_are_renewed_in_the_order_given(log: Log) -> None:
    leases = await leases_of(log, "r1", 1203)
    over = Lease("nobody", "r1", 1, 2, "default", "low", "1-1")
    outcomes = await Dispatch(log, "r1").renew([*leases[:700], over, *leases[700:]])
    assert [type(outcome) for outcome in outcomes] == [Renewed] * 700 + [LeaseOver] + [
        Renewed
    ] * 503


async def test_a_released_job_waits_with_nobody_until_the_next_sweep(log: Log) -> None:
    lease = await lease_of(log)
    appended = await Dispatch(log, "r1").release(lease, DRAIN)
    now = await stored(log, lease.job_id)
    assert (appended.seq, appended.duplicate) == (3, False)
    assert (now.pending, now.places) == ({lease.dispatch_id: RELEASED}, 1)
    assert (now.head["phase"], now.head["owner"], now.head["epoch"]) == ("released", "", "1")
    assert await Dispatch(log, "r2").claim(0, QUEUES, 1) == []
    _, [taken] = await Dispatch(log, "r1").take_over(0, NORMAL, idle_limit_s=3600)
    assert taken.epoch == 2
    assert "crashes" not in (await stored(log, lease.job_id)).head
    kinds = [type(record.event).__name__ for record in await job_events(log, lease.job_id)]
    assert kinds == ["Submitted", "Claimed", "Released", "Claimed"]


async def test_a_job_that_is_given_back_for_later_leaves_dispatch(log: Log) -> None:
    lease = await lease_of(log)
    due_ms = int(time.time() * 1000) + 3_600_000
    await Dispatch(log, "r1").release(lease, retried(due_ms))
    now = await stored(log, lease.job_id)
    assert (now.dispatch, now.pending, now.later) == ({}, {}, {lease.job_id: due_ms})
    assert (now.head["phase"], now.head["owner"], now.head["dispatch"]) == ("later", "", "")
    with pytest.raises(Fenced):
        await log.append(lease.job_id, Started(attempt=1), epoch=lease.epoch)
    promotion = await Dispatch(log, "r1").promote(0)
    assert (promotion.promoted, promotion.next_due_ms, promotion.overdue) == (0, due_ms, ())


async def test_a_released_job_that_waits_has_the_place_that_it_had(log: Log) -> None:
    first, second = await lease_of(log), (await log.submit(GRAPH)).job_id
    dispatch = Dispatch(log, "r1")
    await dispatch.release(first, Released(reason="no room"), wait_s=0.0)
    assert (await dispatch.promote(0)).promoted == 1
    leases = await dispatch.claim(0, QUEUES, 2)
    assert [lease.job_id for lease in leases] == [first.job_id, second]
    assert [lease.epoch for lease in leases] == [2, 1]


async def test_only_the_holder_of_an_open_job_may_release_it(log: Log) -> None:
    lease = await lease_of(log)
    dispatch = Dispatch(log, "r1")
    nobody = Lease("nobody", "r1", 1, 2, "default", "normal", "1-1")
    with pytest.raises(JobUnknown):
        await dispatch.release(nobody, DRAIN)
    foreign = Lease(lease.job_id, "r2", 1, 2, "default", "normal", lease.dispatch_id)
    with pytest.raises(Fenced):
        await dispatch.release(foreign, DRAIN)
    _, [taken] = await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=0)
    before = await stored(log, lease.job_id)
    with pytest.raises(Fenced) as fenced:
        await dispatch.release(lease, DRAIN)
    assert (fenced.value.epoch, fenced.value.current_epoch) == (1, 2)
    assert await stored(log, lease.job_id) == before
    await log.append(lease.job_id, DONE, epoch=taken.epoch)
    with pytest.raises(JobClosed, match="succeeded"):
        await Dispatch(log, "r2").release(taken, DRAIN)
