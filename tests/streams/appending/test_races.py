"""A reader or a trim beside a job that moves: whenever the job is released, nothing of it is lost.

Rule: the other program acts before each command that is sent, one after the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.errors import Trimmed
from everfold.streams.events.event import Failure, Released, Retried, Succeeded
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.history import history_pages, job_history
from everfold.streams.retention.trimming import trim
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
LANES = all_lanes(["default"])
QUEUES = ["default"]
NORMAL = ("default", "normal")
RETRIED = Retried(attempt=1, failure=Failure(code="x", message="y"), not_before_ms=2**41)
STEPS = 60
"""More commands than anything here sends."""

Act = Callable[[], Awaitable[object]]


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


@pytest.fixture
async def other(log: Log) -> AsyncIterator[Log]:
    async with Log.open(log.url, namespace=log.keys.namespace) as other:
        yield other


async def leased(log: Log) -> Lease:
    """Make a job that has ended, and one that has a lease."""
    for _ in range(2):
        await log.submit(GRAPH)
    ended, lease = await Dispatch(log, "r1").claim(0, QUEUES, 2)
    await log.append(ended.job_id, Succeeded(attempt=1, outputs={}), epoch=1)
    return lease


async def acting_before(step: int, log: Log, act: Act, work: Act) -> bool:
    """Work, and `act` before command number `step` of it. Say whether it sent so many."""
    send, sent = PipeliningRedis.execute_command, 0

    async def sending(self: PipeliningRedis, *words: object, **options: object) -> object:
        nonlocal sent
        if self is log.redis:
            sent += 1
            if sent == step:
                await act()
        return await send(self, *words, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PipeliningRedis, "execute_command", sending)
        await work()
    return sent >= step


@pytest.mark.parametrize("event", [RETRIED, Released(reason="drain")], ids=["retry", "release"])
async def test_a_trim_beside_a_release_takes_no_event_of_an_open_job(
    log: Log, other: Log, event: Retried | Released
) -> None:
    for step in range(1, STEPS):
        lease = await leased(log)

        async def release(lease: Lease = lease) -> None:
            await Dispatch(other, "r1").release(lease, event)

        async def trim_all() -> None:
            await trim(log, 0, 0, needs_archive=False)

        was_sent = await acting_before(step, log, release, trim_all)
        if not was_sent:
            await release()
        seqs = [record.seq for record in await job_events(log, lease.job_id)]
        assert seqs == [1, 2, 3], f"released before command {step}"
        await command(log.redis, "DEL", log.keys.log(0), log.keys.dispatch(0, *NORMAL))
        if not was_sent:
            return
    raise AssertionError("the trim never ended")


async def test_a_history_beside_a_retry_and_a_trim_has_no_gap(log: Log, other: Log) -> None:
    for step in range(1, STEPS):
        lease = await leased(log)

        async def move(lease: Lease = lease) -> None:
            await Dispatch(other, "r1").release(lease, RETRIED)
            await trim(other, 0, 0, needs_archive=False)

        async def read(lease: Lease = lease) -> None:
            found = [record.seq for record in await job_history(log, lease.job_id)]
            assert found in ([1, 2], [1, 2, 3])
            # The partition's history says that the other job's events are gone, or has them.
            with suppress(Trimmed):
                pages = [page async for page in history_pages(log, 0, size=2)]
                mine = [r.seq for page in pages for r in page if r.job_id == lease.job_id]
                assert mine in ([1, 2], [1, 2, 3])

        was_sent = await acting_before(step, log, move, read)
        await command(log.redis, "DEL", log.keys.log(0), log.keys.dispatch(0, *NORMAL))
        if not was_sent:
            return
    raise AssertionError("the history never ended")


async def test_a_server_that_just_came_back_costs_no_lease(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="x", partitions=1) as log:
        lease = await leased(log)
        key = log.keys.dispatch(0, *NORMAL)
        idle = ("XCLAIM", key, "runners", "r1", 0, lease.dispatch_id, "IDLE", 400_000, "JUSTID")
        await command(log.redis, *idle)
    server.restart()
    async with Log.open(server.url, namespace="x") as log:
        dispatch = Dispatch(log, "r2")
        _, taken = await dispatch.take_over(0, NORMAL, idle_limit_s=300)
        assert taken == [], "nobody could renew while it was away"
        _, [mine] = await dispatch.take_over(0, NORMAL, idle_limit_s=300, suspect="r1")
        assert mine.job_id == lease.job_id
