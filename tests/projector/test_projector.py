"""The projection equals the fold of the log, whatever happens to its projectors."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator

import anyio
import pytest

from projector.commit import Batch, Change, Committed, Foreign, Gap, Moved, NotOwner, commit
from projector.config import ProjectorConfig
from projector.evolve import fold
from projector.job import Job
from projector.lag import lag
from projector.ownership import Ownership
from projector.projector import Projector
from projector.queries import current, get, list_jobs
from projector.state import from_fields
from streams.border import command, read_hash
from streams.errors import JobUnknown
from streams.events import Progressed, Started, Submitting, Succeeded
from streams.group import ConsumerGroup
from streams.keys import PROJECTOR_GROUP
from streams.log import Log
from streams.outcomes import Lease
from streams.producer import Producer
from streams.reader import job_events
from streams.record import NO_ENTRY
from tests.support.programs import StartProgram
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=4) as log:
        yield log


async def make_jobs(log: Log, count: int) -> list[str]:
    return [(await log.submit(GRAPH, user=f"u{i % 3}")).job_id for i in range(count)]


async def work(log: Log, *, steps: int = 5, finish: bool = True, runner: str = "r") -> list[Lease]:
    """Claim every waiting job, tell some of its story, and end it if asked to."""
    producer = Producer(log, runner)
    leases = await producer.claim(most=1000)
    for lease in leases:
        begin = Submitting(attempt=1, backend="b", boot="m", prompt_id="p", client_id="c")
        await producer.append(lease, begin)
        await producer.append(lease, Started(attempt=1))
        for step in range(steps):
            await producer.append(
                lease, Progressed(attempt=1, value=step / steps, nodes_done=0, nodes_total=1)
            )
        if finish:
            await producer.finish(lease, Succeeded(attempt=1, outputs={}))
    return leases


async def caught_up(log: Log) -> bool:
    return all(found.behind_events == 0 for found in await lag(log))


async def assert_projected(log: Log, jobs: list[str]) -> None:
    """The oracle: the hash of each job is the fold of its events, nothing else."""
    await eventually(lambda: caught_up(log), within_s=15)
    for job_id in jobs:
        state = from_fields(await read_hash(log.redis, log.keys.job(job_id)))
        assert state == fold(await job_events(log, job_id))


async def test_two_projectors_share_the_partitions_and_fold_everything(log: Log) -> None:
    async with anyio.create_task_group() as tasks:
        first, second = Projector(log, "a"), Projector(log, "b")
        await tasks.start(first.run)
        await tasks.start(second.run)
        jobs = await make_jobs(log, 40)
        await work(log)
        await eventually(lambda: len(first.partitions) == len(second.partitions) == 2, 15)
        await assert_projected(log, jobs)
        tasks.cancel_scope.cancel()


async def test_a_projector_that_starts_late_folds_what_was_there_before(log: Log) -> None:
    jobs = await make_jobs(log, 10)
    await work(log)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "late").run)
        await assert_projected(log, jobs)
        tasks.cancel_scope.cancel()


async def test_a_killed_projector_is_replaced_and_nothing_is_missed(
    log: Log, start_program: StartProgram
) -> None:
    environ = {"REDIS_URL": log.url, "EVERFOLD_NAMESPACE": log.keys.namespace}
    for _ in range(3):
        program = start_program("-m", "everfold", "projector", environ=environ)
        await program.line("projector")
        jobs = await make_jobs(log, 20)
        await work(log)
        program.kill()
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "last").run)
        await assert_projected(log, jobs)
        tasks.cancel_scope.cancel()


async def test_a_frozen_owner_that_wakes_changes_no_result(
    log: Log, start_program: StartProgram
) -> None:
    environ = {"REDIS_URL": log.url, "EVERFOLD_NAMESPACE": log.keys.namespace}
    frozen = start_program("-m", "everfold", "projector", environ=environ)
    await frozen.line("projector")
    frozen.send(signal.SIGSTOP)
    jobs = await make_jobs(log, 20)
    await work(log)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "second").run)
        await assert_projected(log, jobs)
        frozen.send(signal.SIGCONT)
        jobs += await make_jobs(log, 20)
        await work(log)
        await assert_projected(log, jobs)
        tasks.cancel_scope.cancel()


async def owned(log: Log, partition: int = 0) -> Ownership:
    ownership = Ownership(log, "test", own_for_s=5)
    assert await ownership.own(partition)
    return ownership


async def one_job_in_partition(log: Log, partition: int) -> str:
    while True:
        job_id = (await log.submit(GRAPH)).job_id
        if log.keys.partition_of(job_id) == partition:
            return job_id


async def test_commit_refuses_a_stale_owner_a_hole_and_a_gap(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    ownership = await owned(log)
    group = ConsumerGroup(log, PROJECTOR_GROUP, ownership.token, block_s=0.1)
    await group.create(0)
    batch = [r for r in await group.read_new(0) if r.job_id == job_id]
    after = fold(batch)

    async def try_commit(token: str, before_seq: int = 0, checkpoint: str = NO_ENTRY) -> object:
        entry_ids = [record.entry_id for record in batch]
        return await commit(
            log,
            0,
            token=token,
            config=ProjectorConfig(),
            batch=Batch(
                checkpoint=checkpoint,
                following=entry_ids[-1],
                entry_ids=entry_ids,
                changes=[Change(Job(job_id=job_id, seq=before_seq), after)],
                parked={},
            ),
        )

    assert isinstance(await try_commit("somebody-else"), NotOwner)
    assert await try_commit(ownership.token, before_seq=7) == Gap({job_id: 0})
    assert await try_commit(ownership.token, checkpoint="5-0") == Moved(NO_ENTRY)
    thief = ConsumerGroup(log, PROJECTOR_GROUP, "thief", block_s=0.1)
    await one_job_in_partition(log, 0)
    await thief.read_new(0)
    assert await try_commit(ownership.token) == Foreign("thief")
    assert await read_hash(log.redis, log.keys.job(job_id)) == {}
    await group.inherit(0)
    assert await try_commit(ownership.token) == Committed()
    last = batch[-1].entry_id
    assert await try_commit(ownership.token) == Moved(last), "its answer may have been lost"
    assert await try_commit(ownership.token, checkpoint=last) == Committed(), "it was further"
    for consumer in (group, thief):
        await consumer.aclose()


async def test_a_partition_has_one_owner_until_it_gives_up(log: Log) -> None:
    first, second = await owned(log), Ownership(log, "second", own_for_s=5)
    assert not await second.own(0)
    await first.give_up(0)
    assert await second.own(0)
    assert not await first.own(0)


async def test_states_expire_and_an_open_job_is_folded_again(log: Log) -> None:
    config = ProjectorConfig(job_ttl_s=0.3)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "short", config).run)
        jobs = await make_jobs(log, 3)
        await eventually(lambda: caught_up(log))
        for job_id in jobs:
            await eventually(lambda job_id=job_id: gone(log, job_id))  # type: ignore[misc]
        assert (await get(log, jobs[0])).status == "queued"
        assert {job.job_id for job in (await list_jobs(log)).jobs} == set(jobs)
        leases = await work(log, finish=False)
        assert len(leases) == 3
        await eventually(lambda: caught_up(log))
        assert (await current(log, jobs[0])).status == "running"
        tasks.cancel_scope.cancel()


async def gone(log: Log, job_id: str) -> bool:
    return not await read_hash(log.redis, log.keys.job(job_id))


async def test_a_closed_job_s_state_can_be_deleted_on_completion_and_is_not_listed(
    log: Log,
) -> None:
    config = ProjectorConfig(terminal_ttl_s=0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "zero", config).run)
        jobs = await make_jobs(log, 3)
        await work(log)
        await eventually(lambda: caught_up(log))
        assert all([await gone(log, job_id) for job_id in jobs])
        assert (await list_jobs(log)).jobs == []
        assert (await get(log, jobs[0])).status == "succeeded", "the log still knows it"
        tasks.cancel_scope.cancel()


async def test_redelivered_events_do_not_revive_an_expired_closed_job(log: Log) -> None:
    config = ProjectorConfig(terminal_ttl_s=0)
    jobs = await make_jobs(log, 4)
    await work(log)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "first", config).run)
        await eventually(lambda: caught_up(log))
        tasks.cancel_scope.cancel()
    for partition in range(4):
        key = log.keys.log(partition)
        await command(log.redis, "XGROUP DESTROY", key, PROJECTOR_GROUP)
        await command(log.redis, "XGROUP CREATE", key, PROJECTOR_GROUP, "0")
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "second", ProjectorConfig()).run)
        await eventually(lambda: nothing_pending(log))
        assert all([await gone(log, job_id) for job_id in jobs])
        tasks.cancel_scope.cancel()


async def nothing_pending(log: Log) -> bool:
    group = ConsumerGroup(log, PROJECTOR_GROUP, "looker", block_s=0.1)
    try:
        for partition in range(4):
            if (await group.pending(partition)).count:
                return False
            rows = await command(log.redis, "XINFO GROUPS", log.keys.log(partition))
            facts = dict(zip(rows[0][::2], rows[0][1::2], strict=True))  # type: ignore[index]
            if facts[b"last-delivered-id"] == b"0-0" and await command(
                log.redis, "XLEN", log.keys.log(partition)
            ):
                return False
        return True
    finally:
        await group.aclose()


async def test_an_event_nobody_can_read_parks_its_job_and_not_the_partition(log: Log) -> None:
    strange_id = await one_job_in_partition(log, 1)
    sound_id = await one_job_in_partition(log, 1)
    head = await read_hash(log.redis, log.keys.head(strange_id))
    payload = json.dumps({"type": "job.from_the_future", "v": 1, "id": "x", "actor": "y"})
    entry = ("j", strange_id, "s", 2, "e", 0, "p", head[b"last"], "d", payload)
    await command(log.redis, "XADD", log.keys.log(1), "*", *entry)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "parking").run)
        await eventually(lambda: caught_up(log))
        parked = await read_hash(log.redis, log.keys.parked(1))
        assert list(parked) == [strange_id.encode()]
        assert b"job.from_the_future" in parked[strange_id.encode()]
        await work(log)
        await eventually(lambda: caught_up(log))
        assert (await get(log, sound_id)).status == "succeeded"
        tasks.cancel_scope.cancel()


async def test_a_lost_group_is_made_again_at_the_checkpoint(log: Log) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "again").run)
        jobs = await make_jobs(log, 8)
        await eventually(lambda: caught_up(log))
        for partition in range(4):
            key = log.keys.log(partition)
            await command(log.redis, "XGROUP DESTROY", key, PROJECTOR_GROUP)
        await work(log)
        await assert_projected(log, jobs)
        tasks.cancel_scope.cancel()


async def test_a_restart_of_the_server_costs_nothing(own_server: StartServer) -> None:
    server = own_server()
    async with (
        Log.open(server.url, namespace="restart", partitions=2) as log,
        anyio.create_task_group() as tasks,
    ):
        await tasks.start(Projector(log, "patient").run)
        jobs = await make_jobs(log, 6)
        await anyio.to_thread.run_sync(server.restart, signal.SIGKILL)
        await work(log)
        await assert_projected(log, jobs)
        tasks.cancel_scope.cancel()


async def test_lists_are_paged_filtered_and_complete(log: Log) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "lists").run)
        jobs = await make_jobs(log, 25)
        await eventually(lambda: caught_up(log))
        seen, cursor = [], None
        while True:
            page = await list_jobs(log, limit=4, cursor=cursor)
            seen += page.jobs
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(job.job_id for job in seen) == sorted(jobs)
        times = [job.updated_at_ms for job in seen]
        assert times == sorted(times, reverse=True)
        assert len((await list_jobs(log, user="u1")).jobs) == 8
        assert (await list_jobs(log, statuses=["succeeded"])).jobs == []
        assert (await list_jobs(log, newer_than_ms=times[0] + 1)).jobs == []
        tasks.cancel_scope.cancel()


async def test_reads_need_no_projector_and_unknown_jobs_say_so(log: Log) -> None:
    [job_id] = await make_jobs(log, 1)
    assert (await get(log, job_id)).status == "queued"
    assert (await current(log, job_id)).seq == 1
    with pytest.raises(JobUnknown):
        await get(log, "nobody")
