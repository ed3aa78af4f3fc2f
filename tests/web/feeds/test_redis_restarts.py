"""A watcher is told what happens while Redis restarts."""

from __future__ import annotations

import asyncio

import pytest

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.events.event import Canceled, CancelRequested
from everfold.web.feeds.feeds import Feeds
from tests.support.programs.stack import sleeper
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_watchers_of_several_partitions_get_each_change_once_over_a_restart(
    own_server: StartServer,
) -> None:
    server = own_server(tcp=True, save="", appendonly="yes", appendfsync="always")
    async with Log.open(server.url) as log, Feeds(log) as feeds, asyncio.timeout(40):
        jobs = [(await log.submit(sleeper(1))).job_id for _ in range(12)]
        held = [await feeds.hold(job_id) for job_id in jobs]
        server.kill()
        server.start()
        # Before the gateway's own readers are back.
        async with Log.open(server.url) as other:
            for job_id in jobs:
                await other.append(job_id, CancelRequested(), epoch=0)
                await other.append(job_id, Canceled(), epoch=UNLEASED)
        await eventually(lambda: all(feed.changes.is_closed for feed in held), 25)

        for feed in held:
            told = [change.job.status for change in feed.changes.items_after(0)]
            assert told == ["canceling", "canceled"]
