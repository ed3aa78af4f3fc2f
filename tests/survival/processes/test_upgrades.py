"""Two releases on one log: the old one leaves to the new one what it cannot read."""

from __future__ import annotations

import json
import signal
import time

import anyio
import pytest

from everfold.client import Everfold
from everfold.projector.folding.parking import blocked_jobs
from everfold.projector.reading.watching import Watcher
from everfold.streams.errors import NamespaceTooNew, UndecodableEvent
from everfold.streams.events.codec import Unreadable
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import add_raw
from tests.support.programs.programs import Program, StartProgram
from tests.support.programs.stack import Comfy, Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

FUTURE = "tests.support.future"
NOTE = b'{"type":"job.annotated","id":"n","actor":"ada","v":1,"note":"seen"}'


async def future_runner(stack: Stack, *comfys: Comfy) -> Program:
    return await stack.runner(*comfys, module=(FUTURE, "runner"))


async def upgrade(
    stack: Stack, start: StartProgram, *options: str
) -> tuple[int, dict[str, object]]:
    """Run `everfold upgrade` of the next release; return its exit code and what it printed."""
    where = ("--redis-url", stack.redis_url, "--namespace", stack.log.keys.namespace)
    program = start("-m", FUTURE, "everfold", "upgrade", "--json", *options, *where)
    code = await program.end(30)
    return code, json.loads(program.lines[-1])


async def noted_job(stack: Stack) -> str:
    """Submit a job that the next release writes about before any runner may take it."""
    soon_ms = time.time_ns() // 1_000_000 + 1_000
    job_id = (await stack.log.submit(sleeper(0.1), run_at_ms=soon_ms)).job_id
    await add_raw(stack.log, job_id, 2, NOTE)
    return job_id


async def versions_of(stack: Stack, job_id: str) -> dict[str, int]:
    return {
        found["type"]: found["v"]
        for record in await job_events(stack.log, job_id)
        for found in [json.loads(record.payload)]
    }


async def test_two_releases_work_on_one_log_before_during_and_after_the_upgrade(
    stack: Stack, start_program: StartProgram
) -> None:
    comfy = await stack.comfy()
    old = await stack.runner(comfy)
    jobs = [await stack.submit(seconds=0.1)]
    await stack.until(jobs[0], "succeeded")
    new = await future_runner(stack, comfy)

    # Before the upgrade: both write what both can read.
    jobs += [await stack.submit(seconds=0.1) for _ in range(6)]
    for job_id in jobs:
        await stack.until(job_id, "succeeded")
        assert (await versions_of(stack, job_id))["job.started"] == 1
    code, status = await upgrade(stack, start_program, "--commit")
    assert (code, status["writes"]) == (1, 1)
    assert status["too_old"] == [json.loads(old.arguments[-1])["name"]]

    # Somebody does not keep to it: the old runner leaves the job alone, the new one does it.
    noted = [await noted_job(stack) for _ in range(6)]
    for job_id in noted:
        async with Watcher(stack.log) as watcher:
            ended = await watcher.wait(job_id, 30)
        assert (ended.status, ended.attempt) == ("succeeded", 1)
        submitting = [e for e in await job_events(stack.log, job_id) if b"submitting" in e.payload]
        assert [json.loads(e.payload)["actor"] for e in submitting] == [_name(new)]

    # The old one is replaced: then the newest may be written.
    old.send(signal.SIGTERM)
    await old.end(20)
    code, status = await upgrade(stack, start_program, "--commit")
    assert (code, status["writes"], status["min_reader"]) == (0, 2, 2)
    third = await future_runner(stack, comfy)
    late = [await stack.submit(seconds=0.1) for _ in range(4)]
    for job_id in late:
        async with Watcher(stack.log) as watcher:
            ended = await watcher.wait(job_id, 30)
        assert ended.status == "succeeded"
    assert {(await versions_of(stack, job_id))["job.started"] for job_id in late} <= {1, 2}
    # A runner learns with its next beat what it may write.
    with anyio.fail_after(30):
        while (await versions_of(stack, late[-1]))["job.started"] == 1:
            late.append(await stack.submit(seconds=0.1))
            async with Watcher(stack.log) as watcher:
                ended = await watcher.wait(late[-1], 30)
    assert (ended.status, ended.unreadable_seq > 0) == ("succeeded", True)

    executions = await comfy.executions()
    assert len(executions) == len(set(executions)) == len(jobs + noted + late)
    assert (new.exit_code, third.exit_code) == (None, None)


def _name(runner: Program) -> object:
    return json.loads(runner.arguments[-1])["name"]


async def test_a_program_that_is_too_old_works_on_nothing_and_says_why(
    stack: Stack, start_program: StartProgram
) -> None:
    old = await stack.runner(await stack.comfy())
    await command(stack.log.redis, "HSET", stack.log.keys.meta(), "min_reader", 2)
    assert await old.end(20) != 0
    assert any("needs readers of level 2" in line for line in old.error_lines)
    job_id = await stack.submit(seconds=0.1)
    with pytest.raises(NamespaceTooNew, match="upgrade Everfold"):
        await Producer(stack.log, "own").claim()
    names = {"REDIS_URL": stack.redis_url, "EVERFOLD_NAMESPACE": stack.log.keys.namespace}
    projector = start_program("-m", "everfold", "projector", environ=names)
    assert await projector.end(30) == 2
    assert any("needs readers of level 2" in line for line in projector.error_lines)
    assert await stack.event_types(job_id) == ["submitted"]


async def test_an_ignorable_event_of_an_unknown_type_stops_nobody(stack: Stack) -> None:
    comfy = await stack.comfy()
    job_id = await stack.submit(seconds=0.1)
    note = NOTE.replace(b'"v":1', b'"v":1,"ignorable":true')
    await add_raw(stack.log, job_id, 2, note)
    await stack.runner(comfy)
    job = await stack.until(job_id, "succeeded")
    assert (job.unreadable_seq, job.attempt, job.released) == (0, 1, 0)
    event = (await job_events(stack.log, job_id))[1].event
    assert isinstance(event, Unreadable)
    assert event.skipped
    assert await blocked_jobs(stack.log) == []
    assert len(await comfy.executions()) == 1


async def test_a_prompt_of_a_newer_runner_goes_on_while_only_older_ones_are_left(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    new = await future_runner(stack, comfy)
    job_id = await stack.submit(seconds=6)
    await stack.until(job_id, "running")
    new.send(signal.SIGSTOP)  # or it may write an event of the same number
    await add_raw(stack.log, job_id, (await job_events(stack.log, job_id))[-1].seq + 1, NOTE)
    await stack.runner(comfy)
    new.kill()

    async def waits() -> bool:
        return job_id in await blocked_jobs(stack.log)

    await eventually(waits, 20)
    async with Watcher(stack.log) as watcher:
        everfold = Everfold(stack.log, watcher)
        with pytest.raises(UndecodableEvent):
            await everfold.get(job_id)
        await future_runner(stack, comfy)
        job = await everfold.wait(job_id, 30)
    assert (job.status, job.attempt) == ("succeeded", 1)
    assert len(await comfy.executions()) == 1


async def test_a_second_runner_of_one_name_is_refused_while_the_first_lives(
    stack: Stack, start_program: StartProgram
) -> None:
    comfy = await stack.comfy()
    first = await stack.runner(comfy)
    arguments = first.arguments
    second = start_program(*arguments)
    assert await second.end(30) != 0
    said = "\n".join(second.error_lines)
    assert "RunnerNameTaken" in said
    assert f"as process {first.pid}" in said
    job_id = await stack.submit(seconds=0.1)
    await stack.until(job_id, "succeeded")
    first.kill()
    again = start_program(*arguments)
    await again.line("ready", within_s=30)


async def test_of_two_runners_that_begin_at_once_with_one_name_one_works(
    stack: Stack, start_program: StartProgram
) -> None:
    comfy = await stack.comfy()
    options = (await stack.runner(comfy)).arguments[-1].replace("runner-2", "twin")
    twins = [
        start_program("-m", "tests.support.programs.runner_program", options) for _ in range(2)
    ]

    async def one_left() -> bool:
        return [twin.exit_code is None for twin in twins].count(True) == 1

    await eventually(one_left, 30)
    left = next(twin for twin in twins if twin.exit_code is None)
    await left.line("ready", within_s=20)
