"""What a namespace notes of the runs of its servers, where there are several."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.errors import Unavailable
from everfold.streams.nodes.slots import slot_of
from everfold.streams.redis.server_watch import read_runs, server_changes
from tests.support.groups.cluster import Cluster, StartCluster
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]


async def test_the_nodes_of_a_new_namespace_are_no_changes(redis_cluster: Cluster) -> None:
    async with Log.open(redis_cluster.url, namespace="new", partitions=6) as log:
        await log.servers.look_at_all()
        runs = await read_runs(log.redis, log.keys)
        restarted = {await log.servers.last_restart_ms(partition) for partition in range(6)}

        assert await server_changes(log.redis, log.keys) == []
        assert {run.node for run in runs.values()} == {str(n) for n in redis_cluster.primaries()}
        assert restarted == {0}


async def test_a_slot_that_moves_is_no_change_and_a_failover_is_one(
    redis_cluster: Cluster,
) -> None:
    async with Log.open(redis_cluster.url, namespace="moved", partitions=6) as log:
        await log.servers.look_at_all()
        for key in (log.keys.log(0), log.keys.meta()):
            now = redis_cluster.primary_of(key)
            to = next(one for one in redis_cluster.primaries() if one is not now)
            await redis_cluster.move_slot_by_keys(slot_of(key), to)
        async with Log.open(redis_cluster.url, namespace="moved") as other:
            for one in (log, other):
                await one.servers.look_at_all()
                assert await server_changes(one.redis, one.keys) == []

        old = redis_cluster.primary_of(log.keys.log(1))
        (replica,) = redis_cluster.replicas(old)
        await redis_cluster.failover(replica)

        async def is_told() -> bool:
            await log.servers.look_at_all()
            return bool(await server_changes(log.redis, log.keys))

        await eventually(is_told, 20.0)
        (change,) = await server_changes(log.redis, log.keys)
        assert change.node == str(replica)
        assert change.lost_bytes == 0


async def test_a_restart_is_seen_while_the_namespace_s_own_node_hangs_and_written_down_later(
    own_cluster: StartCluster,
) -> None:
    cluster = own_cluster(3, 0, cluster_require_full_coverage="no")
    async with Log.open(cluster.url, namespace="hangs", partitions=6) as log:
        await log.servers.look_at_all()
        home = cluster.primary_of(log.keys.meta())
        other = next(one for one in cluster.primaries() if one is not home)
        partition = next(p for p in range(6) if cluster.primary_of(log.keys.log(p)) is other)
        before = await log.servers.mark(partition)
        home.freeze()
        try:
            other.kill()
            other.start()

            async def is_seen() -> bool:
                with suppress(Unavailable):  # of that node, while it starts
                    return await log.servers.mark(partition) != before
                return False

            await eventually(is_seen, 20.0)
            began_s = time.monotonic()
            assert await log.servers.last_restart_ms(partition) > 0
            assert time.monotonic() - began_s < 3.0
        finally:
            home.thaw()

        async def is_told() -> bool:
            await log.servers.look_at_all()
            return bool(await server_changes(log.redis, log.keys))

        await eventually(is_told, 20.0)
        (change,) = await server_changes(log.redis, log.keys)
        assert change.node == str(other)
