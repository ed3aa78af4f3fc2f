"""The projection equals the fold of the log, whatever happens to the projector processes."""

from __future__ import annotations

import signal

import anyio
import pytest

from everfold.projector.config import ProjectorConfig
from everfold.projector.projector import Projector
from everfold.projector.reading.lag import lag
from everfold.streams.appending.log import Log
from tests.projector.jobs import (
    PARTITIONS,
    assert_projected,
    make_jobs,
    projecting,
    work,
)
from tests.support.programs.programs import Program, StartProgram
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def start_projector(start_program: StartProgram, log: Log) -> Program:
    environ = {"REDIS_URL": log.url.reveal(), "EVERFOLD_NAMESPACE": log.keys.namespace}
    program = start_program("-m", "everfold", "projector", environ=environ)
    await program.line("projector")
    return program


async def test_two_projectors_share_the_partitions_and_fold_everything(log: Log) -> None:
    async with projecting(log, "a") as first, projecting(log, "b") as second:
        jobs = await make_jobs(log, 40)
        await work(log)
        await eventually(lambda: len(first.partitions) == len(second.partitions) == 2, 15)
        await assert_projected(log, jobs)


async def test_one_that_stops_hands_its_partitions_over_at_once(log: Log) -> None:
    config = ProjectorConfig(own_for_s=60)
    async with projecting(log, "stays", config) as stays:
        async with projecting(log, "goes", config) as goes:
            await eventually(lambda: len(stays.partitions) == len(goes.partitions) == 2, 15)
        assert goes.partitions == []
        await eventually(lambda: len(stays.partitions) == PARTITIONS, within_s=5)
        jobs = await make_jobs(log, 20)
        await work(log)
        await assert_projected(log, jobs)
    assert {found.owner for found in await lag(log)} == {""}


async def test_a_projector_that_starts_late_folds_what_was_there_before(log: Log) -> None:
    jobs = await make_jobs(log, 10)
    await work(log)
    async with projecting(log):
        await assert_projected(log, jobs)


async def test_a_projector_that_is_stopped_all_the_time_misses_nothing(log: Log) -> None:
    jobs: list[str] = []
    for _ in range(6):
        projector = Projector(log, "short")
        async with anyio.create_task_group() as tasks:
            await tasks.start(projector.run)
            jobs += await make_jobs(log, 10)
            await work(log)
            tasks.cancel_scope.cancel()
    async with projecting(log):
        await assert_projected(log, jobs)


async def test_a_killed_projector_is_replaced_and_nothing_is_missed(
    log: Log, start_program: StartProgram
) -> None:
    jobs: list[str] = []
    for _ in range(3):
        program = await start_projector(start_program, log)
        jobs += await make_jobs(log, 20)
        await work(log)
        program.kill()
    async with projecting(log):
        await assert_projected(log, jobs)


READ_AND_STAY = """
import sys, anyio
from everfold.projector.assignment.member import Member
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.appending.log import Log

async def main(url, namespace):
    async with Log.open(url, namespace=namespace) as log:
        member = Member(log, "jobs", "doomed", lease_s=2)
        group = ConsumerGroup(log, "projector", member.token)
        for partition in range(log.keys.partitions):
            assert await member.acquire(log.keys.projector(partition))
            await group.create(partition)
            await group.read_new(partition)
        print("read", flush=True)
        await anyio.sleep_forever()

anyio.run(main, *sys.argv[1:])
"""


async def test_what_was_read_and_not_committed_by_a_killed_process_is_folded(
    log: Log, start_program: StartProgram
) -> None:
    jobs = await make_jobs(log, 40)
    assert {log.keys.partition_of(job_id) for job_id in jobs} == set(range(PARTITIONS))
    await work(log)
    program = start_program("-c", READ_AND_STAY, log.url.reveal(), log.keys.namespace)
    await program.line("read")
    program.kill()
    async with projecting(log):
        await assert_projected(log, jobs)


async def test_a_frozen_owner_that_wakes_changes_no_result(
    log: Log, start_program: StartProgram
) -> None:
    frozen = await start_projector(start_program, log)
    frozen.send(signal.SIGSTOP)
    jobs = await make_jobs(log, 20)
    await work(log)
    async with projecting(log):
        await assert_projected(log, jobs)
        frozen.send(signal.SIGCONT)
        jobs += await make_jobs(log, 20)
        await work(log)
        await assert_projected(log, jobs)


async def test_a_restart_of_the_server_costs_nothing(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="restart", partitions=2) as log, projecting(log):
        jobs = await make_jobs(log, 6)
        await anyio.to_thread.run_sync(server.restart, signal.SIGKILL)
        await work(log)
        await assert_projected(log, jobs)


async def test_a_server_that_was_wiped_is_projected_from_its_new_beginning(
    own_server: StartServer,
) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="wiped", partitions=2) as log, projecting(log):
        await assert_projected(log, await make_jobs(log, 6))
        await log.redis.execute_command("FLUSHALL")
        jobs = await make_jobs(log, 6)
        await work(log)
        await assert_projected(log, jobs)
