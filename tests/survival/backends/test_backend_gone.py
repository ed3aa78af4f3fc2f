"""ComfyUI servers that never come back, come back late, or do not let go of a prompt."""

from __future__ import annotations

import signal

import pytest

from everfold.client import Everfold
from everfold.projector.reading.watching import Watcher
from everfold.streams.events.event import Policy
from everfold.streams.leases.backends import abandoned_prompts, backend_entries
from everfold.streams.queues.waiting_jobs import position
from everfold.streams.redis.redis_errors import command
from tests.support.programs.stack import PRODUCT_LEASES, Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


def text_graph(color: int) -> dict[str, object]:
    image = {"width": 8, "height": 8, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "JTText", "inputs": {"image": ["1", 0], "text": "hello"}},
    }


PATIENT = Policy(retries=2, backend_away_s=3.0, stop_within_s=2.0)


def client(stack: Stack) -> Everfold:
    return Everfold(stack.log, Watcher(stack.log))


async def test_the_jobs_of_a_comfyui_that_never_comes_back_finish_elsewhere(stack: Stack) -> None:
    gone, other = await stack.comfy(), await stack.comfy("--speed", "20")
    first = await stack.runner(gone)
    running = await stack.submit(seconds=40, policy=PATIENT)
    await stack.until(running, "running")
    waiting = await stack.submit(seconds=0.5, policy=PATIENT)
    await stack.until_event(waiting, "queued")
    gone.kill()
    first.kill()
    await stack.runner(other)
    ran, waited = await stack.until(running, "succeeded"), await stack.until(waiting, "succeeded")
    assert (ran.attempt, ran.losses, ran.abandoned) == (2, 1, 1)
    assert (waited.attempt, waited.losses, waited.abandoned) == (2, 0, 1)
    assert len(await other.executions()) == 2


async def test_a_cancel_ends_the_job_of_a_comfyui_that_is_gone(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=30, policy=Policy(stop_within_s=1.0))
    await stack.until(job_id, "running")
    comfy.kill()
    await client(stack).cancel(job_id, "enough")
    job = await stack.until(job_id, "canceled", within_s=15)
    assert (job.reason, job.abandoned) == ("enough", 1)


@pytest.mark.long
async def test_a_cancel_does_not_wait_for_a_post_to_a_comfyui_that_hangs(stack: Stack) -> None:
    comfy = await stack.comfy()
    runner = await stack.runner(comfy, at="before_post", signal="SIGSTOP", leases=PRODUCT_LEASES)
    job_id = await stack.submit(seconds=0.2, policy=Policy(stop_within_s=1.0))
    await runner.line("reached")
    comfy.freeze()
    runner.send(signal.SIGCONT)
    await client(stack).cancel(job_id, "enough")
    # The polls notice it after 15 s; the POST itself would wait for a minute.
    job = await stack.until(job_id, "canceled", within_s=40)
    assert (job.reason, job.abandoned) == ("enough", 1)


async def test_a_run_deadline_ends_the_job_of_a_comfyui_that_is_gone(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=30, policy=Policy(run_deadline_s=2.0, stop_within_s=1.0))
    await stack.until(job_id, "running")
    comfy.kill()
    job = await stack.until(job_id, "failed", within_s=15)
    assert job.error is not None
    assert job.error.code == "run_deadline"


async def test_a_prompt_that_cannot_be_interrupted_ends_its_job_and_blocks_nobody(
    stack: Stack,
) -> None:
    wedged, other = await stack.comfy(), await stack.comfy()
    await stack.runner(wedged)
    policy = Policy(run_deadline_s=1.0, stop_within_s=1.0)
    job_id = await stack.submit_deaf(seconds=20, policy=policy)
    await stack.until(job_id, "running")
    behind = await stack.submit(seconds=0.2)
    await stack.until_event(behind, "queued")
    await stack.runner(other)
    job = await stack.until(job_id, "failed", within_s=15)
    assert job.error is not None
    assert (job.error.code, job.abandoned) == ("run_deadline", 1)
    moved = await stack.until(behind, "succeeded", within_s=15)
    assert moved.backend == other.url


async def test_an_abandoned_prompt_is_stopped_when_its_backend_is_seen_again(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=25, policy=Policy(stop_within_s=1.0))
    await stack.until(job_id, "running")
    comfy.freeze()
    await client(stack).cancel(job_id)
    job = await stack.until(job_id, "canceled", within_s=25)
    assert list(await abandoned_prompts(stack.log)) == [job.prompt_id]
    comfy.thaw()

    async def stopped() -> bool:
        return not await abandoned_prompts(stack.log)

    await eventually(stopped, 20)
    assert await comfy.running() == []


async def test_a_retired_backend_loses_what_nobody_reaches_and_gets_nothing_new(
    stack: Stack,
) -> None:
    gone, other = await stack.comfy(), await stack.comfy()
    await stack.runner(gone)
    job_id = await stack.submit(seconds=2, policy=Policy(retries=1))
    await stack.until(job_id, "running")

    async def seen() -> bool:
        return gone.url in {entry.name for entry in await backend_entries(stack.log)}

    await eventually(seen, 10)
    gone.kill()
    await client(stack).retire_backend(gone.url)
    await stack.runner(other)
    job = await stack.until(job_id, "succeeded")
    assert (job.backend, job.reason) == (other.url, "")
    assert "lost" in await stack.event_types(job_id)


async def test_an_operator_gives_up_the_attempt_of_a_silent_backend(stack: Stack) -> None:
    comfy, other = await stack.comfy(), await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=1.5, policy=Policy(retries=1, backend_away_s=None))
    await stack.until(job_id, "running")
    comfy.kill()
    await client(stack).give_up(job_id)
    await stack.runner(other)
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.backend) == (2, other.url)


async def test_jobs_wait_uncharged_while_a_server_turns_posts_away(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    await comfy.fault("refuse", count=2, status=401)
    job_ids = [await stack.submit(seconds=0.1) for _ in range(3)]
    for job_id in job_ids:
        job = await stack.until(job_id, "succeeded")
        assert (job.losses, job.unconfirmed, job.retried) == (0, 0, 0)
    assert len(await comfy.executions()) == 3


async def test_a_graph_that_one_server_cannot_run_is_tried_on_the_others(stack: Stack) -> None:
    lacking, whole = await stack.comfy("--without", "JTText"), await stack.comfy()
    await stack.runner(lacking, whole)
    for number in range(4):
        job_id = (await stack.log.submit(text_graph(number))).job_id
        job = await stack.until(job_id, "succeeded")
        assert job.backend == whole.url
    poor = await stack.runner(lacking, queues=("poor",))
    waiting = (await stack.log.submit(text_graph(9), queue="poor")).job_id
    able = (await stack.log.submit(sleeper(0.1), queue="poor")).job_id
    await stack.until(able, "succeeded")  # it is behind the one that cannot be run there
    assert await position(stack.log, waiting) == 0
    poor.kill()
    await stack.runner(whole, queues=("poor",))
    assert (await stack.until(waiting, "succeeded")).attempt == 1


async def test_a_runner_that_was_removed_comes_back_to_the_registry(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    key = stack.log.keys.runners()
    await command(stack.log.redis, "DEL", key)

    async def back() -> bool:
        return bool(await command(stack.log.redis, "HLEN", key))

    await eventually(back, 10)


async def test_what_anybody_writes_to_hints_and_registries_ends_no_runner(stack: Stack) -> None:
    comfy = await stack.comfy()
    runner = await stack.runner(comfy)
    keys, redis = stack.log.keys, stack.log.redis
    for hint in (b"\xff", "dispatch \u00b2", "dispatch 9" + "9" * 400, "cancel", "release x y"):
        await command(redis, "PUBLISH", keys.wake(), hint)
    registries = (
        keys.runners(),
        keys.backends(),
        keys.retired(),
        keys.abandoned(),
        keys.given_up(),
    )
    odd: tuple[str | bytes, ...] = ("{}", "x", b"\xff", "[" * 2000, '{"runner":"x","host":"h"}')
    for key in registries:
        for number, value in enumerate(odd):
            await command(redis, "HSET", key, f"odd{number}", value)
    for _ in range(3):
        job_id = await stack.submit(seconds=1.0)
        await stack.until(job_id, "succeeded")
    assert runner.exit_code is None
