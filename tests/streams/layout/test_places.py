"""Places in the order of a spread namespace while the node that keeps it is away."""

from __future__ import annotations

import asyncio

import pytest

from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.layout.places import AWAY_S, LONGEST_WAIT_S
from tests.support.groups.split_redis import HOME, split_log
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_no_submit_but_one_waits_for_a_node_that_hangs(
    server_url: str, namespace: str
) -> None:
    async with (
        FaultProxy(server_url) as proxy,
        split_log(
            server_url, proxy, namespace, partitions=2, behind=[HOME], timeout_s=60.0, spread=True
        ) as log,
    ):
        places = log.spread.places
        assert await places.take("default", "normal", "ada")
        proxy.black_hole()
        began_s = steady_s()
        # More than one call takes: the first of them waits, and no other after it.
        found = await asyncio.gather(
            *(places.take("default", "normal", "ada") for _ in range(1000))
        )
        assert set(found) == {""}
        assert steady_s() - began_s < 1.5 * LONGEST_WAIT_S

        done = under_way = 0
        until_s = steady_s() + 1.5 * (AWAY_S + LONGEST_WAIT_S)
        while steady_s() < until_s:
            asked = asyncio.create_task(places.take("default", "normal", "ada"))
            ended, waits = await asyncio.wait([asked], timeout=0.05)
            done, under_way = done + len(ended), under_way + len(waits)
        assert done > 10 * under_way, "submits went on while one asked whether the node is back"

        proxy.lift()

        async def is_back() -> bool:
            return await places.take("default", "normal", "ada") != ""

        await eventually(is_back, 3 * (AWAY_S + LONGEST_WAIT_S))
