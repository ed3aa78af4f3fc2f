"""An address that several servers answer at, as one of a balancer: it gets no jobs."""

from __future__ import annotations

import random

import anyio
import pytest

from everfold.runner.comfyui.identity import SEVERAL
from tests.support.programs.stack import Stack
from tests.support.trouble.balancer import balanced
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

JOBS = 6
WATCHED_S = 4.0


async def test_no_job_runs_twice_where_two_servers_answer_at_one_address(stack: Stack) -> None:
    servers = [await stack.comfy(), await stack.comfy()]
    chance = random.Random(1)
    async with balanced(lambda _: chance.choice(servers).url) as balancer:
        runner = await stack.runner(backends=[balancer.url])
        await eventually(lambda: SEVERAL.why in str(runner), within_s=10)
        jobs = [await stack.submit(seconds=0.1) for _ in range(JOBS)]
        await anyio.sleep(WATCHED_S)
        assert [await one.executions() for one in servers] == [[], []]
        assert "backend_up" not in str(runner)
        # Scaled down, it is one server, which is seen within a while.
        balancer.choose = lambda _: servers[0].url
        await balancer.cut()
        for job_id in jobs:
            assert (await stack.until(job_id, "succeeded")).attempt == 1
        assert len(await servers[0].executions()) == JOBS
