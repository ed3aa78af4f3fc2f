"""Hints are heard on the channels of every partition, whatever the layout of the namespace."""

from __future__ import annotations

import anyio
import pytest

from everfold.runner.claiming.hint_listener import HintListener
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("spread", [False, True])
async def test_hints_of_every_partition_are_heard(
    redis_url: str, namespace: str, spread: bool
) -> None:
    heard = set[str]()
    async with (
        Log.open(redis_url, namespace=namespace, partitions=4, spread=spread) as log,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(HintListener(log, {"dispatch": heard.add, "look": heard.add}).run)

        async def all_are_heard() -> bool:
            word = "SPUBLISH" if spread else "PUBLISH"
            await command(log.redis, word, log.keys.wake(), "look now")
            for partition in range(4):
                channel = log.keys.wake_at(partition)
                await command(log.redis, word, channel, f"dispatch {partition}")
            return heard == {"now", "0", "1", "2", "3"}

        await eventually(all_are_heard, 10)
        tasks.cancel_scope.cancel()
