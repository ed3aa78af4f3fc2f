"""The wall clock of the server is set by hours, either way: that ends no job and freezes none."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.events.event import CancelRequested, Policy, Recovered
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_time_ms
from tests.support.programs.programs import StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.servers import OwnServer
from tests.support.wall_clock import WallClock

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(WallClock.why_not() != "", reason=WallClock.why_not() or "-"),
]

HOURS = 6 * 3600.0
STEPS = pytest.mark.parametrize("step_s", [HOURS, -HOURS])


@pytest.fixture
async def stack(
    clock: WallClock,
    clocked_server: OwnServer,
    start_program: StartProgram,
    tmp_path: Path,
    leases: Leases,
) -> AsyncIterator[Stack]:
    async with Log.open(clocked_server.url, namespace="clock", partitions=2) as log:
        before_ms = await server_time_ms(log.redis)
        clock.step(100.0)
        if await server_time_ms(log.redis) - before_ms < 90_000:
            pytest.skip("this server does not ask the C library for the time")
        yield Stack(log, start_program, tmp_path, leases=leases)


async def recoveries(stack: Stack, job_id: str) -> list[Recovered]:
    records = await job_events(stack.log, job_id)
    return [record.event for record in records if isinstance(record.event, Recovered)]


async def read_clock(log: Log, partition: int) -> dict[str, int]:
    stored = await read_hash(log.redis, log.keys.clock(partition))
    return {name.decode(): int(value) for name, value in stored.items()}


async def later_ms(log: Log, job_id: str) -> int:
    key = log.keys.later(log.keys.partition_of(job_id))
    score = await command(log.redis, "ZSCORE", key, job_id)
    assert isinstance(score, bytes)
    return int(float(score))


async def submit_oom(stack: Stack, policy: Policy) -> str:
    """Submit a job that runs out of memory each time."""
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 1}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "JTOom", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    return (await stack.log.submit(graph, policy=policy)).job_id


@STEPS
async def test_running_and_waiting_jobs_go_on(
    stack: Stack, clock: WallClock, step_s: float
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, slots=1)
    policy = Policy(queue_deadline_s=30.0, run_deadline_s=20.0)
    running = await stack.submit(2.5 * stack.leases.ttl_s, policy)
    await stack.until(running, "running")
    await stack.runner(comfy, slots=1)
    waiting = await stack.submit(0.3, policy)
    later = await stack.submit(0.3, policy)
    clock.step(step_s)
    for job_id in (running, waiting, later):
        job = await stack.until(job_id, "succeeded")
        assert (job.recovered, job.attempt) == (0, 1), await stack.event_text(job_id)


@STEPS
async def test_a_retry_comes_in_its_time(stack: Stack, clock: WallClock, step_s: float) -> None:
    await stack.runner(await stack.comfy())
    job_id = await submit_oom(stack, Policy(retries=1, retry_backoff_s=4.0))
    await stack.until_event(job_id, "retried")
    began_s = anyio.current_time()
    clock.step(step_s)
    job = await stack.until(job_id, "failed", within_s=20)
    assert job.attempt == 2
    assert anyio.current_time() - began_s > 3.0, "the retry came too early"


@STEPS
async def test_deadlines_end_jobs_in_their_time(
    stack: Stack, clock: WallClock, step_s: float
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, slots=1)
    running = await stack.submit(30.0, Policy(run_deadline_s=5.0))
    await stack.until(running, "running")
    waiting = await stack.submit(0.3, Policy(queue_deadline_s=3.0))
    began_s = anyio.current_time()
    clock.step(step_s)
    expired = await stack.until(waiting, "expired", within_s=10)
    assert expired.reason == "queue_deadline"
    assert anyio.current_time() - began_s > 2.0, "it expired too early"
    failed = await stack.until(running, "failed", within_s=15)
    assert failed.error is not None
    assert failed.error.code == "run_deadline"
    assert anyio.current_time() - began_s > 4.0, "it was stopped too early"


@STEPS
async def test_a_cancel_after_the_step_ends_its_job(
    stack: Stack, clock: WallClock, step_s: float
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit_deaf(60.0, Policy(stop_within_s=2.0))
    await stack.until(job_id, "running")
    clock.step(step_s)
    await stack.log.append(job_id, CancelRequested(), epoch=0)
    job = await stack.until(job_id, "canceled", within_s=10)
    assert job.abandoned


@STEPS
async def test_a_runner_that_stops_after_the_step_is_replaced(
    stack: Stack, clock: WallClock, step_s: float
) -> None:
    comfy = await stack.comfy()
    owner = await stack.runner(comfy)
    job_id = await stack.submit(5 * stack.leases.ttl_s)
    await stack.until(job_id, "running")
    await stack.runner(comfy)
    clock.step(step_s)
    owner.send(signal.SIGSTOP)
    await stack.until_event(job_id, "recovered", within_s=4 * stack.leases.ttl_s)
    (recovered,) = await recoveries(stack, job_id)
    assert recovered.idle_ms < 4000 * stack.leases.ttl_s
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (1, 1)


@STEPS
async def test_a_runner_that_dies_with_the_step_is_replaced_before_its_lease_ends(
    stack: Stack, clock: WallClock, step_s: float
) -> None:
    leases = Leases(ttl_s=30.0)
    comfy = await stack.comfy()
    owner = await stack.runner(comfy, leases=leases)
    job_id = await stack.submit(8.0)
    await stack.until(job_id, "running")
    await stack.runner(comfy, leases=leases)
    clock.step(step_s)
    owner.send(signal.SIGKILL)
    await stack.until_event(job_id, "recovered", within_s=15)
    (recovered,) = await recoveries(stack, job_id)
    assert (recovered.reason, recovered.idle_ms < 30_000) == ("connection_gone", True)
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (1, 1)


@STEPS
async def test_a_runner_that_starts_right_after_the_step_takes_nothing_from_the_living(
    stack: Stack, clock: WallClock, step_s: float
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(3 * stack.leases.ttl_s)
    await stack.until(job_id, "running")
    clock.step(step_s)
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (0, 1), await stack.event_text(job_id)


@pytest.mark.parametrize("step_s", [0.4, 1.5, -1.5])
async def test_many_small_steps_cost_no_lease(
    stack: Stack, clock: WallClock, step_s: float
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    await stack.runner(comfy)
    job_id = await stack.submit(6.0, Policy(run_deadline_s=20.0))
    await stack.until(job_id, "running")
    for _ in range(20):
        clock.step(step_s)
        await anyio.sleep(0.2)  # so do the steps follow one another
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (0, 1), await stack.event_text(job_id)


async def test_a_step_there_and_back_ends_as_it_began(stack: Stack, clock: WallClock) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    await stack.runner(comfy)
    jobs = [await stack.submit(4.0, Policy(run_deadline_s=20.0)) for _ in range(2)]
    await stack.until(jobs[0], "running")
    for step_s in (HOURS, -HOURS, -HOURS, HOURS):
        clock.step(step_s)
        await anyio.sleep(1.0)
    for job_id in jobs:
        job = await stack.until(job_id, "succeeded")
        assert (job.recovered, job.attempt) == (0, 1), await stack.event_text(job_id)


@STEPS
async def test_the_step_is_recorded_once_whoever_finds_it(
    stack: Stack, clock: WallClock, step_s: float
) -> None:
    far_ms = await server_time_ms(stack.log.redis) + 10 * 3_600_000
    asked_for = await stack.log.submit({"1": {"class_type": "A", "inputs": {}}}, run_at_ms=far_ms)
    first, second = (Dispatch(stack.log, f"r{number}", 10.0) for number in (1, 2))
    for dispatch in (first, second):
        for partition in range(2):
            await dispatch.promote(partition)
    clock.step(step_s)
    for dispatch in (first, second, first, second):
        for partition in range(2):
            await dispatch.promote(partition)
    for partition in range(2):
        recorded = await read_clock(stack.log, partition)
        assert recorded["steps"] == 1
        assert abs(recorded["stepped_ms"] - step_s * 1000) < 500
    later = await later_ms(stack.log, asked_for.job_id)
    assert later == far_ms, "a time that a user asked for was moved"
