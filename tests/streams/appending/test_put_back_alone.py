"""What one shard has lost comes back while the node of the namespace's own keys hangs."""

from __future__ import annotations

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import JobUnknown
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import GRAPH
from tests.support.groups.cluster import StartCluster
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_a_shard_s_loss_is_put_back_while_the_namespace_s_node_hangs(
    own_cluster: StartCluster,
) -> None:
    cluster = own_cluster(3, 0, node_timeout_s=60.0)  # nobody takes the frozen one for dead
    async with Log.open(cluster.url, namespace="alone", partitions=6) as log:
        home = cluster.primary_of(log.keys.meta())
        other = next(node for node in cluster.primaries() if node is not home)
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(30)]
        theirs = {one for one in jobs if cluster.primary_of(log.keys.head(one)) is other}
        assert theirs

        async def are_back() -> bool:
            for job_id in theirs:
                try:
                    await job_events(log, job_id)
                except JobUnknown:
                    return False
            return True

        async def are_named() -> bool:
            return {one.job_id for one in await lost_writes(log)} == theirs

        home.freeze()
        try:
            server = log.redis.at(next(log.keys.log(log.keys.partition_of(one)) for one in theirs))
            await command(server, "FLUSHALL")
            await command(server, "CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
            began_s = steady_s()
            await eventually(are_back, 60)
            assert steady_s() - began_s < 30
        finally:
            home.thaw()
        await eventually(are_named, 30)
