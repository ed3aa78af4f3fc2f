"""The next job of a server is sent while the one before is still being recorded."""

from __future__ import annotations

import pytest

from tests.support.programs.stack import Stack
from tests.survival.processes.test_cancel import cancel

pytestmark = pytest.mark.anyio


async def test_a_job_is_sent_as_soon_as_the_end_of_the_one_before_was_told(stack: Stack) -> None:
    comfy = await stack.comfy()
    await comfy.fault("delay_history", seconds=4)
    await stack.runner(comfy, slots=1)
    first, second = await stack.submit(seconds=0.1), await stack.submit(seconds=0.1)
    await stack.until_event(first, "queued")
    await stack.until_event(second, "queued")
    assert not (await stack.job(first)).is_terminal, await stack.event_text(first)
    for job_id in (first, second):
        await stack.until(job_id, "succeeded")
    assert len(await comfy.executions()) == 2


async def test_a_job_sent_ahead_of_a_dead_runner_runs_once(stack: Stack) -> None:
    comfy = await stack.comfy()
    await comfy.fault("delay_history", seconds=4)
    runner = await stack.runner(comfy, slots=1)
    first, second = await stack.submit(seconds=0.1), await stack.submit(seconds=0.1)
    await stack.until_event(second, "queued")
    runner.kill()
    await stack.runner(comfy, slots=1)
    for job_id in (first, second):
        job = await stack.until(job_id, "succeeded")
        assert (job.attempt, job.losses) == (1, 0), await stack.event_text(job_id)
    assert len(await comfy.executions()) == 2


async def test_a_job_sent_ahead_is_deleted_at_the_server_when_it_is_canceled(stack: Stack) -> None:
    comfy = await stack.comfy()
    await comfy.fault("delay_history", seconds=4)
    await stack.runner(comfy, slots=1)
    first, second = await stack.submit(seconds=0.1), await stack.submit(seconds=0.1)
    await stack.until_event(second, "queued")
    await cancel(stack, second)
    await stack.until(second, "canceled")
    await stack.until(first, "succeeded")
    assert len(await comfy.executions()) == 1
