"""Another program puts something else where the state of a job stands: that job alone is hurt, and
heals with its next event."""

from __future__ import annotations

import msgspec
import pytest

from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.parking import park, retry
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.reading.queries import get, list_jobs
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import (
    assert_projected,
    caught_up,
    one_job_in_partition,
    projecting,
    work,
)
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

ODD = {"a text": ("SET", "x"), "a list": ("RPUSH", "x"), "no state": ("HSET", "a", "b")}


async def put(log: Log, job_id: str, odd: str) -> None:
    """Put something odd where the state of a job is, or is to be."""
    key = log.keys.job(job_id)
    name, *rest = ODD[odd]
    await command(log.redis, "DEL", key)
    await command(log.redis, name, key, *rest)


@pytest.mark.parametrize("odd", ODD)
async def test_a_partition_goes_on_and_the_state_is_made_again(log: Log, odd: str) -> None:
    known = [await one_job_in_partition(log, 0) for _ in range(3)]
    async with projecting(log):
        await assert_projected(log, known)
    fresh = [await one_job_in_partition(log, 0) for _ in range(3)]
    for job_id in (known[1], fresh[1]):
        await put(log, job_id, odd)
    async with projecting(log):
        await eventually(lambda: caught_up(log))
        await assert_projected(log, fresh)
        await work(log)
        await assert_projected(log, [*known, *fresh])
    assert (await verify(log)).is_sound


@pytest.mark.parametrize("odd", ODD)
async def test_it_is_read_from_the_log_and_named(log: Log, odd: str) -> None:
    jobs = [await one_job_in_partition(log, 0) for _ in range(3)]
    async with projecting(log):
        await assert_projected(log, jobs)
    await put(log, jobs[1], odd)
    assert (await get(log, jobs[1])).status == "queued"
    assert {job.job_id for job in (await list_jobs(log)).jobs} >= set(jobs)
    found = (await verify(log)).differences
    assert [(one.job_id, one.where) for one in found] == [(jobs[1], "state")]
    await Rebuild(log, JobsProjection()).run()
    await assert_projected(log, jobs)


@pytest.mark.parametrize("odd", ODD)
async def test_a_parked_job_with_such_a_state_is_folded_again(log: Log, odd: str) -> None:
    job_id, other = [await one_job_in_partition(log, 0) for _ in range(2)]
    async with projecting(log):
        await assert_projected(log, [job_id, other])
    [first] = await job_events(log, job_id)
    parked = msgspec.json.encode(park(first, "a test"))
    await command(log.redis, "HSET", log.keys.parked(0), job_id, parked)
    await put(log, job_id, odd)
    await retry(log, job_id)
    await work(log)
    async with projecting(log):
        await assert_projected(log, [job_id, other])
    assert not await command(log.redis, "HLEN", log.keys.parked(0))


async def test_a_rebuilt_state_that_is_to_be_moved_may_be_odd(log: Log) -> None:
    jobs = [await one_job_in_partition(log, 0) for _ in range(2)]
    async with projecting(log):
        await assert_projected(log, jobs)
    rebuilt = log.keys.jobs(0, rebuilding=True)
    for job_id in jobs:
        await command(log.redis, "SET", rebuilt.job(job_id), "x")
    await command(log.redis, "HSET", log.keys.projector(0), "moving", 1)
    await put(log, jobs[0], "a text")
    for job_id in jobs:
        assert (await get(log, job_id)).status == "queued"
    assert {job.job_id for job in (await list_jobs(log)).jobs} >= set(jobs)
    await work(log)
    async with projecting(log):
        await assert_projected(log, jobs)
        await eventually(lambda: nothing_moves(log))
    assert (await verify(log)).is_sound


async def nothing_moves(log: Log) -> bool:
    return not await command(log.redis, "HEXISTS", log.keys.projector(0), "moving")
