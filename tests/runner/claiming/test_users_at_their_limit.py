"""A runner with one slot passes over users at their limit, however many stand first."""

from __future__ import annotations

import anyio
import pytest

from everfold import Everfold
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.runner import Runner
from everfold.simulator import simulate
from everfold.streams.appending.outcomes import Lease
from everfold.streams.leases.producer import RENEW_EVERY_S, Producer
from examples.workflow import small_picture

pytestmark = pytest.mark.anyio

USERS = 70


async def keep(producer: Producer, leases: list[Lease]) -> None:
    while True:
        await producer.renew(leases)
        await anyio.sleep(RENEW_EVERY_S)


async def test_a_newcomer_s_job_runs_beside_a_free_server(redis_url: str, namespace: str) -> None:
    connected = Everfold.connect(redis_url, namespace=namespace, actor="runner")
    async with simulate(speed=20) as server, connected as ef:
        await ef.set_limit("running", "user", "*", 1)
        for number in [*range(USERS), *range(USERS)]:
            await ef.submit(small_picture(), user=f"user-{number}", priority="high")
        busy = Producer(ef.log, "busy")
        held = await busy.claim(USERS)
        assert len(held) == USERS
        newcomer = await ef.submit(small_picture(), user="newcomer")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep, busy, held)
            config = RunnerConfig(name="runner", slots=1)
            tasks.start_soon(Runner(ef.log, [ComfyBackend(server.url)], config).run)
            assert (await ef.wait(newcomer.job_id, 15)).status == "succeeded"
            tasks.cancel_scope.cancel()
