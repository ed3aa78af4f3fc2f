"""A job names a backend that no runner was configured with, as one from an imported file may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from everfold.diagnosis.held_jobs import keeping_backends
from everfold.runner.adapters.silent_backend import NOT_CONFIGURED
from everfold.streams.events.event import Policy, Queued, Released, Submitting
from everfold.streams.leases.backends import backend_entries
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.registry import registered_runners
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

WEIRD = ("file:///etc/passwd", "javascript:1", "http://", "", "http://a b/\n\x1b[2J", "//x", "é")


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[str, list[str]]]:
    """Yield the address of a server, and a list with an item for each connection to it."""
    seen: list[str] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(str(writer.get_extra_info("peername")))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1")
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()


async def submit_at(stack: Stack, backend: str, policy: Policy) -> str:
    """Submit a job whose log says that its attempt is queued at `backend`."""
    made = await stack.log.submit(sleeper(0.1), policy=policy)
    dispatch = Dispatch(stack.log, "somebody")
    partition = stack.log.keys.partition_of(made.job_id)
    (lease,) = await dispatch.claim(partition, ["default"], 1)
    for event in (
        Submitting(attempt=1, backend=backend, boot="b", prompt_id=made.job_id, client_id="c"),
        Queued(attempt=1, prompt_id=made.job_id),
    ):
        await stack.log.append(made.job_id, event, epoch=lease.epoch, holder="somebody")
    await dispatch.release(lease, Released(reason="drain"))
    return made.job_id


async def test_an_address_that_only_a_job_names_is_not_contacted(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.projector()
    async with counting() as (trap, connections):
        held = await submit_at(stack, trap, Policy(backend_away_s=None))
        gone = [
            await submit_at(stack, url, Policy(backend_away_s=2.0))
            for url in (trap, f"{trap}/", trap.replace("http://", "http://u:p@"), *WEIRD)
        ]
        runner = await stack.runner(comfy)
        for job_id in gone:
            job = await stack.until(job_id, "succeeded")
            assert job.attempt == 2
            assert job.backend == comfy.url
        assert runner.exit_code is None

        async def told() -> list[str]:
            return [one.found for one in await keeping_backends(stack.log) if held in one.found]

        (found,) = await eventually(told, 15)
        assert NOT_CONFIGURED in found
        assert connections == []


async def test_an_address_that_another_runner_was_configured_with_is_contacted(
    stack: Stack,
) -> None:
    comfy, other = await stack.comfy(), await stack.comfy()
    async with counting() as (trap, connections):
        job_id = await submit_at(stack, trap, Policy(backend_away_s=None))
        await stack.runner(comfy)
        await stack.until_event(job_id, "claimed")
        dead = await stack.runner(other, backends=(other.url, trap))
        await eventually(lambda: _is(bool(connections)), 10)
        dead.kill()

        async def deregistered() -> bool:
            return len(await registered_runners(stack.log)) == 1

        await eventually(deregistered, 20)
        before = len(connections)
        # Still asked: a runner that has died was configured with it.
        await eventually(lambda: _is(len(connections) > before + 1), 45)
        (entry,) = [one for one in await backend_entries(stack.log) if one.name == trap]
        assert entry.is_configured


async def _is(condition: bool) -> bool:
    return condition
