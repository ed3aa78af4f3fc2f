"""A node that is taken out of a cluster and given to another one, under the same address."""

from __future__ import annotations

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.nodes import cluster_nodes
from everfold.streams.nodes.endpoint import Endpoint
from everfold.streams.nodes.topology import is_foreign, newest, read_topology
from tests.support.groups.cluster import StartCluster
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


def test_a_view_is_foreign_when_it_names_no_node_that_was_known() -> None:
    a, b, c = ([f"10.0.0.{at}".encode(), 6379, name] for at, name in enumerate((b"a", b"b", b"c")))
    at = Endpoint("10.0.0.1", 6379)
    before, after, other = (
        read_topology([[[0, 16383, *nodes]], b""], at) for nodes in ([a, b], [b], [c])
    )
    assert before is not None
    assert after is not None
    assert other is not None
    assert newest([before]).ids == {b"a", b"b"}
    assert not is_foreign(after.ids, before.ids)
    assert is_foreign(other.ids, before.ids)
    assert not is_foreign(frozenset(), before.ids)
    assert not is_foreign(other.ids, frozenset())


@pytest.mark.long
async def test_a_node_of_another_cluster_is_followed_only_when_its_own_is_gone(
    own_cluster: StartCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_nodes, "FOREIGN_S", 8.0)
    cluster = own_cluster(1, 1)
    own, given = cluster.nodes
    async with Log.open(f"redis+cluster://{own}", namespace="test") as log:
        await anyio.sleep(cluster_nodes.LOOK_EVERY_S + 1)  # it has heard of the replica
        node_id = given.text("CLUSTER", "MYID").strip()
        given.ask("CLUSTER", "RESET", "HARD")
        own.ask("CLUSTER", "FORGET", node_id)
        given.ask("FLUSHALL")
        given.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        given.ask("CLUSTER", "SET-CONFIG-EPOCH", 1000)
        await eventually(lambda: "cluster_state:ok" in given.text("CLUSTER", "INFO"), 10)
        await anyio.sleep(2 * cluster_nodes.LOOK_EVERY_S)
        key = log.keys.head((await log.submit(GRAPH)).job_id)
        assert log.redis.node_of(key) == str(own)
        assert own.ask("EXISTS", key) == 1
        own.kill()
        await eventually(lambda: log.redis.node_of(key) == str(given), 30)
