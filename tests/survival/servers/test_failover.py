"""A replica takes the primary's place while old connections stay: what the old one took is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from everfold.diagnosis.server_changes import told_changes
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.redis.server_watch import server_changes
from tests.support.groups.sentinels import Sentinels
from tests.support.programs.programs import StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.servers import OwnServer, StartServer, client
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair(own_server: StartServer) -> tuple[OwnServer, OwnServer]:
    """A primary and its replica, in sync."""
    primary, replica = (own_server(tcp=True, repl_diskless_sync_delay="0") for _ in range(2))
    follow(replica, primary)
    return primary, replica


def follow(server: OwnServer, primary: OwnServer | None) -> None:
    """Make a server a replica of another one, or a primary."""
    with client(server.url) as redis:
        if primary is None:
            redis.execute_command("REPLICAOF", "NO", "ONE")
            return
        host, _, port = primary.url.removeprefix("redis://").split("/")[0].partition(":")
        redis.execute_command("REPLICAOF", host, port)


def is_in_sync(server: OwnServer) -> bool:
    with client(server.url) as redis:
        return bool(redis.info("replication").get("master_link_status") == "up")


@pytest.fixture
async def proxy(pair: tuple[OwnServer, OwnServer]) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(pair[0].url) as proxy:
        yield proxy


@pytest.fixture
async def stack(
    pair: tuple[OwnServer, OwnServer],
    proxy: FaultProxy,
    start_program: StartProgram,
    tmp_path: Path,
    leases: Leases,
) -> AsyncIterator[Stack]:
    await eventually(lambda: is_in_sync(pair[1]), 20)
    async with Log.open(proxy.url, namespace="failover", partitions=4) as log:
        yield Stack(log, start_program, tmp_path, leases=leases)


async def test_what_an_old_primary_took_beside_the_new_one_comes_back(
    stack: Stack, proxy: FaultProxy, pair: tuple[OwnServer, OwnServer]
) -> None:
    old, new = pair
    comfy = await stack.comfy()
    await stack.runner(comfy)
    jobs = [await stack.submit(seconds=0.1) for _ in range(5)]
    for job_id in jobs:
        await stack.until(job_id, "succeeded")
    await run_sync(follow, new, None)
    proxy.target = new.url  # new connections go there, old ones stay
    late = list[str]()
    for _ in range(10):
        late.append(await stack.submit(seconds=0.1))
        await anyio.sleep(0.1)  # the pace of the submits, so that some of them end there
    await run_sync(follow, old, new)
    for job_id in (*jobs, *late):
        await stack.until_back(job_id, "succeeded")
    executed = await comfy.executions()
    assert len(executed) == len(set(executed)) == len(jobs) + len(late)
    lost = {found.job_id for found in await lost_writes(stack.log)}
    assert lost, "some of them were on the old primary alone"
    assert lost <= {*jobs, *late}
    assert (await verify(stack.log)).differences == []
    [change] = await server_changes(stack.log.redis, stack.log.keys)
    assert change.lost_bytes >= 0
    assert await told_changes(stack.log)


async def test_a_frozen_primary_that_wakes_takes_nothing_with_it(
    stack: Stack, proxy: FaultProxy, pair: tuple[OwnServer, OwnServer]
) -> None:
    old, new = pair
    comfy = await stack.comfy()
    await stack.runner(comfy)
    jobs = [await stack.submit(seconds=0.1) for _ in range(3)]
    await run_sync(old.pause)
    await run_sync(follow, new, None)
    proxy.target = new.url
    async with anyio.create_task_group() as tasks:

        async def submit() -> None:
            jobs.append(await stack.submit(seconds=0.1))

        for _ in range(10):
            tasks.start_soon(submit)
        await anyio.sleep(1.0)  # they wait at the frozen one
        await run_sync(old.resume)
    await anyio.sleep(1.0)  # it takes writes until somebody tells it
    await run_sync(follow, old, new)
    for job_id in jobs:
        await stack.until_back(job_id, "succeeded")
    executed = await comfy.executions()
    assert len(executed) == len(set(executed)) == len(jobs) == 13
    assert (await verify(stack.log)).differences == []


@pytest.mark.long
async def test_a_planned_failover_loses_no_job_and_runs_none_twice(
    redis_sentinels: Sentinels, start_program: StartProgram, tmp_path: Path, leases: Leases
) -> None:
    async with Log.open(redis_sentinels.url, namespace="planned", partitions=4) as log:
        stack = Stack(log, start_program, tmp_path, leases=leases)
        comfies = [await stack.comfy() for _ in range(2)]
        for _ in range(2):
            await stack.runner(*comfies)
        jobs = list[str]()

        async def submit(count: int) -> None:
            for _ in range(count):
                jobs.append(await stack.submit(seconds=0.3))
                await anyio.sleep(0.5)  # the pace of the submits

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit, 16)
            await eventually(lambda: len(jobs) >= 4, 30)
            await redis_sentinels.failover()
        for job_id in jobs:
            await stack.until_back(job_id, "succeeded")
        executed = [prompt for comfy in comfies for prompt in await comfy.executions()]
        assert len(executed) == len(set(executed)) == len(jobs) == 16
        assert (await verify(log)).differences == []
