"""A job belongs to the server that took it, by whatever address a runner reaches that server."""

from __future__ import annotations

import pytest

from everfold.client import Everfold
from everfold.projector.reading.watching import Watcher
from everfold.streams.events.event import Policy
from everfold.streams.leases.backends import abandoned_prompts, backend_entries
from tests.support.programs.programs import Program
from tests.support.programs.stack import Comfy, Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

LOOPBACK = "http://127.0.0.1:8188"
NOWHERE = "http://127.0.0.1:9"
PATIENT = Policy(backend_away_s=60.0)


async def runner_on(stack: Stack, host: str, comfy: Comfy, *, has_identity: bool = True) -> Program:
    """Start a runner on a machine of this name, whose own loopback address is this server."""
    return await stack.runner(
        host=host,
        backends=[LOOPBACK],
        addresses={LOOPBACK: comfy.url},
        has_identity=has_identity,
    )


async def runner_by(stack: Stack, url: str) -> Program:
    """Start a runner that has only this URL for a server."""
    return await stack.runner(backends=[url])


def localhost(comfy: Comfy) -> str:
    return comfy.url.replace("127.0.0.1", "localhost")


@pytest.mark.parametrize("has_identity", [True, False])
async def test_two_hosts_with_one_loopback_address_run_no_job_twice(
    stack: Stack, has_identity: bool
) -> None:
    here, there = await stack.comfy(), await stack.comfy()
    first = await runner_on(stack, "one", here, has_identity=has_identity)
    job_id = await stack.submit(seconds=6, policy=PATIENT)
    await stack.until(job_id, "running")
    first.kill()
    other = await runner_on(stack, "two", there, has_identity=has_identity)
    await stack.until_event(job_id, "recovered")
    own = await stack.submit(seconds=0.1)
    await stack.until(own, "succeeded")
    assert (await stack.job(job_id)).owner, await stack.event_text(job_id)
    await runner_on(stack, "one", here, has_identity=has_identity)
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.losses, job.unconfirmed) == (1, 0, 0)
    assert job.prompt_id in await here.executions()
    assert len(await here.executions()) + len(await there.executions()) == 2
    assert other.exit_code is None


async def test_a_job_is_followed_by_another_address_of_its_server(stack: Stack) -> None:
    comfy = await stack.comfy()
    first = await runner_by(stack, comfy.url)
    job_id = await stack.submit(seconds=4, policy=PATIENT)
    await stack.until(job_id, "running")
    first.kill()
    # The address of the log leads nowhere from here, as with a wrong password or another network.
    url = localhost(comfy)
    await stack.runner(backends=[url], addresses={comfy.url: NOWHERE})
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.recovered) == (1, 1)
    assert len(await comfy.executions()) == 1


async def test_a_prompt_that_its_server_has_lost_is_lost_by_another_address_too(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    first = await runner_by(stack, comfy.url)
    job_id = await stack.submit(seconds=2, policy=PATIENT)
    await stack.until(job_id, "running")
    first.kill()
    comfy.kill()
    await comfy.up()
    await stack.runner(backends=[localhost(comfy)], addresses={comfy.url: NOWHERE})
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.losses) == (2, 1)
    assert "lost" in await stack.event_types(job_id)


async def test_a_changed_password_does_not_make_another_server(stack: Stack) -> None:
    comfy = await stack.comfy()
    address = comfy.url.removeprefix("http://")
    first = await runner_by(stack, f"http://ada:old@{address}")
    job_id = await stack.submit(seconds=3, policy=PATIENT)
    running = await stack.until(job_id, "running")
    assert running.backend == comfy.url
    first.kill()
    await runner_by(stack, f"http://ada:new%40@{address}/")
    job = await stack.until(job_id, "succeeded")
    assert job.attempt == 1
    assert [entry.name for entry in await backend_entries(stack.log)] == [comfy.url]


async def test_an_abandoned_prompt_is_stopped_by_another_address_of_its_server(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    first = await runner_by(stack, comfy.url)
    job_id = await stack.submit(seconds=30, policy=Policy(stop_within_s=1.0))
    await stack.until(job_id, "running")
    comfy.freeze()
    await Everfold(stack.log, Watcher(stack.log)).cancel(job_id)
    await stack.until(job_id, "canceled", within_s=25)
    first.kill()
    comfy.thaw()
    await runner_by(stack, localhost(comfy))

    async def stopped() -> bool:
        return not await abandoned_prompts(stack.log)

    await eventually(stopped, 20)
    assert await comfy.running() == []


async def test_a_retired_address_of_two_hosts_can_be_retired_for_one_server(stack: Stack) -> None:
    here, there = await stack.comfy(), await stack.comfy()
    await runner_on(stack, "one", here)
    await runner_on(stack, "two", there)

    async def both() -> list[str]:
        servers = [entry.server for entry in await backend_entries(stack.log)]
        # What was written before a server was known goes right after.
        return servers if len(set(servers)) == 2 and all(servers) else []

    servers = await eventually(both, 15)
    assert [entry.name for entry in await backend_entries(stack.log)] == [LOOPBACK, LOOPBACK]
    client = Everfold(stack.log, Watcher(stack.log))
    await client.retire_backend(servers[0])
    assert {one.server: bool(one.retired_by) for one in await client.backends()} == {
        servers[0]: True,
        servers[1]: False,
    }
