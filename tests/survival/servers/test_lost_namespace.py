"""The server loses a namespace, or one of its partitions, under processes that live."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from everfold.projector.reading.queries import get
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.events.ids import new_id
from everfold.streams.nodes.tags import spread_tags
from everfold.streams.redis.redis_errors import command
from tests.projector.subscribing.listening import Listener, consuming
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack, sleeper
from tests.support.servers import client
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def one_job_in_each_partition(stack: Stack, seconds: float) -> list[str]:
    """Submit a job in each of the first two partitions; return them in the partitions' order."""
    found: list[str] = []
    while len(found) < 2:
        job_id = new_id()
        if stack.log.keys.partition_of(job_id) == len(found):
            found.append((await stack.log.submit(sleeper(seconds), job_id=job_id)).job_id)
    return found


def lose_partition(stack: Stack, partition: int) -> None:
    with client(stack.log.url.reveal()) as redis:
        tag = stack.log.keys.tag(partition)
        redis.delete(*redis.scan_iter(match=f"{tag}:*", count=1000))


async def test_a_lost_partition_comes_back_and_the_other_one_notices_nothing(stack: Stack) -> None:
    backends = [await stack.comfy() for _ in range(2)]
    await stack.runner(*backends, slots=1)
    await stack.projector()
    listener = Listener()
    subscription = Subscription("notes", types=["job.succeeded"])(listener)
    async with consuming(stack.log, subscription):
        lost, kept = await one_job_in_each_partition(stack, seconds=3)
        prompts = {(await stack.until(job_id, "running")).prompt_id for job_id in (lost, kept)}
        lose_partition(stack, 0)
        await stack.until_known(lost)
        for job_id in (lost, kept):
            await stack.until(job_id, "succeeded")
        after = await one_job_in_each_partition(stack, seconds=0.1)
        for job_id in after:
            await stack.until(job_id, "succeeded")

        async def told_and_folded() -> bool:
            jobs = [await get(stack.log, job_id) for job_id in (lost, kept, *after)]
            return all(job.is_terminal and listener.told[job.job_id] for job in jobs)

        await eventually(told_and_folded, 20)
    executed = [prompt for comfy in backends for prompt in await comfy.executions()]
    assert prompts <= set(executed)
    assert len(executed) == len(set(executed)) == 4
    assert [found.job_id for found in await lost_writes(stack.log)] == [lost]
    assert "rewound" not in await stack.event_types(kept)


@pytest.mark.parametrize("partitions", [2, 5])
async def test_a_namespace_that_another_program_makes_anew_ends_the_old_processes(
    stack: Stack, partitions: int
) -> None:
    comfy = await stack.comfy()
    runner, projector = await stack.runner(comfy), await stack.projector()
    job_id = await stack.submit(3)
    before = await stack.until(job_id, "running")
    with client(stack.log.url.reveal()) as redis, redis.pipeline() as at_once:
        keys = [key for key in redis.scan_iter(count=1000) if stack.log.keys.namespace in str(key)]
        for key in keys:
            at_once.unlink(key)
        name, made = stack.log.keys.namespace, {"partitions": str(partitions), "schema": "2"}
        if stack.log.keys.is_spread:
            made["tags"] = msgspec.json.encode(spread_tags(name, partitions)).decode()
        made["generation"] = "another"
        at_once.hset(stack.log.keys.meta(), mapping=made)
        at_once.execute()
    for program in (runner, projector):
        assert await program.end(within_s=20) != 0
        assert any("made anew" in line for line in program.error_lines), str(program)
    assert await comfy.executions() == [before.prompt_id]
    meta = await command(stack.log.redis, "HGET", stack.log.keys.meta(), "partitions")
    assert meta == str(partitions).encode()
    async with Log.open(stack.log.url, namespace=stack.log.keys.namespace) as log:
        assert log.generation == "another"
        assert await lost_writes(log) == []


@pytest.mark.one_server
async def test_connections_that_are_cut_in_a_runner_s_first_moment_do_not_end_it(
    stack: Stack, redis_url: str, start_program: StartProgram
) -> None:
    comfy = await stack.comfy()
    async with FaultProxy(redis_url) as proxy:
        stack.redis_url = proxy.url
        registry = stack.log.keys.runners().encode()
        rule = proxy.swallow_replies(count=3, containing=registry)
        runner = await stack.runner(comfy)
        assert rule.left == 0
        for _ in range(10):
            proxy.cut()
            await anyio.sleep(0.02)  # the cuts come one after the other
        await stack.until(await stack.submit(0.1), "succeeded")
        assert runner.exit_code is None
