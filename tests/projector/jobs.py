"""Jobs with a history, a running projector, and the oracle: hash == fold of the events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import cast

import anyio

from everfold.projector.assignment.member import Member
from everfold.projector.config import ProjectorConfig
from everfold.projector.job.fold import fold
from everfold.projector.job.state import from_fields
from everfold.projector.projector import Projector
from everfold.projector.reading.lag import lag
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import Progressed, Started, Submitting, Succeeded
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import job_events, partition_page
from everfold.streams.redis.keys import PROJECTOR_GROUP
from everfold.streams.redis.redis_errors import command, read_hash
from tests.support.wait import eventually

PARTITIONS = 4
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


async def make_jobs(log: Log, count: int) -> list[str]:
    return [(await log.submit(GRAPH, user=f"u{i % 3}")).job_id for i in range(count)]


async def one_job_in_partition(log: Log, partition: int) -> str:
    while True:
        job_id = (await log.submit(GRAPH)).job_id
        if log.keys.partition_of(job_id) == partition:
            return job_id


async def work(log: Log, *, steps: int = 5, finish: bool = True, runner: str = "r") -> list[Lease]:
    """Claim every waiting job, append some events of it, and end it if `finish`."""
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
            await end(log, lease)
    return leases


async def end(log: Log, lease: Lease) -> None:
    await Producer(log, lease.runner).finish(lease, Succeeded(attempt=1, outputs={}))


async def add_raw(log: Log, job_id: str, seq: int, payload: bytes) -> None:
    """Append past the scripts and their checks, as a program with a mistake would."""
    head, key = log.keys.head(job_id), log.keys.log(log.keys.partition_of(job_id))
    last = (await read_hash(log.redis, head)).get(b"last")
    entry = ("j", job_id, "s", seq, "e", 0, "p", last or b"0-0", "d", payload)
    entry_id = await command(log.redis, "XADD", key, "*", *entry)
    if last:
        assert isinstance(entry_id, bytes)
        await command(log.redis, "HSET", head, "last", entry_id, "seq", seq)


@contextlib.asynccontextmanager
async def projecting(
    log: Log, name: str = "test", config: ProjectorConfig | None = None
) -> AsyncIterator[Projector]:
    """A projector that runs while the context is open."""
    projector = Projector(log, name, config)
    async with anyio.create_task_group() as tasks:
        await tasks.start(projector.run)
        yield projector
        tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def consuming(log: Log, consumer: str, block_s: float = 0.1) -> AsyncIterator[ConsumerGroup]:
    """A member of the projector's group, to read what it should not."""
    group = ConsumerGroup(log, PROJECTOR_GROUP, consumer, block_s=block_s)
    try:
        yield group
    finally:
        await group.aclose()


async def owner_of(log: Log, partition: int = 0, lease_s: float = 5) -> Member:
    member = Member(log, "jobs", "test", lease_s)
    assert await member.acquire(log.keys.projector(partition))
    return member


async def read_all(log: Log, group: ConsumerGroup, partition: int = 0) -> list[Recorded]:
    """Make the group, and read without it, as a projector does."""
    await group.create(partition)
    return await partition_page(log, partition, NO_ENTRY)


async def caught_up(log: Log) -> bool:
    return all(found.lag_events == 0 for found in await lag(log))


async def nothing_pending(log: Log, group: str = PROJECTOR_GROUP) -> bool:
    """Say whether the group is at the end of every partition, and nothing of it is pending."""
    for partition in range(log.keys.partitions):
        key = log.keys.log(partition)
        rows = cast("list[list[bytes]]", await command(log.redis, "XINFO GROUPS", key))
        every = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
        facts = next(facts for facts in every if facts[b"name"] == group.encode())
        last = await command(log.redis, "XREVRANGE", key, "+", "-", "COUNT", 1)
        if facts[b"pending"] or (last and last[0][0] != facts[b"last-delivered-id"]):  # type: ignore[index]
            return False
    return True


async def assert_projected(log: Log, jobs: list[str], within_s: float = 15) -> None:
    """The oracle: the hash of each job is the fold of its events, nothing else."""
    await eventually(lambda: caught_up(log), within_s)
    for job_id in jobs:
        state = from_fields(await read_hash(log.redis, log.keys.job(job_id)))
        assert state == fold(await job_events(log, job_id))


async def is_gone(log: Log, job_id: str) -> bool:
    return not await read_hash(log.redis, log.keys.job(job_id))


async def all_gone(log: Log, jobs: list[str]) -> bool:
    return all([await is_gone(log, job_id) for job_id in jobs])


async def make_group_again(log: Log) -> None:
    """Have every entry delivered a second time."""
    for partition in range(log.keys.partitions):
        key = log.keys.log(partition)
        await command(log.redis, "XGROUP DESTROY", key, PROJECTOR_GROUP)
        await command(log.redis, "XGROUP CREATE", key, PROJECTOR_GROUP, "0", "MKSTREAM")
