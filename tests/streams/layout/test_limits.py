"""Limits in a spread namespace hold over all partitions, however many claim and submit at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.errors import QueueFull
from everfold.streams.events.event import Succeeded
from everfold.streams.layout.copies import repair_copies
from everfold.streams.layout.reservations import Wanted
from everfold.streams.leases.producer import Producer
from everfold.streams.queues.limits import Limit, remove_limit, set_limit
from everfold.streams.queues.queue_control import pause_queue, resume_queue
from everfold.streams.queues.queue_counts import count_running
from everfold.streams.redis.redis_errors import command, commands, read_hash

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
DONE = Succeeded(attempt=1, outputs={})


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=8, spread=True) as log:
        yield log


@pytest.fixture
async def others(log: Log) -> AsyncIterator[list[Log]]:
    """More clients of the same namespace."""
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(Log.open(log.url, namespace=log.keys.namespace))
            for _ in range(5)
        ]


@pytest.mark.parametrize("seed", range(3))
async def test_never_do_more_jobs_run_than_may_whoever_claims(
    log: Log, others: list[Log], seed: int
) -> None:
    random, held, most = Random(seed), dict[str, int](), dict[str, int]()
    await set_limit(log, Limit("running", "user", "*", 3))
    await set_limit(log, Limit("running", "kind", "video", 4))
    jobs: dict[str, tuple[str, str]] = {}
    for _ in range(40):
        user, kind = random.choice("ab"), random.choice(("video", ""))
        job_id = (await log.submit(GRAPH, user=user, kind=kind)).job_id
        jobs[job_id] = (f"user {user}", f"kind {kind}")
    left = set(jobs)

    async def work(one: Log, name: str) -> None:
        producer = Producer(one, name, lease_ttl_s=120)  # it renews none
        while left:
            leases = await producer.claim(most=3)
            if not leases:
                await anyio.sleep(random.random() / 10)  # as who finds nothing to do
            for lease in leases:
                for what in jobs[lease.job_id]:
                    held[what] = held.get(what, 0) + 1
                    most[what] = max(most.get(what, 0), held[what])
                await anyio.sleep(random.random() / 5)
                # Its place is free from the moment that the end is on its way.
                for what in jobs[lease.job_id]:
                    held[what] -= 1
                await producer.finish(lease, DONE)
                left.discard(lease.job_id)

    with anyio.fail_after(110):
        async with anyio.create_task_group() as tasks:
            for number, one in enumerate(others):
                tasks.start_soon(work, one, f"r{number}")
    assert max(most["user a"], most["user b"]) <= 3
    assert most["kind video"] <= 4
    assert max(most.values()) > 1  # they do run side by side
    assert await count_running(log, [("user", "a"), ("kind", "video")]) == [0, 0]
    reserved = [log.keys.reserved(f"running {what}") for what in most]
    assert sum(await commands(log.redis, [("ZCARD", key) for key in reserved])) == 0  # type: ignore[arg-type]


async def test_a_queue_takes_just_as_many_jobs_as_may_wait(log: Log, others: list[Log]) -> None:
    await set_limit(log, Limit("waiting", "queue", "default", 20))
    taken, refused = list[str](), list[QueueFull]()

    async def submit(one: Log) -> None:
        for _ in range(8):
            try:
                taken.append((await one.submit(GRAPH)).job_id)
            except QueueFull as full:
                refused.append(full)

    async with anyio.create_task_group() as tasks:
        for one in others:
            tasks.start_soon(submit, one)
    assert len(taken) <= 20
    while len(taken) < 20:  # those that came at one moment may have stood in each other's way
        taken.append((await log.submit(GRAPH)).job_id)
    with pytest.raises(QueueFull, match="20 jobs wait, the limit is 20"):
        await log.submit(GRAPH)
    again = await log.submit(GRAPH, job_id=taken[0])
    assert (again.job_id, again.created) == (taken[0], False)
    assert all(full.limit == 20 for full in refused)


async def test_what_somebody_reserved_and_did_not_use_is_free_again(log: Log) -> None:
    what = "running user ada"

    async def die() -> None:
        async with log.spread.reservations.reserved({what: Wanted(2, 2)}) as granted:
            assert granted[what].number == 2
            raise RuntimeError("it died here")

    with pytest.raises(RuntimeError):
        await die()
    async with log.spread.reservations.reserved({what: Wanted(2, 2)}) as granted:
        assert granted[what].number == 0
    key = log.keys.reserved(what)
    assert 0 < int(await command(log.redis, "PTTL", key)) <= 10_000  # type: ignore[call-overload]
    tokens = await command(log.redis, "ZRANGE", key, 0, -1)
    assert isinstance(tokens, list)
    await commands(log.redis, [("ZADD", key, 1, token) for token in tokens])
    async with log.spread.reservations.reserved({what: Wanted(2, 2)}) as granted:
        assert granted[what].number == 2
    # One of a clock that was set back.
    await command(log.redis, "ZADD", key, 2**50, "somebody 1")
    async with log.spread.reservations.reserved({what: Wanted(2, 2)}) as granted:
        assert granted[what].number == 2


async def test_a_reservation_that_is_of_another_type_stops_nobody(log: Log) -> None:
    await command(log.redis, "SET", log.keys.reserved("running user ada"), "x")
    await set_limit(log, Limit("running", "user", "ada", 1))
    await log.submit(GRAPH, user="ada")
    assert len(await Producer(log, "r1").claim(most=2)) == 1


async def test_limits_and_pauses_are_copied_and_copies_are_repaired(log: Log) -> None:
    await set_limit(log, Limit("running", "user", "ada", 1))
    await set_limit(log, Limit("running", "user", "bob", 1))
    await remove_limit(log, "running", "user", "bob")
    await pause_queue(log, "default")
    await pause_queue(log, "other")
    await resume_queue(log, "other")
    keys = log.keys
    for partition in range(8):
        assert await read_hash(log.redis, keys.limits_at(partition)) == {b"running user ada": b"1"}
        assert set(await read_hash(log.redis, keys.paused_at(partition))) == {b"default"}
    assert await repair_copies(log) == 0
    await command(log.redis, "DEL", keys.limits_at(1), keys.paused_at(1))
    await command(log.redis, "HSET", keys.limits_at(2), "running user eve", "1")
    await command(log.redis, "SET", keys.limits_at(3), "not ours", "XX")
    await command(log.redis, "DEL", keys.limits_at(4))
    await command(log.redis, "SET", keys.limits_at(4), "not ours")
    assert await repair_copies(log) == 5
    assert await repair_copies(log) == 0
    for partition in range(8):
        assert await read_hash(log.redis, keys.limits_at(partition)) == {b"running user ada": b"1"}


async def test_the_clients_of_a_spread_namespace_repair_what_a_partition_missed(log: Log) -> None:
    await command(log.redis, "HSET", log.keys.paused(), "default", "{}")
    await log.submit(GRAPH)
    assert await Producer(log, "r1").claim() == []
