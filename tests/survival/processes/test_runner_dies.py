"""Each point at which a runner can die or stall: what the others make of it."""

from __future__ import annotations

import signal

import anyio
import pytest

from everfold.streams.events.event import Policy
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_a_killed_runner_s_running_prompt_is_re_attached_and_runs_once(stack: Stack) -> None:
    comfy = await stack.comfy()
    runners = [await stack.runner(comfy), await stack.runner(comfy)]
    job_id = await stack.submit(seconds=3)
    await stack.until(job_id, "running")
    victim, _ = await stack.owner_among(job_id, *runners)
    victim.kill()
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (1, 1)
    assert await comfy.executions() == [job.prompt_id]
    kinds = await stack.event_types(job_id)
    assert "progressed" in kinds[kinds.index("recovered") :], kinds


async def test_a_killed_runner_s_queued_prompt_is_re_attached_and_runs_once(stack: Stack) -> None:
    comfy = await stack.comfy()
    first = await stack.runner(comfy)
    jobs = [await stack.submit(seconds=2) for _ in range(2)]
    for job_id in jobs:
        await stack.until_event(job_id, "queued")
    await stack.runner(comfy)
    first.kill()
    done = [await stack.until(job_id, "succeeded") for job_id in jobs]
    assert sorted(await comfy.executions()) == sorted(job.prompt_id for job in done)


async def test_a_prompt_that_ended_while_nobody_looked_is_collected(stack: Stack) -> None:
    comfy = await stack.comfy()
    first = await stack.runner(comfy)
    job_id = await stack.submit(seconds=0.5)
    await stack.until(job_id, "running")
    first.kill()

    async def executed() -> bool:
        return len(await comfy.executions()) == 1

    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert await executed()
    assert job.outputs["3"]["images"]


async def test_dying_between_intent_and_post_costs_an_attempt_number_and_no_execution(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    dying = await stack.runner(comfy, at="before_post")
    job_id = await stack.submit(seconds=0.3)
    await dying.line("reached")
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert job.attempt == 2
    assert await comfy.executions() == [job.prompt_id]
    assert "lost" in await stack.event_types(job_id)


async def test_dying_between_post_and_its_record_adopts_the_prompt(stack: Stack) -> None:
    comfy = await stack.comfy()
    dying = await stack.runner(comfy, at="after_post")
    job_id = await stack.submit(seconds=1.5)
    await dying.line("reached")
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert job.attempt == 1
    assert await comfy.executions() == [job.prompt_id]


async def test_dying_between_the_end_and_its_record_collects_the_end(stack: Stack) -> None:
    comfy = await stack.comfy()
    dying = await stack.runner(comfy, at="before_end")
    job_id = await stack.submit(seconds=0.3)
    await dying.line("reached")
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.recovered) == (1, 1)
    assert await comfy.executions() == [job.prompt_id]


@pytest.mark.slow
async def test_a_frozen_runner_that_wakes_is_fenced_and_changes_nothing(stack: Stack) -> None:
    comfy = await stack.comfy()
    runners = [await stack.runner(comfy), await stack.runner(comfy)]
    job_id = await stack.submit(seconds=2.5 * stack.leases.ttl_s)
    await stack.until(job_id, "running")
    victim, _ = await stack.owner_among(job_id, *runners)
    victim.send(signal.SIGSTOP)
    await stack.until_event(job_id, "recovered")
    victim.send(signal.SIGCONT)
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (1, 1)
    assert await comfy.executions() == [job.prompt_id]


@pytest.mark.slow
async def test_a_runner_frozen_before_its_post_never_sends_it_once_the_lease_is_over(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    frozen = await stack.runner(comfy, at="before_post", signal="SIGSTOP")
    job_id = await stack.submit(seconds=0.3)
    await frozen.line("reached")
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    frozen.send(signal.SIGCONT)
    later = await stack.submit(seconds=0.3)
    done = await stack.until(later, "succeeded")
    assert await comfy.executions() == [job.prompt_id, done.prompt_id]


async def test_a_drained_runner_hands_its_job_over_and_that_is_no_crash(stack: Stack) -> None:
    comfy = await stack.comfy()
    runners = [await stack.runner(comfy, drain_s=0.2), await stack.runner(comfy, drain_s=0.2)]
    job_id = await stack.submit(seconds=3)
    await stack.until(job_id, "running")
    leaving, _ = await stack.owner_among(job_id, *runners)
    leaving.send(signal.SIGTERM)
    assert await leaving.end() == 0
    job = await stack.until(job_id, "succeeded")
    assert (job.released, job.recovered, job.attempt) == (1, 0, 1)
    assert await comfy.executions() == [job.prompt_id]


async def test_a_draining_runner_finishes_what_ends_in_time_and_takes_nothing_new(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    only = await stack.runner(comfy, drain_s=10)
    job_id = await stack.submit(seconds=1)
    await stack.until(job_id, "running")
    only.send(signal.SIGTERM)
    await only.line("draining")
    waiting = await stack.submit(seconds=0.2)
    assert await only.end() == 0
    assert (await stack.job(job_id)).status == "succeeded"
    assert await stack.event_types(waiting) == ["submitted"]


@pytest.mark.long
async def test_a_living_prompt_is_re_attached_however_many_runners_died(stack: Stack) -> None:
    comfy = await stack.comfy()
    job_id = await stack.submit(seconds=20)
    for crashes in range(3):
        runner = await stack.runner(comfy)

        async def held(crashes: int = crashes) -> bool:
            job = await stack.job(job_id)
            return bool(job.owner) and job.recovered == crashes and job.status == "running"

        await eventually(held, within_s=20)
        runner.kill()
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.crashes_in_a_row, job.attempt) == (3, 0, 1)
    assert await comfy.executions() == [job.prompt_id]


YOUNG = Policy(recovery_max_age_s=0.1)
"""A runner that dies is replaced later than that."""


async def test_a_prompt_that_lives_is_re_attached_whatever_time_went_by(stack: Stack) -> None:
    comfy = await stack.comfy()
    first = await stack.runner(comfy)
    job_id = await stack.submit(seconds=4, policy=YOUNG)
    await stack.until(job_id, "running")
    first.kill()
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (1, 1)
    assert job.idle_ms > 100
    assert await comfy.executions() == [job.prompt_id]


async def test_a_prompt_that_waits_there_is_re_attached_and_may_fail_and_be_tried_again(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    first = await stack.runner(comfy)
    jobs = [await stack.submit(seconds=3, policy=YOUNG) for _ in range(2)]
    for job_id in jobs:
        await stack.until_event(job_id, "queued")
    first.kill()
    await stack.runner(comfy)
    for job_id in jobs:
        await stack.until_event(job_id, "recovered")
    await stack.until(jobs[0], "succeeded")
    await stack.until(jobs[1], "running")
    comfy.kill()  # seen alive since, so that the age does not count any more
    await comfy.up()
    job = await stack.until(jobs[1], "succeeded")
    assert (job.recovered, job.attempt, job.losses) == (1, 2, 1)


async def test_a_prompt_that_ended_meanwhile_is_collected_whatever_time_went_by(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    first = await stack.runner(comfy)
    job_id = await stack.submit(seconds=1, policy=YOUNG)
    await stack.until(job_id, "running")
    first.kill()

    async def idle() -> bool:
        return not await comfy.running()

    await eventually(idle, 10)
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (1, 1)


async def test_an_orphan_without_a_living_attempt_that_is_too_old_expires_as_stale(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    dying = await stack.runner(comfy, at="before_post")
    job_id = await stack.submit(seconds=1, policy=YOUNG)
    await dying.line("reached", within_s=20)
    await stack.runner(comfy)
    job = await stack.until(job_id, "expired")
    assert (job.reason, job.abandoned) == ("stale", 0)
    assert await comfy.executions() == []


@pytest.mark.parametrize("point", ["before_stop", "after_stop"])
async def test_dying_while_stopping_a_stalled_job_leaves_the_reason_to_the_survivor(
    stack: Stack, point: str
) -> None:
    comfy = await stack.comfy()
    dying = await stack.runner(comfy, at=point)
    job_id = await stack.submit(seconds=10, policy=Policy(stall_deadline_s=1.0))
    await stack.until(job_id, "running")
    await comfy.fault("stall", seconds=4)
    await dying.line("reached", within_s=20)
    await stack.runner(comfy)
    job = await stack.until(job_id, "failed")
    assert job.error is not None
    assert job.error.code == "stalled"
    assert job.recovered == 1


@pytest.mark.long
async def test_a_job_that_breaks_its_only_runner_each_time_ends_as_poisoned(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, broken=True, leases=Leases(ttl_s=1.4))
    job_id = await stack.submit(seconds=1)
    job = await stack.until(job_id, "failed")
    assert job.error is not None
    assert job.error.code == "poisoned"
    assert (job.broken, job.recovered) == (3, 0)
    assert await comfy.executions() == []


async def test_a_bug_of_an_adapter_counts_against_its_backend_and_never_against_the_job(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, raises=True)
    job_id = await stack.submit(seconds=0.3)
    await anyio.sleep(2.0)
    job = await stack.job(job_id)
    assert (job.status, job.broken, job.attempt) == ("queued", 0, 0)
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert (job.broken, job.losses, job.attempt) == (0, 0, 1)


async def test_a_survivor_of_another_queue_leaves_a_dead_runner_to_those_who_serve_its_jobs(
    stack: Stack,
) -> None:
    """What it cannot take, others find at once and not by the lease."""
    comfy, leases = await stack.comfy(), Leases(ttl_s=30.0)
    await stack.runner(comfy, queues=("other",), leases=leases)
    owner = await stack.runner(comfy, queues=("other", "default"), leases=leases)
    job_id = await stack.submit(seconds=4)
    await stack.until(job_id, "running")
    owner.kill()
    await anyio.sleep(2.0)
    await stack.runner(comfy, leases=leases)
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (1, 1)
    assert '"connection_gone"' in await stack.event_text(job_id)
