"""The clusters that tests are given: what is done to one really happens, and nothing is left."""

from __future__ import annotations

import pytest
from redis.exceptions import RedisError

from tests.support.groups import networks
from tests.support.groups.cluster import Cluster, StartCluster
from tests.support.groups.server_group import Node, in_sync, until

pytestmark = [pytest.mark.anyio, pytest.mark.long]

KEYS = [f"{{a}}:{number}" for number in range(100)]
SLOT = 15495
"""Of {a}."""


def other_than(cluster: Cluster, node: Node) -> Node:
    return next(one for one in cluster.primaries() if one is not node)


def written(cluster: Cluster) -> Node:
    """Write KEYS and return their master."""
    master = cluster.primary_of("{a}")
    for key in KEYS:
        master.ask("SET", key, "kept")
    return master


def test_it_serves_all_slots_with_a_replica_for_each_master(redis_cluster: Cluster) -> None:
    assert redis_cluster.is_ok()
    assert redis_cluster.is_in_sync()
    assert redis_cluster.primaries() == redis_cluster.nodes[:3]
    assert [len(redis_cluster.replicas(of)) for of in redis_cluster.primaries()] == [1, 1, 1]


async def test_a_killed_master_is_followed_by_its_replica_and_comes_back_as_one(
    redis_cluster: Cluster,
) -> None:
    master = redis_cluster.primary_of("key")
    (replica,) = redis_cluster.replicas(master)
    master.ask("SET", "key", "kept")
    await until(lambda: in_sync(replica, master))

    master.kill()
    await redis_cluster.until_primary(replica)
    await until(redis_cluster.is_ok)

    assert redis_cluster.primary_of("key") is replica
    assert replica.ask("GET", "key") == b"kept"
    master.start()
    await until(lambda: in_sync(master, replica))


async def test_a_frozen_master_is_replaced_and_finds_that_out_when_it_is_thawed(
    redis_cluster: Cluster,
) -> None:
    master = redis_cluster.primary_of("key")
    (replica,) = redis_cluster.replicas(master)

    master.freeze()
    await redis_cluster.until_primary(replica)
    master.thaw()

    await redis_cluster.until_settled()
    assert not master.is_primary


async def test_a_planned_failover_loses_nothing(redis_cluster: Cluster) -> None:
    master = written(redis_cluster)
    (replica,) = redis_cluster.replicas(master)

    await redis_cluster.failover(replica)

    assert replica.ask("EXISTS", *KEYS) == len(KEYS)
    await redis_cluster.until_settled()
    assert redis_cluster.replicas(replica) == [master]


async def test_a_slot_is_moved_by_its_keys(redis_cluster: Cluster) -> None:
    source = written(redis_cluster)
    target = other_than(redis_cluster, source)

    await redis_cluster.move_slot_by_keys(SLOT, target)

    assert redis_cluster.primary_of("{a}") is target
    assert target.ask("EXISTS", *KEYS) == len(KEYS)
    await redis_cluster.until_settled()


async def test_a_slot_is_moved_at_once_where_the_engine_can(redis_cluster: Cluster) -> None:
    source = written(redis_cluster)
    target = other_than(redis_cluster, source)
    if not redis_cluster.can_move_at_once():
        pytest.skip("this engine moves slots by their keys only")

    await redis_cluster.move_slot_at_once(SLOT, target)

    assert redis_cluster.primary_of("{a}") is target
    assert target.ask("EXISTS", *KEYS) == len(KEYS)


async def test_a_replica_comes_and_goes(own_cluster: StartCluster) -> None:
    cluster = own_cluster(masters=3, replicas=0)
    master = written(cluster)

    replica = await cluster.add_replica(master)
    assert cluster.replicas(master) == [replica]
    await cluster.failover(replica)
    await cluster.until_settled()
    await cluster.remove(master)

    assert cluster.is_ok()
    assert replica.ask("EXISTS", *KEYS) == len(KEYS)


@pytest.mark.skipif(not networks.can_be_made(), reason="no root, or no iproute2")
async def test_a_master_that_is_cut_off_is_replaced_and_joins_as_a_replica(
    own_cluster: StartCluster,
) -> None:
    cluster = own_cluster(network=True)
    master = cluster.primary_of("key")
    (replica,) = cluster.replicas(master)

    cluster.cut_off(master)
    with pytest.raises(RedisError):
        master.ask("PING")
    await cluster.until_primary(replica)
    cluster.join(master)

    await cluster.until_settled()
    assert not master.is_primary


@pytest.mark.skipif(not networks.can_be_made(), reason="no root, or no iproute2")
async def test_a_master_that_is_cut_from_the_others_is_still_heard_by_clients(
    own_cluster: StartCluster,
) -> None:
    cluster = own_cluster(network=True)
    master = cluster.primary_of("key")
    (replica,) = cluster.replicas(master)

    cluster.cut_between(master, *(node for node in cluster.nodes if node is not master))
    assert master.ask("SET", "key", "lost")
    await until(lambda: replica.is_primary)

    assert replica.ask("GET", "key") is None
    cluster.join(master)
    await cluster.until_settled()
    assert cluster.primary_of("key") is replica
