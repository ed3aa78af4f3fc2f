"""Reads: with and without a projector, of states that have expired, in pages."""

from __future__ import annotations

import pytest

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.stored_jobs import read_stored_jobs
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.reading.lag import lag
from everfold.projector.reading.queries import current, get, list_jobs
from everfold.projector.reading.read_your_writes import until_projected
from everfold.streams.appending.log import Log
from everfold.streams.errors import BrokenChain, InvalidName, JobUnknown
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import (
    all_gone,
    caught_up,
    end,
    is_gone,
    make_jobs,
    one_job_in_partition,
    projecting,
    work,
)
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def all_pages(log: Log, limit: int, **filters: str) -> list[Job]:
    seen: list[Job] = []
    cursor: str | None = None
    while True:
        page = await list_jobs(log, limit=limit, cursor=cursor, **filters)  # type: ignore[arg-type]
        assert len(page.jobs) <= limit
        seen += page.jobs
        cursor = page.cursor
        if cursor is None:
            return seen


async def test_reads_need_no_projector_and_unknown_jobs_say_so(log: Log) -> None:
    [job_id] = await make_jobs(log, 1)
    assert (await get(log, job_id)).status == "queued"
    assert (await current(log, job_id)).seq == 1
    with pytest.raises(JobUnknown):
        await get(log, "nobody")
    with pytest.raises(JobUnknown):
        await current(log, "nobody")


async def test_a_state_that_is_behind_is_caught_up_from_the_log(log: Log) -> None:
    async with projecting(log):
        [job_id] = await make_jobs(log, 1)
        await eventually(lambda: caught_up(log))
    await work(log)
    whole = fold(await job_events(log, job_id))
    assert (await get(log, job_id)).seq == 1
    assert await get(log, job_id, at_least_seq=2) == whole
    assert await current(log, job_id) == whole


async def test_a_job_whose_beginning_is_no_longer_in_the_log_is_not_told_wrongly(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    await work(log)
    events = await job_events(log, job_id)
    await command(log.redis, "XTRIM", log.keys.log(0), "MINID", events[2].entry_id)
    with pytest.raises(BrokenChain):
        await get(log, job_id)


async def test_many_states_are_read_in_the_order_asked_for(log: Log) -> None:
    async with projecting(log):
        first, second = await make_jobs(log, 2)
        await eventually(lambda: caught_up(log))
    found = await read_stored_jobs(log, [second, "nobody", first])
    assert [job and job.job_id for job in found] == [second, None, first]
    assert await read_stored_jobs(log, []) == []


async def test_states_expire_and_an_open_job_is_folded_again(log: Log) -> None:
    async with projecting(log, config=ProjectorConfig(job_ttl_s=0.3)):
        jobs = await make_jobs(log, 3)
        await eventually(lambda: caught_up(log))
        await eventually(lambda: all_gone(log, jobs))
        assert (await get(log, jobs[0])).status == "queued"
        assert {job.job_id for job in (await list_jobs(log)).jobs} == set(jobs)
        assert len(await work(log, finish=False)) == 3
        await eventually(lambda: caught_up(log))
        assert (await current(log, jobs[0])).status == "running"


async def test_a_closed_job_s_state_can_be_deleted_on_completion_and_is_not_listed(
    log: Log,
) -> None:
    async with projecting(log, config=ProjectorConfig(terminal_ttl_s=0)):
        jobs = await make_jobs(log, 3)
        await work(log)
        await eventually(lambda: caught_up(log))
        assert await all_gone(log, jobs)
        assert (await list_jobs(log)).jobs == []
        assert (await get(log, jobs[0])).status == "succeeded", "the log still knows it"


async def test_a_closed_job_leaves_lists_when_its_state_expires(log: Log) -> None:
    async with projecting(log, config=ProjectorConfig(terminal_ttl_s=0.5)):
        job_id = await one_job_in_partition(log, 0)
        await work(log)
        await eventually(lambda: caught_up(log))
        await eventually(lambda: is_gone(log, job_id))
    assert job_id not in {job.job_id for job in (await list_jobs(log)).jobs}
    assert await command(log.redis, "ZSCORE", log.keys.ended(0), job_id) is None


async def test_a_place_of_a_job_that_nobody_knows_is_dropped(log: Log) -> None:
    ghost = next(name for name in map(str, range(99)) if log.keys.partition_of(name) == 0)
    await command(log.redis, "ZADD", log.keys.active(0), 5, ghost)
    assert (await list_jobs(log)).jobs == []
    assert await command(log.redis, "ZSCORE", log.keys.active(0), ghost) is None


async def test_lists_are_paged_in_order_and_complete(log: Log) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 25)
        await eventually(lambda: caught_up(log))
    for limit in (1, 4, 25, 100):
        seen = await all_pages(log, limit)
        assert sorted(job.job_id for job in seen) == sorted(jobs)
        times = [job.updated_at_ms for job in seen]
        assert times == sorted(times, reverse=True)


async def test_jobs_of_one_millisecond_are_paged_too(log: Log) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 20)
        await eventually(lambda: caught_up(log))
    for job_id in jobs:
        active = log.keys.active(log.keys.partition_of(job_id))
        await command(log.redis, "ZADD", active, 1_000, job_id)
    seen = [job.job_id for job in await all_pages(log, 3)]
    assert sorted(seen) == sorted(jobs)


async def test_a_job_that_ends_between_two_pages_is_not_listed_twice(log: Log) -> None:
    async with projecting(log):
        await make_jobs(log, 6)
        leases = await work(log, finish=False)
        await eventually(lambda: caught_up(log))
        first = await list_jobs(log, limit=3)
        for lease in leases:
            if lease.job_id in {job.job_id for job in first.jobs}:
                await end(log, lease)
        await eventually(lambda: caught_up(log))
        second = await list_jobs(log, limit=3, cursor=first.cursor)
    both = [job.job_id for job in (*first.jobs, *second.jobs)]
    assert len(both) == len(set(both)) == 6


async def test_lists_are_filtered(log: Log) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 9)
        await work(log)
        waiting = await make_jobs(log, 3)
        await eventually(lambda: caught_up(log))
    assert len(await all_pages(log, 2, user="u1")) == 4
    assert len(await all_pages(log, 2, backend="b")) == 9
    assert await all_pages(log, 2, kind="portrait") == []
    found = await list_jobs(log, statuses=["succeeded"])
    assert {job.job_id for job in found.jobs} == set(jobs)
    found = await list_jobs(log, statuses=["queued", "running"])
    assert {job.job_id for job in found.jobs} == set(waiting)
    times = [job.updated_at_ms for job in (await list_jobs(log)).jobs]
    assert (await list_jobs(log, newer_than_ms=times[0] + 1)).jobs == []
    assert (await list_jobs(log, older_than_ms=times[-1] - 1)).jobs == []
    middle = await list_jobs(log, newer_than_ms=times[4], older_than_ms=times[4])
    assert {job.updated_at_ms for job in middle.jobs} == {times[4]}


@pytest.mark.parametrize("cursor", ["", "yesterday", "12", "12:", ":job"])
async def test_a_cursor_that_is_not_ours_is_refused(log: Log, cursor: str) -> None:
    if cursor:
        with pytest.raises(InvalidName):
            await list_jobs(log, cursor=cursor)
    else:
        assert (await list_jobs(log, cursor=cursor)).jobs == []


async def test_one_can_wait_until_lists_show_what_one_wrote(log: Log) -> None:
    async with projecting(log):
        for _ in range(5):
            [job_id] = await make_jobs(log, 1)
            await until_projected(log, job_id, 1, timeout_s=10)
            assert job_id in {job.job_id for job in (await list_jobs(log)).jobs}
        with pytest.raises(TimeoutError):
            await until_projected(log, job_id, 2, timeout_s=0.1)
    with pytest.raises(JobUnknown):
        await until_projected(log, "nobody", 1, timeout_s=5)


async def test_waiting_ends_for_a_state_that_was_deleted_on_completion(log: Log) -> None:
    async with projecting(log, config=ProjectorConfig(terminal_ttl_s=0)):
        [job_id] = await make_jobs(log, 1)
        await work(log)
        seq = (await current(log, job_id)).seq
        await until_projected(log, job_id, seq, timeout_s=10)
        assert await is_gone(log, job_id)


async def test_the_lag_counts_what_is_not_folded_and_its_age(log: Log) -> None:
    jobs = await make_jobs(log, 12)
    found = await lag(log)
    assert sum(one.lag_events for one in found) == len(jobs)
    assert {one.owner for one in found} == {""}
    await eventually(lambda: is_older(log, 0.2))
    async with projecting(log) as projector:
        await eventually(lambda: caught_up(log))
        found = await lag(log)
        assert {one.lag_s for one in found} == {0.0}
        assert all(one.owner.startswith("test-") for one in found)
        assert projector.partitions == [one.partition for one in found]
        assert sum(one.folded for one in found) == len(jobs)


async def is_older(log: Log, seconds: float) -> bool:
    return max(one.lag_s for one in await lag(log)) > seconds
