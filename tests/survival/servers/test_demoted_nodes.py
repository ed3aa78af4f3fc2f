"""A failover by hand at each primary: whoever waits for news goes on, and nobody waits at a server
that is a replica now."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest

from everfold import Everfold
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import NOW, Subscription
from everfold.streams.appending.log import Log
from tests.support.groups.cluster import Cluster
from tests.support.groups.sentinels import Sentinels
from tests.support.groups.server_group import Node
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import PRODUCT_LEASES, Stack
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(240)]

JOBS = 6
WITHIN_S = 40.0
WAITS = re.compile(r" (flags=\S*b| s?sub=[1-9]|ssub=[1-9]|cmd=xread)")
"""Of a line of CLIENT LIST: it blocks, is subscribed, or reads a stream."""


async def fail_over(group: Sentinels | Cluster) -> list[Node]:
    """Put a replica in the place of each primary; return those that were primaries."""
    if isinstance(group, Sentinels):
        old = [group.primary]
        await group.failover()
    else:
        old = group.primaries()
        for primary in old:
            await group.failover(group.replicas(primary)[0])
    await group.until_settled()
    return old


def waiting_at(node: Node) -> list[str]:
    """Return who of Everfold waits for something at a server."""
    lines = node.text("CLIENT", "LIST").splitlines()
    return [line for line in lines if "name=everfold:" in line and WAITS.search(line)]


def nobody_waits_at(nodes: list[Node]) -> bool:
    return not any(map(waiting_at, nodes))


@pytest.fixture(params=["sentinels", "cluster"])
def group(request: pytest.FixtureRequest) -> Sentinels | Cluster:
    found: Sentinels | Cluster = request.getfixturevalue(
        f"redis_{request.param}{'s' if request.param == 'sentinel' else ''}"
    )
    return found


async def test_listeners_consumers_and_feeds_go_on_and_nobody_waits_at_a_demoted_server(
    group: Sentinels | Cluster, start_program: StartProgram, tmp_path: Path
) -> None:
    told, fed = set[str](), set[str]()

    @Subscription("told", start=NOW)
    async def note(delivery: Delivery) -> None:
        if delivery.job.is_terminal:
            told.add(delivery.job.job_id)

    async with (
        Log.open(group.url, namespace="demoted", partitions=6) as log,
        Everfold.connect(group.url, namespace="demoted", config=os.devnull) as everfold,
        anyio.create_task_group() as tasks,
    ):
        stack = Stack(log, start_program, tmp_path, leases=PRODUCT_LEASES)
        programs = [await stack.runner(await stack.comfy()), await stack.projector()]
        gateway = stack.start("-m", "everfold", "serve", "--port", "0", environ=stack.names)
        found = re.search(r"http://\S+", await gateway.line("gateway  http", within_s=60))
        assert found
        await gateway.line("ready", within_s=60)

        async def feed() -> None:
            async with (
                httpx.AsyncClient(base_url=found[0], timeout=None) as client,
                client.stream("GET", "/everfold/v1/events/stream") as answer,
            ):
                async for line in answer.aiter_lines():
                    fed.update(job for job in jobs if job in line)

        jobs = [await stack.submit(0.1)]
        await tasks.start(everfold.consume, note)
        tasks.start_soon(feed)
        await stack.until(jobs[0], "succeeded")

        for _ in range(2):  # there and back
            old = await fail_over(group)
            new = [await stack.submit(0.1) for _ in range(JOBS)]
            jobs += new
            for job in new:
                await stack.until_back(job, "succeeded")
            await eventually(partial(told.issuperset, new), WITHIN_S)
            await eventually(partial(fed.issuperset, new), WITHIN_S)
            await eventually(partial(nobody_waits_at, old), WITHIN_S)
        assert [one.exit_code for one in (*programs, gateway)] == [None] * 3
        tasks.cancel_scope.cancel()
