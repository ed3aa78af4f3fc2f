"""One owner per partition, by the server's clock."""

from __future__ import annotations

import pytest

from projector.ownership import Ownership
from streams.border import command
from streams.log import Log
from tests.projector.story import owned
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_a_partition_has_one_owner_until_it_gives_up(log: Log) -> None:
    first, second = await owned(log), Ownership(log, "second", own_for_s=5)
    assert not await second.own(0)
    await second.give_up(0)
    assert not await second.own(0), "giving up what somebody else owns changes nothing"
    await first.give_up(0)
    assert await second.own(0)
    assert not await first.own(0)


async def test_a_lease_that_is_not_renewed_runs_out(log: Log) -> None:
    await owned(log, own_for_s=0.2)
    second = Ownership(log, "second", own_for_s=5)
    await eventually(lambda: second.own(0))


async def test_two_processes_of_one_name_are_two(log: Log) -> None:
    first, second = Ownership(log, "same", own_for_s=5), Ownership(log, "same", own_for_s=5)
    assert await first.own(0)
    assert not await second.own(0)


async def test_those_who_live_are_counted_until_they_leave_or_fall_silent(log: Log) -> None:
    first, second = Ownership(log, "first", own_for_s=5), Ownership(log, "second", own_for_s=5)
    assert await first.announce() == 1
    assert await second.announce() == 2
    await second.leave()
    assert await first.announce() == 1
    await command(log.redis, "ZADD", log.keys.projectors(), 1, "silent-for-years")
    assert await first.announce() == 1
