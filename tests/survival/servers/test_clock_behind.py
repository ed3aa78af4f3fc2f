"""A server whose clock is behind takes the place of another one: nobody passes over events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.errors import JobUnknown
from everfold.streams.events.record import entry_order
from everfold.streams.reading.reader import job_events, last_entry_ids, tail
from everfold.streams.redis.server import server_time_ms
from tests.projector.jobs import GRAPH, one_job_in_partition
from tests.support.servers import OwnServer
from tests.support.trouble.rewinds import take_back, taken
from tests.support.wait import eventually
from tests.support.wall_clock import WallClock

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(WallClock.why_not() != "", reason=WallClock.why_not() or "-"),
]

AHEAD_S = 3600.0


@pytest.fixture
async def log(clock: WallClock, clocked_server: OwnServer) -> AsyncIterator[Log]:
    async with Log.open(clocked_server.url, namespace="behind", partitions=2) as log:
        before_ms = await server_time_ms(log.redis)
        clock.step(AHEAD_S)
        if await server_time_ms(log.redis) - before_ms < AHEAD_S * 900:
            pytest.skip("this server does not ask the C library for the time")
        for partition in range(2):
            await one_job_in_partition(log, partition)
        yield log


async def is_known(log: Log, job_id: str) -> bool:
    try:
        return bool(await job_events(log, job_id))
    except JobUnknown:
        return False


async def test_what_is_put_back_follows_what_was_lost_by_its_entry_ids(
    log: Log, clock: WallClock
) -> None:
    before = await taken(log)
    jobs = [(await log.submit(GRAPH)).job_id for _ in range(8)]
    read_to = await last_entry_ids(log)
    async with tail(log) as batches:
        clock.step(-AHEAD_S)
        await take_back(log, before)
        for job_id in jobs:
            await eventually(partial(is_known, log, job_id), 20)
        seen = set[str]()
        with anyio.fail_after(30):
            async for batch in batches:
                seen |= {record.job_id for record in batch}
                if seen >= set(jobs):
                    break
    for job_id in jobs:
        [first, *_] = await job_events(log, job_id)
        after = read_to[log.keys.partition_of(job_id)]
        assert entry_order(first.entry_id) > entry_order(after)
