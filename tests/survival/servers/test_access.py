"""The server refuses a runner in mid-run: a password is rotated, rights are taken and come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from tests.support.programs.programs import StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

RIGHTS = ("on", "~*", "&*", "+@all")


@pytest.fixture
async def stack(
    own_server: StartServer, start_program: StartProgram, tmp_path: Path, leases: Leases
) -> AsyncIterator[Stack]:
    """A stack whose runners log in as ada, the test itself as somebody else."""
    server = own_server(tcp=True)
    async with Log.open(server.url, namespace="access", partitions=2) as log:
        await set_user(log, "reset", ">right", *RIGHTS)
        url = f"redis://ada:right@{urlsplit(server.url).netloc}/0"
        yield Stack(log, start_program, tmp_path, redis_url=url, leases=leases)


async def set_user(log: Log, *rules: str) -> None:
    await command(log.redis, "ACL SETUSER", "ada", *rules)


async def disconnect(log: Log) -> None:
    await command(log.redis, "CLIENT KILL", "USER", "ada")


async def assert_uncharged(stack: Stack, job_id: str) -> None:
    job = await stack.until(job_id, "succeeded")
    counts = (job.recovered, job.broken, job.attempt)
    assert counts == (0, 0, 1), await stack.event_text(job_id)


async def test_a_rotated_password_is_waited_out_and_named(stack: Stack) -> None:
    comfy = await stack.comfy()
    runners = [await stack.runner(comfy), await stack.runner(comfy)]
    running = await stack.submit(2.0)
    await stack.until(running, "running")
    waiting = [await stack.submit(0.2) for _ in range(3)]
    await set_user(stack.log, "resetpass", ">other")
    await disconnect(stack.log)
    await anyio.sleep(1.5 * stack.leases.ttl_s)  # longer than a lease
    assert all(runner.exit_code is None for runner in runners)
    assert any("server_refuses_access" in line for line in runners[0].error_lines)
    await set_user(stack.log, "resetpass", ">right")
    for job_id in (running, *waiting):
        await assert_uncharged(stack, job_id)


@pytest.mark.parametrize(
    "right", ["evalsha", "xclaim", "xadd", "hset", "info", "time", "subscribe", "client|list"]
)
async def test_a_right_that_is_taken_and_comes_back_charges_no_job(
    stack: Stack, right: str
) -> None:
    comfy = await stack.comfy()
    runner = await stack.runner(comfy)
    running = await stack.submit(2.0)
    await stack.until(running, "running")
    await set_user(stack.log, f"-{right}")
    waiting = await stack.submit(0.2)
    await anyio.sleep(1.5)  # so long is the right missing
    assert runner.exit_code is None
    await set_user(stack.log, f"+{right}")
    for job_id in (running, waiting):
        await assert_uncharged(stack, job_id)


async def test_a_runner_that_is_refused_for_too_long_drains_and_nothing_is_lost(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    runner = await stack.runner(comfy, refused_for_s=2.0)
    job_id = await stack.submit(2.0)
    await stack.until(job_id, "running")
    await set_user(stack.log, "resetpass", ">other")
    await disconnect(stack.log)
    assert await runner.end(within_s=20) != 0
    assert any("ServerRefusesAccess" in line for line in runner.error_lines)
    await set_user(stack.log, "resetpass", ">right")
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert job.attempt == 1
    assert await comfy.executions() == [job.prompt_id]
