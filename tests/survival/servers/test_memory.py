"""What was acknowledged and then lost by the server comes back from the processes that live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from everfold.client import Everfold
from everfold.projector.reading.verify import verify
from everfold.projector.reading.watching import Watcher
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.errors import JobUnknown
from everfold.streams.events.event import Policy
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.support.programs.programs import StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.servers import OwnServer, StartServer
from tests.support.trouble.rewinds import Snapshot, put, restart_at, take_back, taken, written
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def ids(log: Log, job_id: str) -> list[str]:
    return [getattr(record.event, "id", "") for record in await job_events(log, job_id)]


async def named(log: Log) -> set[str]:
    return {found.job_id for found in await lost_writes(log)}


async def known(log: Log, job_id: str) -> bool:
    try:
        return bool(await job_events(log, job_id))
    except JobUnknown:
        return False


async def test_a_client_submits_again_what_the_server_has_lost(stack: Stack) -> None:
    before = await taken(stack.log)
    jobs = [await stack.submit(seconds=0.1) for _ in range(8)]
    events = {job_id: await ids(stack.log, job_id) for job_id in jobs}
    await take_back(stack.log, before)
    assert not await known(stack.log, jobs[0])
    for job_id in jobs:
        await eventually(lambda job_id=job_id: known(stack.log, job_id), 20)  # type: ignore[misc]
        assert (await ids(stack.log, job_id))[:1] == events[job_id], "the same event, by its id"
    await eventually(lambda: _has_all(stack.log, jobs), 20)
    comfy = await stack.comfy()
    await stack.runner(comfy)
    for job_id in jobs:
        await stack.until(job_id, "succeeded")
    assert len(await comfy.executions()) == len(jobs)
    assert (await verify(stack.log)).differences == []


async def _has_all(log: Log, jobs: list[str]) -> bool:
    return await named(log) >= set(jobs)


async def test_what_is_lost_twice_comes_back_twice(stack: Stack) -> None:
    before = await taken(stack.log)
    job_id = await stack.submit(seconds=0.1)
    [event_id] = await ids(stack.log, job_id)
    for _ in range(2):
        await take_back(stack.log, before)
        await eventually(lambda: known(stack.log, job_id), 20)
    assert (await ids(stack.log, job_id))[0] == event_id


async def test_a_loss_without_a_new_connection_is_found_within_ten_seconds(stack: Stack) -> None:
    before = await taken(stack.log)
    job_id = await stack.submit(seconds=0.1)
    await put(stack.log, before)
    await eventually(lambda: known(stack.log, job_id), 20)


async def test_the_namespace_itself_comes_back_as_it_was(stack: Stack) -> None:
    job_id = await stack.submit(seconds=0.1)
    generation = stack.log.generation
    await take_back(stack.log, Snapshot([]))
    await eventually(lambda: known(stack.log, job_id), 20)
    found = await command(stack.log.redis, "HGET", stack.log.keys.meta(), "generation")
    assert found == generation.encode()


async def test_an_operator_s_cancel_is_asked_again(stack: Stack) -> None:
    job_id = await stack.submit(seconds=0.1)
    before = await taken(stack.log)
    await Everfold(stack.log, Watcher(stack.log)).cancel(job_id, "enough")
    told = await ids(stack.log, job_id)
    await take_back(stack.log, before)
    job = await stack.until(job_id, "canceled", 25)
    assert (job.reason, job.rewound) == ("enough", 1)
    assert set(told) <= set(await ids(stack.log, job_id)), "the same events, by their ids"


async def test_a_job_that_has_ended_ends_again_from_what_its_runner_remembers(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    before = await taken(stack.log)
    job_id = await stack.submit(seconds=0.3)
    job = await stack.until(job_id, "succeeded")
    stack.log.memory.clear()  # as if its client had gone
    await take_back(stack.log, before)
    again = await stack.until_back(job_id, "succeeded")
    assert (again.outputs, again.prompt_id) == (job.outputs, job.prompt_id)
    assert await comfy.executions() == [job.prompt_id]
    assert job_id in await named(stack.log)
    assert (await verify(stack.log)).differences == []


async def test_a_watch_goes_on_where_the_server_is_after_a_loss(stack: Stack) -> None:
    seen = list[tuple[int, str]]()
    async with Watcher(stack.log) as watcher, anyio.create_task_group() as tasks:
        before = await taken(stack.log)
        job_id = await stack.submit(seconds=1.5)

        async def watch() -> None:
            async for job in watcher.watch(job_id):
                seen.append((job.seq, job.status))

        tasks.start_soon(watch)
        await stack.runner(await stack.comfy())
        await stack.until_progress(job_id, 0.2)
        await take_back(stack.log, before)
        await stack.until_back(job_id, "succeeded")
    assert seen[-1][1] == "succeeded"
    assert seen[-1][0] == (await stack.job(job_id)).seq


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    return own_server(tcp=True, appendfsync="always")


@pytest.fixture
async def fragile(
    server: OwnServer, start_program: StartProgram, tmp_path: Path, leases: Leases
) -> AsyncIterator[Stack]:
    async with Log.open(server.url, namespace="fragile", partitions=2) as log:
        yield Stack(log, start_program, tmp_path, leases=leases)


async def points(
    stack: Stack, server: OwnServer, job_id: str, before: int
) -> list[tuple[int, int]]:
    """Return where the server can be taken back to: before a job, and after events of it.

    Beside each point is the job's last event there, or a later one.
    """
    found, seq = [(before, 0)], 0
    while seq < 5:
        point, events = written(server), await job_events(stack.log, job_id)
        if events[-1].seq > seq:
            seq = events[-1].seq
            found.append((point, seq))
    return found


@pytest.mark.long
@pytest.mark.parametrize("ended", [False, True])
async def test_a_job_is_there_once_and_runs_once_after_a_rewind_to_any_point(
    fragile: Stack, server: OwnServer, ended: bool
) -> None:
    comfy, stack = await fragile.comfy(), fragile
    for _ in range(2):
        await stack.runner(comfy, slots=1)
    number, most = 0, 1
    while number < most:
        before = written(server)
        job_id = await stack.submit(seconds=0.6 if ended else 4.0, policy=Policy(retries=0))
        known = await points(stack, server, job_id, before)
        if ended:
            await stack.until(job_id, "succeeded")
        most = max(most, len(known))
        point, kept_seq = known[min(number, len(known) - 1)]
        seen_seq = (await job_events(stack.log, job_id))[-1].seq
        await run_sync(restart_at, server, point)
        job = await stack.until_back(job_id, "succeeded")
        executed, text = await comfy.executions(), await stack.event_text(job_id)
        assert executed.count(job.prompt_id) == 1, text
        assert len(executed) == len(set(executed)) == number + 1, text
        if seen_seq > kept_seq:
            await eventually(partial(_has_all, stack.log, [job_id]), 20)
        number += 1
    assert (await verify(stack.log)).differences == []
