"""Jobs that no runner can read: nothing is sent for them, they wait once, and they end in time."""

from __future__ import annotations

import anyio
import pytest

from everfold.client import Everfold
from everfold.projector.folding.parking import blocked_jobs, retry, skip
from everfold.projector.reading.queries import current, get, list_jobs
from everfold.projector.reading.watching import Watcher
from everfold.streams.errors import BrokenChain, UndecodableEvent
from everfold.streams.events.event import Policy
from everfold.streams.leases.backends import abandoned_prompts
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command, read_hash
from tests.projector.jobs import add_raw
from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

STRANGE = b'{"type":"job.annotated","id":"x","actor":"n","v":1}'


async def strange_job(stack: Stack, policy: Policy | None = None) -> str:
    """Submit a job with an event that nobody can read; no runner may be there yet."""
    job_id = await stack.submit(seconds=0.1, policy=policy)
    await add_raw(stack.log, job_id, 2, STRANGE)
    return job_id


async def until_blocked(stack: Stack, job_id: str) -> None:
    async def waits() -> bool:
        return job_id in await blocked_jobs(stack.log)

    await eventually(waits, 20)


async def until_stopped(stack: Stack) -> None:
    async def stopped() -> bool:
        return not await abandoned_prompts(stack.log)

    await eventually(stopped, 20)


async def test_nothing_is_sent_for_a_job_with_an_event_that_nobody_can_read(stack: Stack) -> None:
    comfy = await stack.comfy()
    job_id = await strange_job(stack)
    runners = [await stack.runner(comfy) for _ in range(2)]
    await until_blocked(stack, job_id)
    count = len(await job_events(stack.log, job_id))
    runners.append(await stack.runner(comfy))
    other = await stack.submit(seconds=2.5)
    await stack.until(other, "succeeded")
    assert await comfy.executions() == [(await stack.job(other)).prompt_id]
    assert len(await job_events(stack.log, job_id)) == count
    assert (await stack.event_types(job_id))[1:] == ["claimed", "released"]
    assert [runner.exit_code for runner in runners] == [None, None, None]


async def test_a_cancel_ends_what_nobody_can_read_at_once(stack: Stack) -> None:
    job_id = await strange_job(stack)
    await stack.runner(await stack.comfy())
    await until_blocked(stack, job_id)
    async with Watcher(stack.log) as watcher:
        everfold = Everfold(stack.log, watcher)
        job = await everfold.cancel(job_id, "enough")
        assert (job.status, job.reason, job.unreadable_seq) == ("canceled", "enough", 2)
        assert (await everfold.wait(job_id, 5)).status == "canceled"
    assert job_id not in await blocked_jobs(stack.log)


async def test_what_nobody_can_read_expires_and_its_prompt_is_stopped(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    policy = Policy(recovery_max_age_s=2.0)
    job_id = await stack.submit(seconds=30, policy=policy)
    await stack.until(job_id, "running")
    prompt_id = (await stack.job(job_id)).prompt_id
    # Told under the runner's own lease, as by another thread of a newer program.
    await add_raw(stack.log, job_id, await _next_seq(stack, job_id), STRANGE)
    async with Watcher(stack.log) as watcher:
        job = await watcher.wait(job_id, 20)
    assert (job.status, job.reason, job.abandoned) == ("expired", "unreadable", 1)
    assert job.prompt_id == prompt_id
    await until_stopped(stack)
    assert await comfy.running() == []
    assert await comfy.executions() == [prompt_id]


async def _next_seq(stack: Stack, job_id: str) -> int:
    return (await job_events(stack.log, job_id))[-1].seq + 1


async def test_a_job_with_a_hole_in_its_history_waits_and_expires(stack: Stack) -> None:
    job_id = await stack.submit(seconds=0.1, policy=Policy(recovery_max_age_s=2.0))
    projector = await stack.projector()
    await eventually(lambda: _is_stored(stack, job_id), 20)
    projector.kill()
    key = stack.log.keys.log(stack.log.keys.partition_of(job_id))
    rewound = b'{"type":"job.rewound","seen_seq":4,"found_seq":1}'
    for seq in (2, 3):
        await add_raw(stack.log, job_id, seq, rewound)
    lost = (await job_events(stack.log, job_id))[1]
    await command(stack.log.redis, "XDEL", key, lost.entry_id)
    comfy = await stack.comfy()
    await stack.runner(comfy)
    await until_blocked(stack, job_id)
    with pytest.raises(BrokenChain):
        await current(stack.log, job_id)
    async with Watcher(stack.log) as watcher:
        job = await watcher.wait(job_id, 20)
    assert (job.status, job.reason, job.unreadable_seq) == ("expired", "unreadable", 2)
    assert await comfy.executions() == []


async def _is_stored(stack: Stack, job_id: str) -> bool:
    return bool(await read_hash(stack.log.redis, stack.log.keys.job(job_id)))


async def test_the_queue_deadline_goes_on_while_nobody_can_read_a_job(stack: Stack) -> None:
    job_id = await strange_job(stack, Policy(queue_deadline_s=2.0))
    await stack.runner(await stack.comfy())
    async with Watcher(stack.log) as watcher:
        job = await watcher.wait(job_id, 20)
    assert (job.status, job.reason, job.abandoned) == ("expired", "queue_deadline", 0)


async def test_a_person_lets_it_go_on_without_the_event(stack: Stack) -> None:
    comfy = await stack.comfy()
    job_id = await strange_job(stack)
    await stack.runner(comfy)
    await until_blocked(stack, job_id)
    await retry(stack.log, job_id)  # still unreadable
    await eventually(lambda: _times_released(stack, job_id, 2), 20)
    await until_blocked(stack, job_id)
    await skip(stack.log, job_id, "ada")
    await stack.until(job_id, "succeeded")
    assert len(await comfy.executions()) == 1


async def _times_released(stack: Stack, job_id: str, times: int) -> bool:
    return (await stack.event_types(job_id)).count("released") == times


async def test_a_runner_that_reads_more_carries_the_job_on_whoever_claims_it_first(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    job_id = await strange_job(stack)
    old = [await stack.runner(comfy) for _ in range(2)]
    await until_blocked(stack, job_id)
    count = len(await job_events(stack.log, job_id))
    partition = stack.log.keys.partition_of(job_id)
    newer = Dispatch(stack.log, "newer")
    newer._due_jobs._reads = "another"
    page = await newer.promote_blocked(partition)
    assert page.promoted == 1
    # One of the old ones meets it first, and puts it back without a word.
    await until_blocked(stack, job_id)
    assert len(await job_events(stack.log, job_id)) == count
    assert [runner.exit_code for runner in old] == [None, None]
    assert await comfy.executions() == []


async def test_no_read_shows_a_state_from_before_an_unreadable_event_as_the_present_one(
    stack: Stack,
) -> None:
    await stack.projector()
    job_id = await strange_job(stack)

    async def parked() -> bool:
        page = await list_jobs(stack.log)
        return [(job.job_id, job.unreadable_seq) for job in page.jobs] == [(job_id, 2)]

    await eventually(parked, 20)
    for read in (current, get):
        with pytest.raises(UndecodableEvent):
            await read(stack.log, job_id)
    async with Watcher(stack.log) as watcher:
        with pytest.raises(UndecodableEvent):
            async for _ in watcher.watch(job_id):
                pass
        with pytest.raises(TimeoutError):
            await watcher.wait(job_id, 0.3)
        ended: list[str] = []

        async def wait() -> None:
            ended.append((await watcher.wait(job_id, 20)).status)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await Everfold(stack.log, watcher).cancel(job_id)
    assert ended == ["canceled"]
