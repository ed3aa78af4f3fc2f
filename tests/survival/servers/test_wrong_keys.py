"""Keys that another program has overwritten hurt their own partition, and no other one."""

from __future__ import annotations

import pytest

from everfold.streams.events.ids import new_id
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from tests.support.programs.stack import Stack, sleeper

pytestmark = pytest.mark.anyio

OVERWRITTEN = ("clock", "later", "deadlines", "blocked", "dispatch:default:low")
"""One key in each of the first partitions."""


async def submit_elsewhere(stack: Stack, seconds: float, *, run_at_ms: int | None = None) -> str:
    """Submit a job of a partition whose keys are sound."""
    while stack.log.keys.partition_of(job_id := new_id()) < len(OVERWRITTEN):
        pass
    await stack.log.submit(sleeper(seconds), job_id=job_id, run_at_ms=run_at_ms)
    return job_id


async def test_jobs_of_other_partitions_are_claimed_recovered_and_begun_in_time(
    stack: Stack,
) -> None:
    log = stack.log
    for partition, name in enumerate(OVERWRITTEN):
        await command(log.redis, "SET", f"{log.keys.tag(partition)}:{name}", "not ours")
    comfy = await stack.comfy()
    first = await stack.runner(comfy)
    running = await submit_elsewhere(stack, 5)
    await stack.until_progress(running, 0.1)
    # A job whose head is gone is nobody's, but its prompt stays: what is sent there waits for it.
    waiting = await submit_elsewhere(stack, 15)
    await stack.until_event(waiting, "queued")
    await stack.runner(comfy, await stack.comfy())
    first.kill()
    # The survivor meets the head of a job that it leases, too.
    await stack.until_event(waiting, "recovered")
    await command(log.redis, "SET", log.keys.head(waiting), "not ours")
    in_a_second_ms = await server_time_ms(log.redis) + 1000
    delayed = await submit_elsewhere(stack, 0.1, run_at_ms=in_a_second_ms)
    await stack.until(running, "succeeded")
    await stack.until(delayed, "succeeded")
