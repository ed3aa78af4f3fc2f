"""A runner that has just started waits until others have had the time to look at the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.runner.claiming import clock_check
from everfold.runner.claiming.clock_check import wait_for_other_looks
from everfold.streams.appending.log import Log
from everfold.streams.leases.server_clock import ServerClock
from everfold.streams.redis.redis_errors import command

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clocks(redis_url: str, namespace: str) -> AsyncIterator[ServerClock]:
    """The last look at the clock is long ago."""
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        await command(log.redis, "HSET", log.keys.clock(0), "seen_ms", 1)
        yield ServerClock(log, 10.0)


async def test_it_waits_after_the_first_look_at_a_clock_that_nobody_had_looked_at(
    clocks: ServerClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_check, "CHECK_S", 3600.0)
    with anyio.move_on_after(0.2) as scope:
        await wait_for_other_looks(clocks, 0)

    assert scope.cancelled_caught


async def test_where_the_first_look_is_long_ago_it_does_not_wait(
    clocks: ServerClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clocks.of(0)
    monkeypatch.setattr(clock_check, "CHECK_S", 0.0)
    with anyio.fail_after(5):
        await wait_for_other_looks(clocks, 0)
