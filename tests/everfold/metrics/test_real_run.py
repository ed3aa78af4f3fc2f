"""What scrapes of a real farm show equals the jobs that were run, also over a kill -9."""

from __future__ import annotations

import re

import pytest

from everfold import Everfold
from everfold.metrics.sampled import Sampled
from everfold.streams.appending.group_commit import FENCED
from everfold.streams.appending.log import Log
from everfold.streams.errors import Fenced
from everfold.streams.events.event import Released, Started
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command
from tests.everfold.metrics.scraping import Watched, watched
from tests.support.programs.stack import Stack, sleeper
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

RUNNER = ("runner", "--no-thumbnails", "--lease-ttl", "2", "--comfyui")


async def until(one: Watched, name: str, number: float, **labels: str) -> None:
    """Wait until a metric has reached a number, and see that it is no larger."""

    async def reached() -> bool:
        return await one.total(name, **labels) >= number

    await eventually(reached, 20)
    assert await one.total(name, **labels) == number


async def test_numbers_equal_the_jobs_that_were_run_over_a_kill_and_a_restart(stack: Stack) -> None:
    comfy = await stack.comfy()
    projector = await watched(stack, "projector")
    runners = [await watched(stack, *RUNNER, comfy.url) for _ in range(2)]
    jobs = [await stack.submit(0.1) for _ in range(3)]
    for job_id in jobs:
        await stack.until(job_id, "succeeded")
    await until(projector, "everfold_jobs_ended_total", 3, status="succeeded", queue="default")
    for name in ("everfold_job_wait_seconds_count", "everfold_job_run_seconds_count"):
        assert await projector.total(name) == 3
    assert await projector.total("everfold_jobs_submitted_total") == 3
    assert await projector.total("everfold_recoveries_total") == 0

    long = await stack.submit(2.0)
    await stack.until(long, "running")
    owner = (await stack.job(long)).owner
    killed = runners.pop(0 if await runners[0].total("everfold_runner_jobs") else 1)
    assert owner in "".join(killed.program.lines)
    killed.program.kill()
    assert (await stack.until(long, "succeeded")).recovered == 1
    await until(projector, "everfold_recoveries_total", 1)
    assert await projector.total("everfold_recovery_seconds_count") == 1
    assert 0 < await projector.total("everfold_recovery_seconds_sum") < 10
    assert await runners[0].total("everfold_script_seconds_count", script="claim") > 0

    projector.program.kill()
    again = await watched(stack, "projector")
    await stack.until(await stack.submit(0.1), "succeeded")
    await until(again, "everfold_jobs_submitted_total", 1)
    await until(again, "everfold_jobs_ended_total", 1)
    assert await again.total("everfold_recoveries_total") == 0


async def test_the_numbers_of_a_namespace_are_those_of_its_keys(stack: Stack) -> None:
    comfy = await stack.comfy()
    farm = await watched(stack, "metrics")
    jobs = [await stack.log.submit(sleeper(0.1), priority=rank) for rank in ("high", "low", "low")]
    await stack.log.submit(sleeper(0.1), queue="night", delay_s=1_000)
    await until(farm, "everfold_jobs", 2, queue="default", priority="low", state="waiting")
    assert await farm.total("everfold_jobs", state="later", queue="night") == 1
    assert await farm.total("everfold_queue_servers", queue="default") == 0
    assert await farm.total("everfold_backend_up") == 0
    assert await farm.total("everfold_namespace_up") == 1

    projector = await watched(stack, "projector")
    await watched(stack, *RUNNER, comfy.url)
    for job in jobs:
        await stack.until(job.job_id, "succeeded")
    await until(projector, "everfold_jobs_ended_total", 3)
    await until(farm, "everfold_backend_up", 1, backend=comfy.url)
    await until(farm, "everfold_queue_servers", 1, queue="default")
    assert await farm.total("everfold_backlog_seconds", queue="default") == 0
    assert await farm.total("everfold_jobs", state="waiting") == 0
    assert await farm.total("everfold_assets_bytes") >= 0


async def test_a_fenced_append_is_counted(stack: Stack) -> None:
    FENCED.clear()
    await stack.log.submit(sleeper(0.1))
    [first] = await Producer(stack.log, "r1").claim()
    partition, lane = stack.log.keys.partition_of(first.job_id), (first.queue, first.priority)
    survivor = Dispatch(stack.log, "r2")
    _, [second] = await survivor.take_over(partition, lane, idle_limit_s=9, suspect="r1")
    assert second.epoch == first.epoch + 1

    with pytest.raises(Fenced):
        await Producer(stack.log, "r1").append(first, Started(attempt=1))
    with pytest.raises(Fenced):
        await Producer(stack.log, "r1").release(first, Released(reason="drain"))

    assert FENCED.series[()] == 2


async def test_names_that_users_make_up_are_data(stack: Stack) -> None:
    odd = 'x"} 1\neverfold_jobs{queue="y'
    projector, farm = await watched(stack, "projector"), await watched(stack, "metrics")
    await stack.log.submit(sleeper(0.1), kind=odd.replace("\n", " "), queue="q.1-_x")
    partition = stack.log.keys.partition_of("a")
    await command(stack.log.redis, "SADD", stack.log.keys.queues(partition), odd, b"\xff\x00")
    await until(projector, "everfold_jobs_submitted_total", 1, queue="q.1-_x")
    await until(farm, "everfold_queues", 3)

    assert await farm.total("everfold_queue_oldest_seconds", queue=odd) == 0
    assert await farm.total("everfold_jobs", queue="y") == 0


async def test_a_scrape_of_a_thousand_queues_asks_little(server: OwnServer) -> None:
    async with Log.open(server.url) as log, Everfold.connect(server.url) as everfold:
        for number in range(1_100):
            await command(log.redis, "SADD", log.keys.queues(number % 24), f"q{number:04}")
            waiting = log.keys.waiting(number % 24, f"q{number:04}")
            await command(log.redis, "EVAL", MANY_WAIT, 1, waiting, 100)
        sampled = Sampled(everfold)
        await command(log.redis, "CONFIG", "RESETSTAT")
        sample = await sampled.all()
        await sampled.all()
        stats = await command(log.redis, "INFO", "commandstats")
        for name in ("q0000", "q1099"):
            found = await sampled.queue(name)
            assert found is not None
            assert sum(found.waiting) == 100
        assert await sampled.queue("none") is None

    asked = dict(re.findall(r"cmdstat_(\w+):calls=(\d+)", stats.decode()))  # type: ignore[attr-defined]
    assert sample.queues.count == 1_100
    assert sum(sum(one.waiting) for one in sample.queues.by_name.values()) == 100_000
    assert int(asked["evalsha_ro"]) < 250
    assert int(asked["scard"]) == 1_000
    assert "xrange" not in asked or int(asked["xrange"]) < 100


MANY_WAIT = "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], 2251799813685248 + i, i) end"
