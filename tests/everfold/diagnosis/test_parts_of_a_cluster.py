"""`everfold doctor` on a cluster of which a part is away: that is told, and the rest looked at."""

from __future__ import annotations

import pytest

from everfold.commands.diagnosis.doctor import _examine
from everfold.diagnosis.finding import Finding
from everfold.streams.appending.log import Log
from everfold.streams.nodes.slots import slot_of
from tests.projector.jobs import GRAPH
from tests.support.groups.cluster import Cluster, StartCluster, members
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def examined(cluster: Cluster) -> dict[str, Finding]:
    async with Log.open(cluster.url) as log:
        log.retry_for_s = 0.0
        return {one.what: one async for one in _examine(log)}


def away_from_home(log: Log, cluster: Cluster) -> int:
    """Return a partition that does not lie where the keys of the namespace do."""
    home = cluster.primary_of(log.keys.meta())
    logs = [log.keys.log(partition) for partition in range(log.keys.partitions)]
    return next(p for p, name in enumerate(logs) if cluster.primary_of(name) != home)


def is_nobody_s(cluster: Cluster, slot: int) -> bool:
    """Take a slot from whoever has it; say whether all nodes knew already that nobody does."""
    having = [node for node in cluster.nodes if any(one.has(slot) for one in members(node))]
    for node in having:
        node.ask("CLUSTER", "DELSLOTS", slot)
    return not having


async def test_partitions_without_a_node_are_named_and_all_others_examined(
    own_cluster: StartCluster,
) -> None:
    cluster = own_cluster(3, 0, cluster_require_full_coverage="no")
    async with Log.open(cluster.url) as log:
        await log.submit(GRAPH)
        partition = away_from_home(log, cluster)
        slot = slot_of(log.keys.log(partition))
    await eventually(lambda: is_nobody_s(cluster, slot), 20)

    async def told() -> dict[str, Finding]:
        found = await examined(cluster)
        return found if "1 partition without a node" in found else {}

    found = await eventually(told, 20)
    without = found["1 partition without a node"]
    assert without.found.startswith(f"{partition} (slot {slot}): their jobs stand still")
    assert "CLUSTER ADDSLOTS" in without.advice
    assert "; no answer from 1 partition" in found["projection"].found
    assert "; no answer from 1 partition" in found["log"].found
    assert {"server", "partitions", "clock", "retention"} <= found.keys()
    queues = found["queues"]
    assert f"cannot be looked at: no answer from partition {partition}" in queues.found


async def test_a_node_that_has_died_is_named_and_all_others_examined(
    own_cluster: StartCluster,
) -> None:
    cluster = own_cluster(3, 0, cluster_require_full_coverage="no")
    async with Log.open(cluster.url) as log:
        name = log.keys.log(away_from_home(log, cluster))
        dead = cluster.primary_of(name)
    dead.kill()
    found = await eventually(lambda: examined(cluster), 20)
    assert found[f"server {dead}"].found.startswith("cannot be looked at: ")
    assert "bring it back" in found[f"server {dead}"].advice
    assert "; no answer from 8 partitions" in found["log"].found
    assert {"server", "clock", "retention"} <= found.keys()
