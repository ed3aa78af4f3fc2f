"""Canceling from another process, in every phase, verified at the backend."""

from __future__ import annotations

import pytest

from everfold import Everfold
from tests.support.house import House, sleeper

pytestmark = pytest.mark.anyio


async def cancel(house: House, job_id: str) -> None:
    log = house.log
    async with Everfold.connect(log.url, namespace=log.keys.namespace) as everfold:
        await everfold.cancel(job_id, "changed my mind")


async def test_a_job_that_waits_in_the_log_is_canceled_without_any_runner(house: House) -> None:
    job_id = await house.submit()
    await cancel(house, job_id)
    assert (await house.job(job_id)).status == "canceled"


async def test_a_job_that_waits_for_its_time_is_canceled_without_any_runner(house: House) -> None:
    made = await house.log.submit(sleeper(1), run_at_ms=4_000_000_000_000)
    await cancel(house, made.job_id)
    assert (await house.job(made.job_id)).status == "canceled"


async def test_a_job_queued_in_comfyui_is_deleted_there_and_the_running_one_goes_on(
    house: House,
) -> None:
    comfy = await house.comfy()
    await house.runner(comfy)
    running = await house.submit(seconds=3)
    await house.until(running, "running")
    waiting = await house.submit(seconds=1)
    await house.until_told(waiting, "queued")
    await cancel(house, waiting)
    assert (await house.until(waiting, "canceled")).reason == "changed my mind"
    job = await house.until(running, "succeeded")
    assert await comfy.executions() == [job.prompt_id]


async def test_a_running_job_is_interrupted_and_the_next_one_runs_to_its_end(
    house: House,
) -> None:
    comfy = await house.comfy()
    await house.runner(comfy)
    running = await house.submit(seconds=30)
    following = await house.submit(seconds=0.5)
    await house.until(running, "running")
    await cancel(house, running)
    assert (await house.until(running, "canceled", within_s=8)).attempt == 1
    await house.until(following, "succeeded")


async def test_a_job_that_ends_before_it_can_be_stopped_keeps_its_end(house: House) -> None:
    comfy = await house.comfy()
    await house.runner(comfy)
    node = sleeper(1)
    deaf = {"image": ["1", 0], "seconds": 1.5, "seed": 1}
    made = await house.log.submit({**node, "2": {"class_type": "JTSleepDeaf", "inputs": deaf}})
    await house.until(made.job_id, "running")
    await cancel(house, made.job_id)
    job = await house.ended(made.job_id)
    assert job.status in ("succeeded", "canceled")
    assert job.cancel_requested_at_ms


async def test_a_canceled_job_of_a_dead_runner_is_stopped_by_the_survivor(house: House) -> None:
    comfy = await house.comfy()
    first = await house.runner(comfy)
    job_id = await house.submit(seconds=30)
    await house.until(job_id, "running")
    first.kill()
    await cancel(house, job_id)
    await house.runner(comfy)
    job = await house.until(job_id, "canceled")
    assert job.recovered == 1
