"""One owner per partition, by the server's clock."""

from __future__ import annotations

import pytest

from everfold.projector.assignment.member import Acquired, Member
from everfold.streams.appending.log import Log
from everfold.streams.errors import WrongKeyType
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import owner_of
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


def member(log: Log, name: str) -> Member:
    return Member(log, "jobs", name, lease_s=5)


async def test_a_partition_has_one_owner_until_it_releases_it(log: Log) -> None:
    first, second = await owner_of(log), member(log, "second")
    assert not await second.acquire(log.keys.projector(0))
    await second.release(log.keys.projector(0))
    assert not await second.acquire(log.keys.projector(0)), "only its owner can release it"
    await first.release(log.keys.projector(0))
    assert await second.acquire(log.keys.projector(0))
    assert not await first.acquire(log.keys.projector(0))


async def test_a_lease_that_is_not_renewed_runs_out(log: Log) -> None:
    await owner_of(log, lease_s=0.2)
    second = member(log, "second")
    await eventually(lambda: second.acquire(log.keys.projector(0)))


async def test_two_processes_of_one_name_are_two(log: Log) -> None:
    first, second = member(log, "same"), member(log, "same")
    assert await first.acquire(log.keys.projector(0))
    assert not await second.acquire(log.keys.projector(0))


async def test_those_who_live_are_counted_until_they_leave_or_fall_silent(log: Log) -> None:
    first, second = member(log, "first"), member(log, "second")
    assert await first.heartbeat() == 1
    assert await second.heartbeat() == 2
    await second.leave()
    assert await first.heartbeat() == 1
    await command(log.redis, "ZADD", log.keys.projectors("jobs"), 1, "silent-for-years")
    assert await first.heartbeat() == 1


async def test_leases_are_acquired_in_their_order_until_there_are_enough(log: Log) -> None:
    if not log.redis.is_one_server:
        pytest.skip("a cluster refuses a call with keys of several partitions")
    first, second = member(log, "first"), member(log, "second")
    leases = [log.keys.projector(partition) for partition in range(4)]
    assert await first.acquire(leases[1])
    found = await second.acquire_all(leases, 2)
    assert found == [Acquired(is_new=True), None, Acquired(is_new=True), None]
    assert await second.acquire_all(leases[:1], 1) == [Acquired(is_new=False)]
    assert await first.acquire(leases[3]), "what was enough is left to others"
    await command(log.redis, "HSET", leases[1], "until_ms", 1)
    assert await second.acquire_all(leases, 4) == [
        *(Acquired(is_new=False), Acquired(is_new=True), Acquired(is_new=False), None)
    ]


async def test_one_lease_that_cannot_be_read_leaves_all_as_they_are(log: Log) -> None:
    if not log.redis.is_one_server:
        pytest.skip("a cluster refuses a call with keys of several partitions")
    first = member(log, "first")
    leases = [log.keys.projector(partition) for partition in range(2)]
    await command(log.redis, "SET", leases[1], "strange")
    with pytest.raises(WrongKeyType):
        await first.acquire_all(leases, 2)
    assert await command(log.redis, "EXISTS", leases[0]) == 0
