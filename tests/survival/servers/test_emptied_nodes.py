"""One master of a cluster comes back without its data: another run of that one node alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from anyio.to_thread import run_sync

from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server_watch import read_runs, server_changes
from tests.support.groups.cluster import Cluster, StartCluster
from tests.support.groups.server_group import Node
from tests.support.programs.programs import StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

PARTITIONS = 6


def come_back_empty(node: Node) -> None:
    """Kill a node and start it without its data; it still knows its slots."""
    node.kill()
    shutil.rmtree(node.folder / "appendonlydir")
    node.start()


def partitions_of(cluster: Cluster, log: Log, node: Node) -> set[int]:
    return {p for p in range(PARTITIONS) if cluster.primary_of(log.keys.log(p)) is node}


@pytest.mark.parametrize("which", ["with the namespace", "another one"])
async def test_what_an_emptied_master_had_comes_back_and_no_other_one_is_named(
    own_cluster: StartCluster,
    start_program: StartProgram,
    tmp_path: Path,
    leases: Leases,
    which: str,
) -> None:
    cluster = own_cluster(3, 0)
    async with Log.open(cluster.url, namespace="emptied", partitions=PARTITIONS) as log:
        stack = Stack(log, start_program, tmp_path, leases=leases)
        comfy = await stack.comfy()
        await stack.runner(comfy)
        ended = [await stack.submit(seconds=0.1) for _ in range(9)]
        for job_id in ended:
            await stack.until(job_id, "succeeded")
        home = cluster.primary_of(log.keys.meta())
        others = [node for node in cluster.primaries() if node is not home]
        node = home if which == "with the namespace" else others[0]
        its = partitions_of(cluster, log, node)
        running = await stack.submit(seconds=6.0)
        await stack.until_progress(running, 0.1)
        waiting = [await stack.submit(seconds=0.1) for _ in range(9)]
        generation, runs = log.generation, await read_runs(log.redis, log.keys)

        await run_sync(come_back_empty, node)

        jobs = [*ended, running, *waiting]
        for job_id in jobs:
            await stack.until_back(job_id, "succeeded")
        executed = await comfy.executions()
        assert len(executed) == len(set(executed)) == len(jobs)
        there = {job_id for job_id in jobs if log.keys.partition_of(job_id) in its}
        await eventually(lambda: _names(log, there), 20)
        assert {lost.job_id for lost in await lost_writes(log)} == there
        assert (await verify(log)).differences == []
        found = await command(log.redis, "HGET", log.keys.meta(), "generation")
        assert found == generation.encode()
        now = await read_runs(log.redis, log.keys)
        new = [run for run_id, run in now.items() if run_id not in runs]
        assert [run.node for run in new] == [str(node)]
        changed = [run.node for run in await server_changes(log.redis, log.keys)]
        assert changed == [str(node)]


async def _names(log: Log, jobs: set[str]) -> bool:
    return {lost.job_id for lost in await lost_writes(log)} >= jobs
