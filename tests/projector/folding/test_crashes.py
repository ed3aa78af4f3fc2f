"""A death at each point of a commit: before it, in it, after it, and between reading and it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import Progressed
from everfold.streams.leases.producer import Producer
from tests.projector.jobs import (
    assert_projected,
    end,
    make_jobs,
    nothing_pending,
    projecting,
    work,
)
from tests.support.servers import OwnServer, StartServer
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

COMMIT = b":active"
"""A projector names this key in its commits only."""


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    return own_server()


@pytest.fixture
async def proxy(server: OwnServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
async def direct(server: OwnServer) -> AsyncIterator[Log]:
    """The log, past the proxy: what the runners do is not disturbed."""
    async with Log.open(server.url, namespace="crash", partitions=2) as log:
        yield log


async def test_commits_that_never_arrive_are_made_again(direct: Log, proxy: FaultProxy) -> None:
    async with Log.open(proxy.url, namespace="crash") as log, projecting(log):
        jobs = await make_jobs(direct, 10)
        await assert_projected(direct, jobs)
        rule = proxy.drop_requests(3, containing=COMMIT)
        await work(direct)
        await rule.used_up(10)
        await assert_projected(direct, jobs)
        await eventually(lambda: nothing_pending(direct), 10)


async def test_commits_whose_answers_are_lost_change_nothing_twice(
    direct: Log, proxy: FaultProxy
) -> None:
    async with Log.open(proxy.url, namespace="crash") as log, projecting(log):
        jobs = await make_jobs(direct, 10)
        await assert_projected(direct, jobs)
        rule = proxy.swallow_replies(3, containing=COMMIT)
        await work(direct)
        await rule.used_up(10)
        await assert_projected(direct, jobs)
        await eventually(lambda: nothing_pending(direct), 10)


async def test_entries_whose_delivery_was_lost_are_read_again(
    direct: Log, proxy: FaultProxy
) -> None:
    async with Log.open(proxy.url, namespace="crash") as log, projecting(log):
        jobs = await make_jobs(direct, 10)
        await assert_projected(direct, jobs)
        rule = proxy.swallow_replies(2, containing=b"EVALSHA_RO")  # all partitions in one page
        await work(direct)
        await rule.used_up(10)
        await assert_projected(direct, jobs)


async def test_an_owner_that_stalls_between_reading_and_committing_changes_nothing(
    direct: Log, proxy: FaultProxy
) -> None:
    """It reads, then nothing it sends arrives for longer than its lease: another one folds."""
    async with Log.open(proxy.url, namespace="crash") as log, projecting(log, "stalled"):
        jobs = await make_jobs(direct, 10)
        await assert_projected(direct, jobs)
        proxy.black_hole(replies=False)
        await work(direct)
        async with projecting(direct, "heir"):
            await assert_projected(direct, jobs, within_s=30)
            await proxy.heal()
            jobs += await make_jobs(direct, 10)
            await work(direct)
            await assert_projected(direct, jobs)


async def test_a_server_that_is_killed_in_mid_commit_has_all_of_a_batch_or_nothing(
    direct: Log, server: OwnServer
) -> None:
    """Many commits are under way whenever it dies; its file decides what has happened."""
    jobs: list[str] = []
    async with projecting(direct):
        for _ in range(4):
            jobs += await make_jobs(direct, 15)
            leases = await work(direct, steps=0, finish=False)
            async with anyio.create_task_group() as tasks:
                for lease in leases:
                    tasks.start_soon(tell, direct, lease)
                await anyio.sleep(0.05)
                await anyio.to_thread.run_sync(server.restart, signal.SIGKILL)
        await assert_projected(direct, jobs, within_s=30)
        await eventually(lambda: nothing_pending(direct), 10)


async def tell(log: Log, lease: Lease) -> None:
    producer = Producer(log, lease.runner)
    for step in range(20):
        event = Progressed(attempt=1, value=step / 20, nodes_done=0, nodes_total=1)
        await producer.append(lease, event)
    await end(log, lease)
