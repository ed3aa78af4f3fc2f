"""An operator ends a runner and takes backends out of service, from another machine."""

from __future__ import annotations

import pytest

from everfold.client import Everfold
from everfold.projector.reading.watching import Watcher
from everfold.streams.errors import RunnerUnknown
from everfold.streams.redis.redis_errors import command
from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


def client(stack: Stack) -> Everfold:
    return Everfold(stack.log, Watcher(stack.log))


async def test_a_runner_that_is_asked_to_drain_hands_over_its_job_and_ends(stack: Stack) -> None:
    comfy, everfold = await stack.comfy(), client(stack)
    first = await stack.runner(comfy, drain_s=0.2)
    job_id = await stack.submit(seconds=4)
    await stack.until(job_id, "running")

    async def holds() -> bool:
        return [one.jobs for one in await everfold.runners()] == [1]

    await eventually(holds, 10)
    [row] = await everfold.runners()
    assert (row.backends, row.is_draining, row.drained_by) == ((comfy.url,), False, "")
    second = await stack.runner(comfy)
    with pytest.raises(RunnerUnknown, match=f"did you mean {row.name}"):
        await everfold.drain_runner(row.name + "x")
    await everfold.drain_runner(row.name)
    await first.end(within_s=10)
    assert first.exit_code == 0
    assert any(stack.log.actor in line for line in first.error_lines if "drain_asked" in line)
    [other] = await everfold.runners()
    assert other.name != row.name
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.released, job.attempt) == (0, 1, 1)
    assert second.exit_code is None
    assert await command(stack.log.redis, "HLEN", stack.log.keys.drains()) == 0
    [act] = await everfold.acts()
    assert (act.verb, act.subject) == ("drain_runner", row.name)


async def test_a_drained_backend_finishes_what_it_has_and_gets_nothing_new(stack: Stack) -> None:
    comfy, other, everfold = await stack.comfy(), await stack.comfy(), client(stack)
    await stack.runner(comfy)
    jobs = [await stack.submit(seconds=4) for _ in range(2)]
    for job_id in jobs:
        await stack.until_event(job_id, "queued")

    async def busy() -> bool:
        found = [one for one in await everfold.backends() if one.name == comfy.url]
        return [(one.busy, one.slots) for one in found] == [(2, 2)]

    await eventually(busy, 10)
    await everfold.drain_backend(comfy.url)

    async def drained() -> bool:
        found = [one for one in await everfold.backends() if one.name == comfy.url]
        return [one.why for one in found] == ["an operator drains it"]

    await eventually(drained, 10)
    late = await stack.submit(seconds=0.3)
    await stack.runner(other)
    moved = await stack.until(late, "succeeded")
    assert moved.backend == other.url
    for job_id in jobs:
        job = await stack.until(job_id, "succeeded")
        assert (job.backend, job.attempt) == (comfy.url, 1)
    [row] = [one for one in await everfold.backends() if one.name == comfy.url]
    assert (row.drained_by, row.retired_by) == (stack.log.actor, "")
    assert await everfold.return_backend(comfy.url)
    assert [act.verb for act in await everfold.acts()] == ["drain_backend", "return_backend"]


async def test_a_wish_is_not_for_a_later_runner_of_the_same_name(stack: Stack) -> None:
    comfy, everfold = await stack.comfy(), client(stack)
    first = await stack.runner(comfy, name="same")
    first.kill()
    await everfold.drain_runner("same")
    second = await stack.runner(comfy, name="same")
    job_id = await stack.submit(seconds=0.5)
    await stack.until(job_id, "succeeded")
    assert second.exit_code is None
