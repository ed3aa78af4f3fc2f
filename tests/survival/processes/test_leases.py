"""What keeps the leases of a runner, and what ends them: stalls, stops and deaths."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from everfold.streams.events.event import Recovered
from everfold.streams.reading.reader import job_events
from tests.support.programs.programs import Program
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc"),
]


def is_there(pid: int | None) -> bool:
    """Say whether a process lives; one that only waits for its parent to ask does not."""
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def renewer_of(runner: Program) -> int | None:
    """Return the pid of the process that renews a runner's leases, None while there is none."""
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
            if parent == runner.pid and b"renewal.renewer" in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except (OSError, ValueError):
            continue
    return None


async def recoveries(stack: Stack, job_id: str) -> list[Recovered]:
    return [
        record.event
        for record in await job_events(stack.log, job_id)
        if isinstance(record.event, Recovered)
    ]


async def test_a_call_that_holds_the_interpreter_lock_costs_no_lease(stack: Stack) -> None:
    stall_s = 1.5 * stack.leases.ttl_s
    comfy = await stack.comfy()
    runner = await stack.runner(comfy, stall_s=stall_s)
    job_id = await stack.submit(seconds=stall_s + 2)
    await stack.until(job_id, "running")
    await stack.runner(comfy)
    runner.send(signal.SIGUSR1)
    await runner.line("stalled", within_s=stall_s + 20)
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (0, 1), await stack.event_text(job_id)


async def test_a_runner_whose_event_loop_hangs_for_too_long_loses_its_leases(stack: Stack) -> None:
    comfy = await stack.comfy()
    stall_s = 3 * stack.leases.ttl_s
    runner = await stack.runner(comfy, stall_s=stall_s, stuck_after_s=0.6)
    job_id = await stack.submit(seconds=stall_s)
    await stack.until(job_id, "running")
    runner.send(signal.SIGUSR1)
    await stack.runner(comfy)
    await stack.until_event(job_id, "recovered", within_s=stall_s)
    job = await stack.until(job_id, "succeeded")
    assert await comfy.executions() == [job.prompt_id]


async def test_a_stopped_runner_is_replaced_within_about_a_lease(stack: Stack) -> None:
    comfy = await stack.comfy()
    stopped = await stack.runner(comfy)
    job_id = await stack.submit(seconds=3 * stack.leases.ttl_s)
    await stack.until(job_id, "running")
    await stack.runner(comfy)
    stopped.send(signal.SIGSTOP)
    await stack.until_event(job_id, "recovered")
    (recovered,) = await recoveries(stack, job_id)
    assert recovered.reason == "lease_expired"
    assert 1000 * stack.leases.ttl_s <= recovered.idle_ms < 2500 * stack.leases.ttl_s


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_renewer_that_dies_or_hangs_is_replaced_and_the_job_goes_on(
    stack: Stack, how: signal.Signals
) -> None:
    comfy = await stack.comfy()
    leases = Leases(ttl_s=8.0)
    runner = await stack.runner(comfy, leases=leases)
    job_id = await stack.submit(seconds=10.0)
    await stack.until(job_id, "running")
    await stack.runner(comfy, leases=leases)
    renewer = await eventually(lambda: renewer_of(runner))
    assert renewer is not None
    os.kill(renewer, how)
    await eventually(lambda: renewer_of(runner) not in (None, renewer))
    job = await stack.until(job_id, "succeeded")
    assert job.recovered == 0, await stack.event_text(job_id)


async def test_the_renewer_ends_with_a_killed_runner_although_a_fork_lives(stack: Stack) -> None:
    comfy = await stack.comfy()
    runner = await stack.runner(comfy, forks=True)
    job_id = await stack.submit(seconds=3 * stack.leases.ttl_s)
    await stack.until(job_id, "running")
    await stack.runner(comfy)
    renewer = await eventually(lambda: renewer_of(runner))
    runner.kill()
    # The fork keeps the runner's connections: only the end of the lease tells its death.
    await stack.until_event(job_id, "recovered", within_s=1.5 * stack.leases.ttl_s + 3)
    await eventually(lambda: not is_there(renewer))
    job = await stack.until(job_id, "succeeded")
    assert await comfy.executions() == [job.prompt_id]


async def test_a_killed_runner_is_replaced_at_once_although_it_had_a_renewer(stack: Stack) -> None:
    comfy = await stack.comfy()
    leases = Leases(ttl_s=20.0)
    runner = await stack.runner(comfy, leases=leases)
    job_id = await stack.submit(seconds=4)
    await stack.until(job_id, "running")
    await stack.runner(comfy, leases=leases)
    runner.kill()
    await stack.until(job_id, "succeeded")
    (recovered,) = await recoveries(stack, job_id)
    assert recovered.reason == "connection_gone"


async def test_a_draining_runner_keeps_its_leases_until_its_last_job_is_over(stack: Stack) -> None:
    comfy = await stack.comfy()
    seconds = 1.5 * stack.leases.ttl_s
    runner = await stack.runner(comfy, drain_s=seconds + 10)
    job_id = await stack.submit(seconds=seconds)
    await stack.until(job_id, "running")
    await stack.runner(comfy)
    os.kill(runner.pid, signal.SIGTERM)
    renewer = await eventually(lambda: renewer_of(runner))
    assert renewer is not None
    os.kill(renewer, signal.SIGTERM)
    job = await stack.until(job_id, "succeeded")
    assert (job.recovered, job.released) == (0, 0), await stack.event_text(job_id)
    assert await runner.end() == 0
