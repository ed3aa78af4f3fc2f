"""Canceling from another process, in every phase, verified at the backend."""

from __future__ import annotations

import pytest

from everfold import Everfold
from everfold.streams.events.event import CancelRequested
from tests.support.programs.stack import Stack, sleeper

pytestmark = pytest.mark.anyio


async def cancel(stack: Stack, job_id: str) -> None:
    log = stack.log
    async with Everfold.connect(log.url.reveal(), namespace=log.keys.namespace) as everfold:
        await everfold.cancel(job_id, "changed my mind")


async def test_a_job_that_waits_in_the_log_is_canceled_without_any_runner(stack: Stack) -> None:
    job_id = await stack.submit()
    await cancel(stack, job_id)
    assert (await stack.job(job_id)).status == "canceled"


async def test_a_job_that_waits_for_its_time_is_canceled_without_any_runner(stack: Stack) -> None:
    made = await stack.log.submit(sleeper(1), run_at_ms=4_000_000_000_000)
    await cancel(stack, made.job_id)
    assert (await stack.job(made.job_id)).status == "canceled"


async def test_a_job_queued_in_comfyui_is_deleted_there_and_the_running_one_goes_on(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    running = await stack.submit(seconds=3)
    await stack.until(running, "running")
    waiting = await stack.submit(seconds=1)
    await stack.until_event(waiting, "queued")
    await cancel(stack, waiting)
    assert (await stack.until(waiting, "canceled")).reason == "changed my mind"
    job = await stack.until(running, "succeeded")
    assert await comfy.executions() == [job.prompt_id]


async def test_a_running_job_is_interrupted_and_the_next_one_runs_to_its_end(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    running = await stack.submit(seconds=30)
    following = await stack.submit(seconds=0.5)
    await stack.until(running, "running")
    await cancel(stack, running)
    assert (await stack.until(running, "canceled", within_s=8)).attempt == 1
    await stack.until(following, "succeeded")


async def test_a_job_that_ends_before_it_can_be_stopped_keeps_its_end(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    node = sleeper(1)
    deaf = {"image": ["1", 0], "seconds": 1.5, "seed": 1}
    made = await stack.log.submit({**node, "2": {"class_type": "JTSleepDeaf", "inputs": deaf}})
    await stack.until(made.job_id, "running")
    await cancel(stack, made.job_id)
    job = await stack.ended(made.job_id)
    assert job.status in ("succeeded", "canceled")
    assert job.cancel_requested_at_ms


async def test_a_canceled_job_of_a_dead_runner_is_stopped_by_the_survivor(stack: Stack) -> None:
    comfy = await stack.comfy()
    first = await stack.runner(comfy)
    job_id = await stack.submit(seconds=30)
    await stack.until(job_id, "running")
    first.kill()
    await cancel(stack, job_id)
    await stack.runner(comfy)
    job = await stack.until(job_id, "canceled")
    assert job.recovered == 1


async def test_a_wish_to_cancel_a_waiting_job_is_granted_although_nothing_has_room(
    stack: Stack,
) -> None:
    """Whoever asked has died before the job was canceled; no backend is there to run it."""
    comfy = await stack.comfy()
    comfy.kill()
    await stack.runner(comfy)
    made = await stack.log.submit(sleeper(1), run_at_ms=4_000_000_000_000)
    waiting, delayed = await stack.submit(), made.job_id
    for job_id in (waiting, delayed):
        await stack.log.append(job_id, CancelRequested(reason="no longer wanted"), epoch=0)
    for job_id in (waiting, delayed):
        job = await stack.until(job_id, "canceled", within_s=5)
        assert job.reason == "no longer wanted"
