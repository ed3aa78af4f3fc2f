"""Clusters that do not answer CLUSTER SLOTS: their table of nodes says the same."""

from __future__ import annotations

from typing import cast

import pytest
from anyio.to_thread import run_sync
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.renewal.directory import Directory
from everfold.runner.renewal.messages import Place, Server
from everfold.streams.appending.log import Log
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import ServerRefusesAccess
from everfold.streams.nodes.nodes_table import NODES, slot_rows
from tests.support.groups.cluster import Cluster
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
TABLE = b"""\
aa 10.0.0.1:6379@16379,one.example,shard-id=x myself,master - 0 1 3 connected 0-99 5 [93->-bb]
bb :6380@16380,two.example master,fail? - 0 1 4 connected 100-16383
cc 10.0.0.3:6379@16379 slave aa 0 1 3 connected
dd 10.0.0.4:6379@16379 slave,fail aa 0 1 3 disconnected
ee :0@0 master,noaddr - 0 1 3 disconnected
not a line
"""


def test_a_table_is_read_as_rows_of_slots() -> None:
    one, two = [b"10.0.0.1", 6379, b"aa"], [b"two.example", 6380, b"bb"]
    replica = [b"10.0.0.3", 6379, b"cc"]
    assert slot_rows(TABLE) == [
        [0, 99, one, replica],
        [5, 5, one, replica],
        [100, 16383, two],
    ]


@given(st.one_of(st.none(), st.integers(), st.binary(), st.text().map(str.encode)))
def test_what_makes_no_sense_names_nobody(answer: object) -> None:
    assert slot_rows(answer) == []


@pytest.mark.long
async def test_a_cluster_that_refuses_cluster_slots_works(redis_cluster: Cluster) -> None:
    url = await run_sync(with_user, redis_cluster, "-cluster|slots")
    node = redis_cluster.primaries()[0]
    said = {(row[0], row[1]): row[2:] for row in slot_rows(node.ask(*NODES))}
    rows = cast("list[list[object]]", node.ask("CLUSTER", "SLOTS"))
    assert {(row[0], row[1]) for row in rows} == set(said)
    async with Log.open(url, namespace="table") as log:
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(20)]
        assert len({log.keys.partition_of(job) for job in jobs}) > 5
        replica = redis_cluster.replicas(redis_cluster.primary_of(log.keys.log(0)))[0]
        await redis_cluster.failover(replica)
        for _ in range(20):
            await log.submit(GRAPH)
        key, host, port = log.keys.log(0), node.place.host, node.place.port
        user = Server(host=host, port=port, username="u", password=Secret("p"))
        directory = Directory(Place(kind="cluster", asked=(user,), data=user), "test", lambda: None)
        at = redis_cluster.primary_of(key).place

        def found() -> bool:
            primary = directory.primary_of(key)
            return primary is not None and primary.port == at.port

        await eventually(found, 20)


@pytest.mark.long
async def test_a_cluster_that_says_nothing_of_its_slots_is_refused_with_what_to_do(
    redis_cluster: Cluster,
) -> None:
    url = await run_sync(with_user, redis_cluster, "-cluster")
    with pytest.raises(ServerRefusesAccess, match="CLUSTER SLOTS or CLUSTER NODES"):
        async with Log.open(url, namespace="table"):
            pass


def with_user(cluster: Cluster, rule: str) -> str:
    """Return the URL of a user who lacks something."""
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all", rule)
    return cluster.url.replace("://", "://u:p@")
