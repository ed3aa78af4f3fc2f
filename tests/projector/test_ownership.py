"""One owner per partition, by the server's clock."""

from __future__ import annotations

import pytest

from everfold.projector.assignment.ownership import Ownership
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from tests.projector.story import owned
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


def ownership(log: Log, name: str) -> Ownership:
    return Ownership(log, "jobs", name, own_for_s=5)


async def test_a_partition_has_one_owner_until_it_gives_up(log: Log) -> None:
    first, second = await owned(log), ownership(log, "second")
    assert not await second.own(log.keys.projector(0))
    await second.give_up(log.keys.projector(0))
    assert not await second.own(log.keys.projector(0)), "only its owner can give it up"
    await first.give_up(log.keys.projector(0))
    assert await second.own(log.keys.projector(0))
    assert not await first.own(log.keys.projector(0))


async def test_a_lease_that_is_not_renewed_runs_out(log: Log) -> None:
    await owned(log, own_for_s=0.2)
    second = ownership(log, "second")
    await eventually(lambda: second.own(log.keys.projector(0)))


async def test_two_processes_of_one_name_are_two(log: Log) -> None:
    first, second = ownership(log, "same"), ownership(log, "same")
    assert await first.own(log.keys.projector(0))
    assert not await second.own(log.keys.projector(0))


async def test_those_who_live_are_counted_until_they_leave_or_fall_silent(log: Log) -> None:
    first, second = ownership(log, "first"), ownership(log, "second")
    assert await first.announce() == 1
    assert await second.announce() == 2
    await second.leave()
    assert await first.announce() == 1
    await command(log.redis, "ZADD", log.keys.projectors("jobs"), 1, "silent-for-years")
    assert await first.announce() == 1
