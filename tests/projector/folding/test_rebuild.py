"""Rebuilding while everything goes on: readers see the old states or the new ones, never a hole."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.jobs_fold import JobsFold
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.projection import CommitRequest, Outcome
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.job.fold import fold
from everfold.projector.job.state import from_fields
from everfold.projector.reading.lag import lag
from everfold.projector.reading.queries import list_jobs
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import RebuildTaken
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command, read_hash
from tests.projector.jobs import (
    PARTITIONS,
    assert_projected,
    make_jobs,
    nothing_pending,
    projecting,
    work,
)
from tests.support.programs.programs import StartProgram
from tests.support.stored_names import names_like
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def keys_of_rebuild(log: Log) -> list[bytes]:
    return await names_like(log.redis, "{" + log.keys.namespace + ":*}:rebuil*")


async def damage(log: Log, jobs: Sequence[str]) -> None:
    """Make what is stored wrong, as a fold with a mistake would have done."""
    for job_id in jobs:
        await command(log.redis, "HSET", log.keys.job(job_id), "retried", 99)


async def test_a_rebuild_mends_states_and_leaves_nothing_behind(log: Log) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 30)
        await work(log)
        await assert_projected(log, jobs)
        await damage(log, jobs[:7])
        told: list[tuple[int, int]] = []
        rebuilt = await Rebuild(log, JobsProjection(), lambda *so_far: told.append(so_far)).run()
        await assert_projected(log, jobs)
        assert (await list_jobs(log, limit=100)).cursor is None
        assert {job.job_id for job in (await list_jobs(log, limit=100)).jobs} == set(jobs)
    assert told[-1] == (rebuilt.events, rebuilt.events)
    assert await keys_of_rebuild(log) == []


async def test_without_any_projector_a_rebuild_projects_everything(log: Log) -> None:
    jobs = await make_jobs(log, 10)
    await work(log)
    await Rebuild(log, JobsProjection()).run()
    await assert_projected(log, jobs)
    async with projecting(log):
        jobs += await make_jobs(log, 5)
        await assert_projected(log, jobs)
        await eventually(lambda: nothing_pending(log), 10)


async def test_states_and_places_that_nothing_stands_behind_are_gone_afterwards(log: Log) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 5)
        await assert_projected(log, jobs)
    partition = log.keys.partition_of("ghost")
    await command(log.redis, "HSET", log.keys.job("ghost"), "seq", 3, "status", "queued")
    await command(log.redis, "ZADD", log.keys.active(partition), 1, "ghost")
    await Rebuild(log, JobsProjection()).run()
    assert await read_hash(log.redis, log.keys.job("ghost")) == {}
    await assert_projected(log, jobs)


async def test_readers_and_runners_notice_nothing_of_a_rebuild(log: Log) -> None:
    """Jobs are appended to and read all the time: a state is always there, whole, and true."""
    jobs = await make_jobs(log, 40)
    seqs: dict[str, int] = {}
    reads = 0

    async def read(scope: anyio.CancelScope) -> None:
        nonlocal reads
        with scope:
            while True:
                for job_id in jobs:
                    state = from_fields(await read_hash(log.redis, log.keys.job(job_id)))
                    assert state is not None, "a hole"
                    assert state.seq >= seqs.get(job_id, 0), "a step back"
                    seqs[job_id] = state.seq
                    events = (await job_events(log, job_id))[: state.seq]
                    assert state == fold(events), "a mixture"
                    reads += 1

    async with projecting(log):
        await assert_projected(log, jobs)
        async with anyio.create_task_group() as tasks:
            reading = anyio.CancelScope()
            tasks.start_soon(read, reading)
            tasks.start_soon(work, log)
            while reads < 300:
                await Rebuild(log, JobsProjection()).run()
            reading.cancel()
        await Rebuild(log, JobsProjection()).run()
        await assert_projected(log, jobs)


class Interrupted(Exception):
    pass


async def test_an_interrupted_rebuild_goes_on_where_it_was(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everfold.projector.folding.rebuild.PAGE", 20)
    jobs = await make_jobs(log, 60)
    await work(log, steps=12)

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        await Rebuild(log, JobsProjection(), stop).run()
    assert any(row.rebuilt_events for row in await lag(log))
    rest = await Rebuild(log, JobsProjection()).run()
    whole = sum([len(await job_events(log, job_id)) for job_id in jobs])
    assert 0 < rest.events < whole
    await assert_projected(log, jobs)
    assert await keys_of_rebuild(log) == []


class Other(JobsProjection):
    version = "of another day"


async def test_what_another_version_of_the_fold_has_begun_is_begun_anew(log: Log) -> None:
    jobs = await make_jobs(log, 20)
    await work(log)

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        await Rebuild(log, Other(), stop).run()
    rebuilt = await Rebuild(log, JobsProjection()).run()
    whole = sum([len(await job_events(log, job_id)) for job_id in jobs])
    assert rebuilt.events == whole
    await assert_projected(log, jobs)


class Slow(JobsProjection):
    """Its fold stops before it writes, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__(ProjectorConfig())
        self.reached, self.go_on = anyio.Event(), anyio.Event()

    def partition_fold(
        self,
        log: Log,
        partition: int,
        *,
        rebuilding: bool = False,
        archive: Archive | None = None,
    ) -> JobsFold:
        fold = super().partition_fold(log, partition, rebuilding=rebuilding, archive=archive)
        commit = fold.commit

        async def held(batch: Sequence[Recorded], request: CommitRequest) -> Outcome:
            self.reached.set()
            await self.go_on.wait()
            return await commit(batch, request)

        fold.commit = held  # type: ignore[method-assign]
        return fold


async def test_two_rebuilds_at_once_are_one_too_many(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everfold.projector.folding.rebuild.LEASE_S", 1.0)
    jobs = await make_jobs(log, 10)
    slow = Slow()
    async with anyio.create_task_group() as tasks:
        refused: list[str] = []

        async def first() -> None:
            try:
                await Rebuild(log, slow).run()
            except RebuildTaken as error:
                refused.append(str(error))

        tasks.start_soon(first)
        await slow.reached.wait()
        # The first one stands still for longer than its lease: the second takes the work over.
        await Rebuild(log, JobsProjection()).run()
        slow.go_on.set()
    assert len(refused) == 1
    await assert_projected(log, jobs)
    assert await keys_of_rebuild(log) == []


KILLED = """
import sys, os, signal, anyio
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.rebuild import Rebuild
from everfold.streams.appending.log import Log

def tell(done, total):
    if done > total / 2:
        print("half", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

async def main(url, namespace):
    async with Log.open(url, namespace=namespace) as log:
        await Rebuild(log, JobsProjection(), tell).run()

anyio.run(main, *sys.argv[1:])
"""


async def test_a_killed_rebuild_is_taken_up_by_the_next_one(
    log: Log, start_program: StartProgram
) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 60)
        await work(log, steps=12)
        await assert_projected(log, jobs)
        await damage(log, jobs)
        program = start_program("-c", KILLED, log.url.reveal(), log.keys.namespace)
        await program.line("half")
        await program.end()
        await Rebuild(log, JobsProjection()).run()
        await assert_projected(log, jobs)


async def test_jobs_that_ended_long_ago_come_back_without_a_state(log: Log) -> None:
    config = ProjectorConfig(job_ttl_s=0.2)
    jobs = await make_jobs(log, 6)
    await work(log)
    await anyio.sleep(0.25)
    await Rebuild(log, JobsProjection(config)).run()
    for job_id in jobs:
        assert await read_hash(log.redis, log.keys.job(job_id)) == {}
    assert (await list_jobs(log)).jobs == []


async def test_every_partition_is_counted_once(log: Log) -> None:
    await make_jobs(log, 10)
    totals: set[int] = set()
    rebuilt = await Rebuild(log, JobsProjection(), lambda _done, total: totals.add(total)).run()
    assert totals == {10}
    assert rebuilt.events == 10
    assert PARTITIONS > 1
