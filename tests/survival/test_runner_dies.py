"""Each point at which a runner can die or stall: what the others make of it."""

from __future__ import annotations

import signal

import pytest

from everfold.streams.events.event import Policy
from tests.support.house import House
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_a_killed_runner_s_running_prompt_is_re_attached_and_runs_once(house: House) -> None:
    comfy = await house.comfy()
    runners = [await house.runner(comfy), await house.runner(comfy)]
    job_id = await house.submit(seconds=3)
    await house.until(job_id, "running")
    victim, _ = await house.owner_among(job_id, *runners)
    victim.kill()
    job = await house.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (1, 1)
    assert await comfy.executions() == [job.prompt_id]
    kinds = await house.kinds(job_id)
    assert "progressed" in kinds[kinds.index("recovered") :], kinds


async def test_a_killed_runner_s_queued_prompt_is_re_attached_and_runs_once(house: House) -> None:
    comfy = await house.comfy()
    first = await house.runner(comfy)
    jobs = [await house.submit(seconds=2) for _ in range(2)]
    for job_id in jobs:
        await house.until_told(job_id, "queued")
    await house.runner(comfy)
    first.kill()
    done = [await house.until(job_id, "succeeded") for job_id in jobs]
    assert sorted(await comfy.executions()) == sorted(job.prompt_id for job in done)


async def test_a_prompt_that_ended_while_nobody_looked_is_collected(house: House) -> None:
    comfy = await house.comfy()
    first = await house.runner(comfy)
    job_id = await house.submit(seconds=0.5)
    await house.until(job_id, "running")
    first.kill()

    async def executed() -> bool:
        return len(await comfy.executions()) == 1

    await house.runner(comfy)
    job = await house.until(job_id, "succeeded")
    assert await executed()
    assert job.outputs["3"]["images"]


async def test_dying_between_intent_and_post_costs_an_attempt_number_and_no_execution(
    house: House,
) -> None:
    comfy = await house.comfy()
    doomed = await house.runner(comfy, at="before_post")
    job_id = await house.submit(seconds=0.3)
    await doomed.line("struck")
    await house.runner(comfy)
    job = await house.until(job_id, "succeeded")
    assert job.attempt == 2
    assert await comfy.executions() == [job.prompt_id]
    assert "lost" in await house.kinds(job_id)


async def test_dying_between_post_and_its_record_adopts_the_prompt(house: House) -> None:
    comfy = await house.comfy()
    doomed = await house.runner(comfy, at="after_post")
    job_id = await house.submit(seconds=1.5)
    await doomed.line("struck")
    await house.runner(comfy)
    job = await house.until(job_id, "succeeded")
    assert job.attempt == 1
    assert await comfy.executions() == [job.prompt_id]


async def test_dying_between_the_end_and_its_record_collects_the_end(house: House) -> None:
    comfy = await house.comfy()
    doomed = await house.runner(comfy, at="before_end")
    job_id = await house.submit(seconds=0.3)
    await doomed.line("struck")
    await house.runner(comfy)
    job = await house.until(job_id, "succeeded")
    assert (job.attempt, job.recovered) == (1, 1)
    assert await comfy.executions() == [job.prompt_id]


async def test_a_frozen_runner_that_wakes_is_fenced_and_changes_nothing(house: House) -> None:
    comfy = await house.comfy()
    runners = [await house.runner(comfy), await house.runner(comfy)]
    job_id = await house.submit(seconds=5)
    await house.until(job_id, "running")
    victim, _ = await house.owner_among(job_id, *runners)
    victim.send(signal.SIGSTOP)
    await house.until_told(job_id, "recovered")
    victim.send(signal.SIGCONT)
    job = await house.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (1, 1)
    assert await comfy.executions() == [job.prompt_id]


async def test_a_runner_frozen_before_its_post_never_sends_it_once_the_lease_is_over(
    house: House,
) -> None:
    comfy = await house.comfy()
    frozen = await house.runner(comfy, at="before_post", signal="SIGSTOP")
    job_id = await house.submit(seconds=0.3)
    await frozen.line("struck")
    await house.runner(comfy)
    job = await house.until(job_id, "succeeded")
    frozen.send(signal.SIGCONT)
    later = await house.submit(seconds=0.3)
    done = await house.until(later, "succeeded")
    assert await comfy.executions() == [job.prompt_id, done.prompt_id]


async def test_a_drained_runner_hands_its_job_over_and_that_is_no_crash(house: House) -> None:
    comfy = await house.comfy()
    runners = [await house.runner(comfy, drain_s=0.2), await house.runner(comfy, drain_s=0.2)]
    job_id = await house.submit(seconds=3)
    await house.until(job_id, "running")
    leaving, _ = await house.owner_among(job_id, *runners)
    leaving.send(signal.SIGTERM)
    assert await leaving.end() == 0
    job = await house.until(job_id, "succeeded")
    assert (job.released, job.recovered, job.attempt) == (1, 0, 1)
    assert await comfy.executions() == [job.prompt_id]


async def test_a_draining_runner_finishes_what_ends_in_time_and_takes_nothing_new(
    house: House,
) -> None:
    comfy = await house.comfy()
    only = await house.runner(comfy, drain_s=10)
    job_id = await house.submit(seconds=1)
    await house.until(job_id, "running")
    only.send(signal.SIGTERM)
    await only.line("draining")
    waiting = await house.submit(seconds=0.2)
    assert await only.end() == 0
    assert (await house.job(job_id)).status == "succeeded"
    assert await house.kinds(waiting) == ["submitted"]


@pytest.mark.long
async def test_a_job_that_takes_down_three_runners_is_failed_as_poisoned(house: House) -> None:
    comfy = await house.comfy()
    job_id = await house.submit(seconds=30)
    for crashes in range(3):
        runner = await house.runner(comfy)

        async def held(crashes: int = crashes) -> bool:
            job = await house.job(job_id)
            return bool(job.owner) and job.recovered == crashes and job.status == "running"

        await eventually(held, within_s=20)
        runner.kill()
    await house.runner(comfy)
    job = await house.until(job_id, "failed")
    assert job.error is not None
    assert job.error.code == "poisoned"
    assert await comfy.executions() == [job.prompt_id]


async def test_an_orphan_older_than_its_policy_allows_expires_as_stale(house: House) -> None:
    comfy = await house.comfy()
    first = await house.runner(comfy)
    job_id = await house.submit(seconds=30, policy=Policy(recovery_max_age_s=0.1))
    await house.until(job_id, "running")
    first.kill()
    await house.runner(comfy)
    job = await house.until(job_id, "expired")
    assert job.reason == "stale"


@pytest.mark.parametrize("point", ["before_stop", "after_stop"])
async def test_dying_while_stopping_a_stalled_job_leaves_the_reason_to_the_survivor(
    house: House, point: str
) -> None:
    comfy = await house.comfy()
    doomed = await house.runner(comfy, at=point)
    job_id = await house.submit(seconds=10, policy=Policy(stall_deadline_s=1.0))
    await house.until(job_id, "running")
    await comfy.fault("stall", seconds=4)
    await doomed.line("struck", within_s=20)
    await house.runner(comfy)
    job = await house.until(job_id, "failed")
    assert job.error is not None
    assert job.error.code == "stalled"
    assert job.recovered == 1


@pytest.mark.long
async def test_a_job_that_breaks_its_only_runner_each_time_ends_as_poisoned(house: House) -> None:
    comfy = await house.comfy()
    await house.runner(comfy, broken=True, lease_ttl_s=1.4, renew_every_s=0.4)
    job_id = await house.submit(seconds=1)
    job = await house.until(job_id, "failed")
    assert job.error is not None
    assert job.error.code == "poisoned"
    assert (job.broken, job.recovered) == (3, 0)
    assert await comfy.executions() == []
