"""A job id that is used again after its job was trimmed: what is read is the new job."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold import Everfold
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.reading.queries import current, get, list_jobs
from everfold.projector.reading.verify import verify
from everfold.projector.subscribing.catch_up import CatchUp
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.events.event import Failed, Failure
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.history import job_history
from everfold.streams.retention.trimming import trim
from tests.projector.jobs import GRAPH, assert_projected, projecting, work

pytestmark = pytest.mark.anyio

JOB = "used-again"
OTHER_GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}


async def end_and_trim(log: Log, archive: Archive | None = None) -> None:
    """End a job of this id, have its end projected, and trim all of it."""
    await log.submit(GRAPH, job_id=JOB, user="ada")
    await work(log)
    await assert_projected(log, [JOB])
    if archive is not None:
        await Archiver(log, archive).run(everything=True)
    for partition in range(log.keys.partitions):
        await trim(log, partition, 0, needs_archive=archive is not None)
    assert not await command(log.redis, "EXISTS", log.keys.head(JOB))
    assert (await get(log, JOB)).status == "succeeded"


async def fail(log: Log) -> None:
    """Run what waits with fewer events than the job before it had."""
    producer = Producer(log, "r")
    [lease] = await producer.claim()
    await producer.finish(lease, Failed(attempt=1, failure=Failure(code="x", message="again")))


async def test_the_new_job_is_read_before_it_is_projected_and_after(log: Log) -> None:
    async with projecting(log):
        await end_and_trim(log)
    assert (await log.submit(OTHER_GRAPH, job_id=JOB)).created
    for job in (await get(log, JOB), await current(log, JOB), *(await list_jobs(log)).jobs):
        assert (job.status, job.seq, job.user) == ("queued", 1, "")
    async with projecting(log):
        await assert_projected(log, [JOB])
        assert (
            await command(log.redis, "ZCARD", log.keys.jobs(log.keys.partition_of(JOB)).ended())
            == 0
        )
        await fail(log)
        await assert_projected(log, [JOB])
        assert [(job.status, job.seq) for job in (await list_jobs(log)).jobs] == [("failed", 3)]
        assert not (await list_jobs(log, user="ada")).jobs
        assert (await verify(log)).is_sound


async def test_a_repeated_submit_leaves_the_state_of_its_job(log: Log) -> None:
    async with projecting(log):
        await log.submit(GRAPH, job_id=JOB)
        await work(log)
        await assert_projected(log, [JOB])
    assert not (await log.submit(GRAPH, job_id=JOB)).created
    assert await command(log.redis, "EXISTS", log.keys.job(JOB)) == 1


async def test_a_rebuilt_state_that_is_to_be_moved_does_not_come_back(log: Log) -> None:
    async with projecting(log):
        await end_and_trim(log)
    partition = log.keys.partition_of(JOB)
    rebuilt = log.keys.jobs(partition, rebuilding=True)
    await command(log.redis, "RENAME", log.keys.job(JOB), rebuilt.job(JOB))
    await command(log.redis, "HSET", log.keys.projector(partition), "moving", 1)
    assert (await get(log, JOB)).status == "succeeded"
    await log.submit(GRAPH, job_id=JOB)
    assert (await get(log, JOB)).status == "queued"


async def test_a_client_waits_for_the_new_job_also_of_many(redis_url: str, namespace: str) -> None:
    async with Everfold.connect(redis_url, namespace=namespace, partitions=1) as client:
        log = client.log
        async with projecting(log):
            [first] = await client.submit_many([GRAPH], idempotency_keys=["k"])
            await work(log)
            assert (await client.wait(first.job_id, 9)).status == "succeeded"  # type: ignore[union-attr]
            await assert_projected(log, [first.job_id])  # type: ignore[union-attr]
            await trim(log, 0, 0, needs_archive=False)
            made = await client.submit_many([OTHER_GRAPH] * 2, idempotency_keys=["k", "other"])
            assert [one.created for one in made] == [True, True]  # type: ignore[union-attr]
            assert made[0].job_id == first.job_id  # type: ignore[union-attr]
            assert (await client.get(first.job_id)).status == "queued"  # type: ignore[union-attr]
            await work(log)
            assert (await client.wait(first.job_id, 9)).seq > 1  # type: ignore[union-attr]
            assert (await verify(log)).is_sound


async def test_a_rebuild_from_the_archive_has_the_newest_job_of_an_id(
    log: Log, tmp_path: Path
) -> None:
    archive = Archive(Folder(str(tmp_path / "archive")))
    async with projecting(log):
        await end_and_trim(log, archive)
        await log.submit(OTHER_GRAPH, job_id=JOB)
        await fail(log)
        await assert_projected(log, [JOB])
    rebuilt = await Rebuild(log, JobsProjection(), archive=archive).run()
    assert rebuilt.parked == 0
    await assert_projected(log, [JOB])
    assert [event.seq for event in await job_history(log, JOB, archive)] == [1, 2, 3]
    assert (await verify(log)).is_sound


async def test_an_event_of_the_earlier_job_comes_with_that_job(log: Log, tmp_path: Path) -> None:
    archive = Archive(Folder(str(tmp_path)))
    async with projecting(log):
        await end_and_trim(log, archive)
    await log.submit(OTHER_GRAPH, job_id=JOB, user="bob")
    async with CatchUp(log, archive=archive) as feed:
        first = await anext(feed)
    async with CatchUp(log, feed.cursor, archive=archive) as feed:
        rest = [await anext(feed) for _ in range(10)]
    assert [one.record.seq for one in (first, *rest)] == [*range(1, 11), 1]
    assert {one.job.user for one in (first, *rest[:-1])} == {"ada"}
    assert [one.job.status for one in rest[-2:]] == ["succeeded", "queued"]
    assert rest[-1].job.user == "bob"
