"""Writes while replies get lost, and while the server is away for a short or a long time."""

from __future__ import annotations

import anyio
import pytest
from anyio.to_thread import run_sync

from everfold.streams.appending.group_commit import PER_JOB_LIMIT
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Appended, Lease, Renewed
from everfold.streams.errors import ServerUnreachable, Unavailable
from everfold.streams.events.event import (
    Failure,
    Released,
    Retried,
    Rewound,
    Started,
)
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.retry import Backoff, with_retry
from tests.streams.events.stored import load_scripts, stored
from tests.support.servers import OwnServer, StartServer
from tests.support.trouble.fault_proxy import FaultProxy

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
NORMAL = ("default", "normal")
LANES = all_lanes(["default"])
QUEUES = ["default"]
DRAIN = Released(reason="drain")


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    # With everysec a killed server can lose what it acknowledged while it was busy with an fsync.
    return own_server(tcp=True, appendfsync="always")


def retried(not_before_ms: int) -> Retried:
    failure = Failure(code="out_of_memory", message="no room", retryable=True)
    return Retried(attempt=1, failure=failure, not_before_ms=not_before_ms)


async def lease_of(log: Log) -> Lease:
    await log.submit(GRAPH)
    [lease] = await Dispatch(log, "r1").claim(0, QUEUES, 1)
    return lease


async def ask(log: Log, job_id: str, into: list[Appended] | None = None) -> None:
    appended = await log.append(job_id, Rewound(seen_seq=1, found_seq=0), epoch=0)
    if into is not None:
        into.append(appended)


@pytest.mark.parametrize("count", [1, 3])
async def test_appends_whose_replies_were_lost_are_stored_once(
    server: OwnServer, count: int
) -> None:
    async with (
        FaultProxy(server.url) as proxy,
        Log.open(proxy.url, namespace="lost", partitions=1) as log,
    ):
        await load_scripts(log)
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(4)]
        rule = proxy.swallow_replies(count, containing=b"job.rewound")
        appended: list[Appended] = []
        async with anyio.create_task_group() as tasks:
            for job_id in jobs * 10:
                tasks.start_soon(ask, log, job_id, appended)
        await rule.used_up()
        for job_id in jobs:
            assert [r.seq for r in await job_events(log, job_id)] == list(range(1, 12))
        assert sorted(one.seq for one in appended) == sorted([*range(2, 12)] * 4)
        # The batch of the first caller, sent again, and nothing else.
        first = PER_JOB_LIMIT * len(jobs)
        assert [one.duplicate for one in appended].count(True) == first


async def test_a_large_batch_whose_reply_was_lost_is_stored_once(server: OwnServer) -> None:
    async with (
        FaultProxy(server.url) as proxy,
        Log.open(proxy.url, namespace="lost", partitions=1) as log,
    ):
        await load_scripts(log)
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(40)]
        # All travel together, and the reply to all of them gets lost.
        rule = proxy.swallow_replies(1, containing=jobs[-1].encode())
        appended: list[Appended] = []
        async with anyio.create_task_group() as tasks:
            for job_id in [jobs[0], *jobs]:
                tasks.start_soon(ask, log, job_id, appended)
        await rule.used_up()
        for job_id in jobs[1:]:
            assert [r.seq for r in await job_events(log, job_id)] == [1, 2]
        assert [one.duplicate for one in appended].count(True) == 41


async def test_a_submit_whose_reply_was_lost_makes_one_job(server: OwnServer) -> None:
    async with FaultProxy(server.url) as proxy, Log.open(proxy.url, namespace="lost") as log:
        await load_scripts(log)
        rule = proxy.swallow_replies(2, containing=b"job.submitted")
        made = await log.submit(GRAPH)
        await rule.used_up()
        assert made.created
        [record] = await job_events(log, made.job_id)
        assert record.entry_id == made.entry_id
        [lease] = await Producer(log, "r").claim(most=9)
        assert lease.job_id == made.job_id


async def test_a_claim_whose_reply_was_lost_is_named_by_own_leases(own_server: StartServer) -> None:
    server = own_server(tcp=True)
    async with (
        FaultProxy(server.url) as proxy,
        Log.open(proxy.url, namespace="lost", partitions=1) as log,
    ):
        await load_scripts(log)
        jobs = {(await log.submit(GRAPH)).job_id for _ in range(4)}
        dispatch = Dispatch(log, "r1")
        rule = proxy.swallow_replies(1, containing=b"job.claimed")
        with pytest.raises(Unavailable):
            await dispatch.claim(0, QUEUES, 3)
        await rule.used_up()
        held = await dispatch.own_leases(LANES)
        assert len(held) == 3
        assert {lease.job_id for lease in held} < jobs
        for lease in held:
            await log.append(lease.job_id, Started(attempt=1), epoch=lease.epoch, holder="r1")
        assert await dispatch.renew(held) == [Renewed(canceling=False)] * 3
        [rest] = await dispatch.claim(0, QUEUES, 3)
        assert rest.job_id not in {lease.job_id for lease in held}


async def test_a_take_over_whose_reply_was_lost_is_named_by_own_leases(
    own_server: StartServer,
) -> None:
    server = own_server(tcp=True)
    async with (
        FaultProxy(server.url) as proxy,
        Log.open(proxy.url, namespace="lost", partitions=1) as log,
    ):
        await load_scripts(log)
        lease = await lease_of(log)
        survivor = Dispatch(log, "r2")
        proxy.swallow_replies(1, containing=b"job.recovered")
        with pytest.raises(Unavailable):
            await survivor.take_over(0, NORMAL, idle_limit_s=0)
        [held] = await survivor.own_leases(LANES)
        assert (held.job_id, held.epoch, held.dispatch_id) == (lease.job_id, 2, lease.dispatch_id)
        assert await Dispatch(log, "r1").own_leases(LANES) == []


@pytest.mark.parametrize("due_ms", [0, 2_000_000_000_000])
async def test_a_release_whose_reply_was_lost_is_stored_once(
    own_server: StartServer, due_ms: int
) -> None:
    server = own_server(tcp=True)
    async with (
        FaultProxy(server.url) as proxy,
        Log.open(proxy.url, namespace="lost", partitions=1) as log,
    ):
        await load_scripts(log)
        lease = await lease_of(log)
        event = retried(due_ms) if due_ms else DRAIN
        rule = proxy.swallow_replies(2, containing=event.__struct_config__.tag.encode())  # type: ignore[union-attr]  # tags are text
        appended = await Dispatch(log, "r1").release(lease, event)
        await rule.used_up()
        assert (appended.seq, appended.duplicate) == (3, True)
        assert len(await job_events(log, lease.job_id)) == 3
        assert (await stored(log)).places == 1


async def test_what_never_arrived_is_sent_again(server: OwnServer) -> None:
    async with FaultProxy(server.url) as proxy, Log.open(proxy.url, namespace="lost") as log:
        await load_scripts(log)
        job_id = (await log.submit(GRAPH)).job_id
        rule = proxy.drop_requests(3, containing=b"job.rewound")
        appended: list[Appended] = []
        await ask(log, job_id, appended)
        await rule.used_up()
        assert [(one.seq, one.duplicate) for one in appended] == [(2, False)]


async def test_a_server_that_is_away_for_a_while_costs_time_and_no_event(
    server: OwnServer,
) -> None:
    async with Log.open(server.url, namespace="away") as log:
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(4)]
        await run_sync(server.kill)
        async with anyio.create_task_group() as tasks:
            for job_id in jobs:
                tasks.start_soon(ask, log, job_id)
            await anyio.sleep(1.2)  # the outage itself
            await run_sync(server.start)
        for job_id in jobs:
            assert len(await job_events(log, job_id)) == 2


async def test_a_server_that_stays_away_is_reported_to_every_caller(server: OwnServer) -> None:
    async with Log.open(server.url, namespace="gone") as log:
        log.retry_for_s = 0.3
        job_id = (await log.submit(GRAPH)).job_id
        await run_sync(server.kill)
        failures: list[Unavailable] = []

        async def append() -> None:
            try:
                await ask(log, job_id)
            except Unavailable as error:
                failures.append(error)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(append)
        assert len(failures) == 20


async def test_nobody_waits_out_the_retries_of_those_in_front(server: OwnServer) -> None:
    async with Log.open(server.url, namespace="gone") as log:
        log.retry_for_s = 0.5
        job_id = (await log.submit(GRAPH)).job_id
        await run_sync(server.kill)
        failures: list[str] = []

        async def append() -> None:
            try:
                await ask(log, job_id)
            except Unavailable as error:
                failures.append(type(error).__name__)

        # A hundred of one job are thirteen batches.
        with anyio.fail_after(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(100):
                    tasks.start_soon(append)
        assert failures == ["ServerUnreachable"] * 100
        await run_sync(server.start)
        await ask(log, job_id)
        assert len(await job_events(log, job_id)) == 2


async def test_reading_waits_for_the_server_too(server: OwnServer) -> None:
    async with Log.open(server.url, namespace="away") as log:
        job_id = (await log.submit(GRAPH)).job_id
        await run_sync(server.kill)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_sync, server.start)
            assert len(await job_events(log, job_id)) == 1


async def test_retrying_ends_with_the_last_error() -> None:
    calls: list[int] = []

    async def call() -> None:
        calls.append(1)
        raise ServerUnreachable(f"try {len(calls)}")

    with pytest.raises(ServerUnreachable, match=r"try [2-9]"), anyio.fail_after(5):
        await with_retry(call, 0.2)


async def test_what_is_wrong_is_not_tried_again() -> None:
    calls: list[int] = []

    async def call() -> None:
        calls.append(1)
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await with_retry(call, 5)
    assert calls == [1]


def test_each_wait_is_half_to_all_of_a_step_that_doubles_up_to_its_limit() -> None:
    backoff = Backoff(first_s=0.1, most_s=1.0)
    for step_s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0):
        assert step_s / 2 <= backoff.next_s() <= step_s


def test_after_a_success_it_begins_again() -> None:
    backoff = Backoff(first_s=0.1, most_s=1.0)
    for _ in range(9):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_many_clients_do_not_return_at_once() -> None:
    assert len({Backoff(first_s=1.0).next_s() for _ in range(50)}) > 40
