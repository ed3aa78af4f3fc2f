"""A primary is killed under load and a replica promoted: what was acknowledged with `replicas` is
there, also where a replica had stood still; without, it may be gone."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.errors import EverfoldError
from everfold.streams.events.event import CancelRequested
from tests.support.groups.replicas import Replicated, replicated
from tests.support.servers import OwnServer, StartServer, client
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {"text": "x" * 40_000}}}
"""Large, so that what a replica that stands still has not read does not fit into its socket."""
WRITERS = 120


class Load:
    """Writers that submit and cancel jobs, and note what was acknowledged."""

    def __init__(self, url: str, replicas: int) -> None:
        self._url, self._replicas = url, replicas
        self.submitted, self.canceled = set[str](), set[str]()

    async def run(self) -> None:
        async with Log.open(self._url, replicas=self._replicas, replicas_within_s=0.5) as log:
            log.retry_for_s = 1.0
            async with anyio.create_task_group() as tasks:
                for number in range(WRITERS):
                    tasks.start_soon(self._write, log, number)

    async def _write(self, log: Log, number: int) -> None:
        count = 0
        while True:
            count += 1
            job_id = f"job-{number}-{count}"
            with contextlib.suppress(EverfoldError):
                await log.submit(GRAPH, job_id=job_id)
                self.submitted.add(job_id)
                await log.append(job_id, CancelRequested(id=f"c-{job_id}"), epoch=0)
                self.canceled.add(job_id)
            await anyio.sleep(0.01)

    @property
    def acknowledged(self) -> int:
        return len(self.submitted) + len(self.canceled)


async def lost(load: Load, server: OwnServer) -> tuple[list[str], list[str]]:
    """Return the jobs and the cancels that were acknowledged and are not on a server."""
    async with Log.open(server.url) as log:
        keys = log.keys
    with client(server.url) as redis:
        heads = redis.pipeline(transaction=False)
        order = sorted(load.submitted)
        for job_id in order:
            heads.hmget(keys.head(job_id), "seq", "cancel")
        found = dict(zip(order, heads.execute(), strict=True))
    jobs = [job_id for job_id, (seq, _) in found.items() if seq is None]
    return jobs, [job_id for job_id in sorted(load.canceled) if found[job_id][1] is None]


async def killed_under_load(group: Replicated, replicas: int, *, frozen: bool) -> Load:
    """Let writers work, kill the primary, and promote the replica that has more."""
    load = Load(group.url, replicas)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load.run)
        await eventually(lambda: load.acknowledged > 500, 60)
        if frozen:
            group.freeze(0)
            before = load.acknowledged
            await eventually(lambda: load.acknowledged > before + 1500, 60)
        group.primary.kill()
        tasks.cancel_scope.cancel()
    return load


@pytest.mark.parametrize("frozen", [False, True])
async def test_with_replicas_nothing_acknowledged_is_lost(
    own_server: StartServer, frozen: bool
) -> None:
    group = await replicated(own_server, 2)
    load = await killed_under_load(group, 1, frozen=frozen)
    if frozen:
        group.thaw(0)
    # As Sentinel and a cluster do: the one that has more is promoted.
    offsets = [group.offset(one) for one in group.replicas]
    promoted = group.promote(offsets.index(max(offsets)))
    assert await lost(load, promoted) == ([], [])


async def test_a_replica_that_is_lost_under_load_stops_nothing_while_another_one_is_there(
    own_server: StartServer,
) -> None:
    group = await replicated(own_server, 2)
    load = Load(group.url, 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load.run)
        await eventually(lambda: load.acknowledged > 300, 60)
        group.replicas.pop(0).kill()
        before = load.acknowledged
        await eventually(lambda: load.acknowledged > before + 300, 60)
        group.primary.kill()
        tasks.cancel_scope.cancel()
    assert await lost(load, group.promote(0)) == ([], [])


async def test_without_them_a_replica_that_stood_still_loses_what_was_acknowledged(
    own_server: StartServer,
) -> None:
    group = await replicated(own_server, 1)
    load = await killed_under_load(group, 0, frozen=True)
    group.thaw()
    jobs, _ = await lost(load, group.promote(0))
    assert jobs


async def test_with_one_replica_that_stands_still_writes_wait_and_none_is_lost(
    own_server: StartServer,
) -> None:
    group = await replicated(own_server, 1)
    load = Load(group.url, 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load.run)
        await eventually(lambda: load.acknowledged > 300, 60)
        group.freeze()
        await anyio.sleep(0.6)  # what the replica had sent before may come still
        before = load.acknowledged
        await anyio.sleep(2.4)
        assert load.acknowledged == before
        group.primary.kill()
        tasks.cancel_scope.cancel()
    group.thaw()
    assert await lost(load, group.promote(0)) == ([], [])
