"""The index of jobs: it has what the states say, whatever happens, and nothing besides."""

from __future__ import annotations

from typing import cast

import pytest

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.errors import InvalidName, Misconfigured, TooLarge
from everfold.streams.events.event import Canceled, CancelRequested, Failed, Failure
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import (
    GRAPH,
    all_gone,
    caught_up,
    end,
    one_job_in_partition,
    projecting,
    work,
)
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

CONFIG = ProjectorConfig(index_metadata=("order_id",))


async def members(log: Log) -> list[bytes]:
    found: list[bytes] = []
    for partition in range(log.keys.partitions):
        key = log.keys.jobs(partition).index()
        found += cast("list[bytes]", await command(log.redis, "ZRANGE", key, 0, -1))
    return found


async def of_job(log: Log, job_id: str) -> set[str]:
    """Return the names of a job in the index."""
    name = job_id.encode()
    rows = [row.split(b"\n") for row in await members(log) if b"\n" in row]
    return {row[0].decode() for row in rows if row[2] == name}


async def sound(log: Log) -> bool:
    report = await verify(log)
    assert report.differences == []
    return True


async def test_a_job_is_found_by_all_that_it_is(log: Log) -> None:
    async with projecting(log, config=CONFIG):
        made = await log.submit(
            GRAPH,
            user="ada",
            kind="portrait",
            batch="july",
            tags=["big", "old", "big"],
            metadata={"order_id": 17, "shop": 3},
        )
        await eventually(lambda: caught_up(log))
        named = {
            *("user=ada", "kind=portrait", "batch=july", "queue=default", "tag=big", "tag=old"),
            "metadata.order_id=17",
        }
        assert await of_job(log, made.job_id) == {
            *named,
            "status=queued",
            "batch_status=july queued",
        }
        [lease] = await work(log, finish=False)
        await eventually(lambda: caught_up(log))
        running = {*named, "status=running", "batch_status=july running"}
        assert await of_job(log, made.job_id) == running
        failure = Failure(code="out_of_memory", message="no room")
        await Producer(log, "r").finish(lease, Failed(failure=failure, attempt=1))
        await eventually(lambda: caught_up(log))
        failed = {*named, "status=failed", "batch_status=july failed", "code=out_of_memory"}
        assert await of_job(log, made.job_id) == failed
    assert await sound(log)


async def test_what_a_rebuild_makes_is_what_commits_have_made(log: Log) -> None:
    async with projecting(log, config=CONFIG):
        for i in range(12):
            await log.submit(GRAPH, user=f"u{i % 2}", batch="b", metadata={"order_id": str(i)})
        leases = await work(log, finish=False)
        for lease in leases[:6]:
            await end(log, lease)
        await eventually(lambda: caught_up(log))
    before = sorted(await members(log))
    assert len(before) == 12 * 8
    await Rebuild(log, JobsProjection(CONFIG)).run()
    assert sorted(await members(log)) == before
    for partition in range(log.keys.partitions):
        rebuilt = log.keys.jobs(partition, rebuilding=True)
        assert not await command(log.redis, "EXISTS", rebuilt.index(), rebuilt.indexed())
    assert await sound(log)


async def test_nothing_stays_of_jobs_whose_states_have_expired(log: Log) -> None:
    async with projecting(log, config=ProjectorConfig(terminal_ttl_s=0.3)):
        job_id = await one_job_in_partition(log, 0)
        await work(log)
        await eventually(lambda: all_gone(log, [job_id]))
        other = await one_job_in_partition(log, 0)
        await eventually(lambda: caught_up(log))
    assert await of_job(log, job_id) == set()
    assert await of_job(log, other) == {"status=queued", "queue=default"}
    assert not [row for row in await members(log) if job_id.encode() in row]


async def test_nothing_stays_of_a_job_that_is_deleted_when_it_ends(log: Log) -> None:
    async with projecting(log, config=ProjectorConfig(terminal_ttl_s=0)):
        await log.submit(GRAPH, user="ada")
        await work(log)
        await eventually(lambda: caught_up(log))
    assert await members(log) == []


async def test_a_cancel_moves_a_job_in_the_index(log: Log) -> None:
    async with projecting(log):
        made = await log.submit(GRAPH, user="ada")
        await eventually(lambda: caught_up(log))
        await log.append(made.job_id, CancelRequested(), epoch=0)
        await eventually(lambda: caught_up(log))
        assert "status=canceling" in await of_job(log, made.job_id)
        await log.append(made.job_id, Canceled(), epoch=UNLEASED)
        await eventually(lambda: caught_up(log))
        found = await of_job(log, made.job_id)
    assert found == {"user=ada", "status=canceled", "queue=default"}
    assert await sound(log)


@pytest.mark.parametrize("break_it", ["member", "entry", "stray"])
async def test_verify_names_a_difference_of_an_index(log: Log, break_it: str) -> None:
    async with projecting(log):
        job_id = (await log.submit(GRAPH, user="ada")).job_id
        await eventually(lambda: caught_up(log))
    assert await sound(log)
    jobs = log.keys.jobs(log.keys.partition_of(job_id))
    if break_it == "member":
        await command(log.redis, "ZREM", jobs.index(), f"user=ada\no\n{job_id}")
    elif break_it == "entry":
        await command(log.redis, "HSET", jobs.indexed(), job_id, "o\nuser=bob")
    else:
        await command(log.redis, "ZADD", jobs.index(), 0, f"user=eve\no\n{job_id}")
    found = (await verify(log)).differences
    assert {(one.invariant, one.job_id, one.where) for one in found} == {(4, job_id, "its index")}


async def complete(log: Log) -> set[bytes]:
    keys = [log.keys.projector(partition) for partition in range(log.keys.partitions)]
    found = [await command(log.redis, "HGET", key, "indexes") for key in keys]
    return {text for text in found if isinstance(text, bytes)}


async def test_an_index_that_began_late_is_complete_after_a_rebuild_only(log: Log) -> None:
    async with projecting(log):
        for partition in range(log.keys.partitions):
            await one_job_in_partition(log, partition)
        await eventually(lambda: caught_up(log))
    assert await complete(log) == {b"1"}
    async with projecting(log, config=CONFIG):
        for partition in range(log.keys.partitions):
            await one_job_in_partition(log, partition)
        await eventually(lambda: caught_up(log))
    assert await complete(log) == {b"1"}
    await Rebuild(log, JobsProjection(CONFIG)).run()
    assert await complete(log) == {b"1 order_id"}
    async with projecting(log):
        for partition in range(log.keys.partitions):
            await one_job_in_partition(log, partition)
        await eventually(lambda: caught_up(log))
    assert await complete(log) == {b"1"}, "it misses the last jobs"


@pytest.mark.parametrize("names", ["order_id", ["a b"], [""], [f"n{i}" for i in range(9)], [7]])
def test_names_of_metadata_that_cannot_be_indexed_are_refused(names: object) -> None:
    with pytest.raises(Misconfigured):
        ProjectorConfig(index_metadata=names)  # type: ignore[arg-type]


@pytest.mark.parametrize("tags", ["big", [""], ["a\nb"], [7], None])
async def test_tags_that_are_none_are_refused(log: Log, tags: object) -> None:
    with pytest.raises(InvalidName):
        await log.submit(GRAPH, tags=tags)  # type: ignore[arg-type]


async def test_too_many_or_too_long_tags_are_refused(log: Log) -> None:
    for tags in ([f"t{i}" for i in range(17)], ["x" * 65]):
        with pytest.raises(TooLarge):
            await log.submit(GRAPH, tags=tags)
    with pytest.raises(InvalidName):
        await log.submit(GRAPH, batch="no name")
