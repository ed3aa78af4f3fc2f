"""The Sentinel services that tests are given: what is done to one really happens."""

from __future__ import annotations

import pytest

from tests.support.groups import networks
from tests.support.groups.sentinels import Sentinels, StartSentinels
from tests.support.groups.server_group import in_sync, until

pytestmark = [pytest.mark.anyio, pytest.mark.long]


def test_all_sentinels_know_the_primary_its_replicas_and_each_other(
    redis_sentinels: Sentinels,
) -> None:
    assert redis_sentinels.is_settled()
    assert redis_sentinels.primary is redis_sentinels.servers[0]
    assert redis_sentinels.replicas == redis_sentinels.servers[1:]


async def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(
    redis_sentinels: Sentinels,
) -> None:
    old = redis_sentinels.primary
    old.ask("SET", "key", "kept")
    await until(redis_sentinels.is_in_sync)

    old.kill()
    await redis_sentinels.until_switched(old)

    assert redis_sentinels.primary.ask("GET", "key") == b"kept"
    old.start()
    await until(lambda: in_sync(old, redis_sentinels.primary))


async def test_a_frozen_primary_is_replaced_and_is_told_when_it_is_thawed(
    redis_sentinels: Sentinels,
) -> None:
    old = redis_sentinels.primary

    old.freeze()
    await redis_sentinels.until_switched(old)
    old.thaw()

    await redis_sentinels.until_settled()
    assert not old.is_primary


async def test_a_planned_failover_names_another_primary(redis_sentinels: Sentinels) -> None:
    old = redis_sentinels.primary

    await redis_sentinels.failover()

    assert redis_sentinels.primary is not old
    await redis_sentinels.until_settled()
    assert not old.is_primary


async def test_a_coordinated_failover_loses_nothing_where_the_engine_can(
    redis_sentinels: Sentinels,
) -> None:
    if not redis_sentinels.can_coordinate():
        pytest.skip("this engine's Sentinel does not coordinate")
    for number in range(100):
        redis_sentinels.primary.ask("SET", f"key{number}", "kept")

    await redis_sentinels.coordinated()

    assert redis_sentinels.primary.ask("DBSIZE") == 100
    await redis_sentinels.until_settled()


async def test_a_replica_comes_and_goes(own_sentinels: StartSentinels) -> None:
    service = own_sentinels(replicas=1, sentinels=3)
    first = service.replicas[0]

    second = await service.add_replica()
    await service.remove(first)

    assert service.replicas == [second]
    await service.failover()
    assert service.primary is second


@pytest.mark.skipif(not networks.can_be_made(), reason="no root, or no iproute2")
async def test_a_primary_that_is_cut_from_the_others_is_still_heard_by_clients(
    own_sentinels: StartSentinels,
) -> None:
    service = own_sentinels(network=True)
    old = service.primary
    others = [node for node in service.group.nodes if node is not old]

    service.cut_between(old, *others)
    await service.until_switched(old)

    assert old.ask("SET", "key", "lost")
    assert service.primary.ask("GET", "key") is None
    service.join(old)
    await service.until_settled()
    assert old.ask("GET", "key") is None
