"""Appends that wait together travel together, and each caller gets its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import anyio
import pytest

from everfold.streams.appending.group_commit import BATCH_LIMIT, PER_JOB_LIMIT, GroupCommit, Outcome
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Appended
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import Fenced, JobUnknown, Unavailable, WrongKeyType
from everfold.streams.events.event import CancelRequested, Progressed, Rewound, Started
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.replicas import Replicas
from everfold.streams.redis.script import Script
from everfold.streams.redis.scripts import NewEvent
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


async def ask(log: Log, job_id: str, into: list[int] | None = None) -> None:
    appended = await log.append(job_id, Rewound(seen_seq=2, found_seq=1), epoch=0)
    if into is not None:
        into.append(appended.seq)


async def test_a_thousand_appends_at_once_are_gapless_and_each_has_its_own_place(log: Log) -> None:
    jobs = [(await log.submit(GRAPH)).job_id for _ in range(5)]
    places: dict[str, list[int]] = {job_id: [] for job_id in jobs}
    async with anyio.create_task_group() as tasks:
        for job_id in jobs:
            for _ in range(200):
                tasks.start_soon(ask, log, job_id, places[job_id])
    for job_id in jobs:
        assert sorted(places[job_id]) == list(range(2, 202))
        assert [r.seq for r in await job_events(log, job_id)] == list(range(1, 202))


@pytest.mark.one_server
async def test_appends_of_all_partitions_share_calls(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=8) as log:
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(40)]
        calls: list[int] = []
        run = Script.run_replicated

        async def counted(
            self: Script,
            redis: LedgerRedis,
            keys: Sequence[str],
            arguments: Sequence[Argument],
            replicas: Replicas,
        ) -> object:
            calls.append(len(keys) - 3)
            return await run(self, redis, keys, arguments, replicas)

        monkeypatch.setattr(Script, "run_replicated", counted)
        async with anyio.create_task_group() as tasks:
            for job_id in jobs:
                tasks.start_soon(ask, log, job_id)
        assert sum(calls) == len(jobs)
        assert len(calls) <= 2


@pytest.mark.one_server
async def test_a_broken_partition_is_the_outcome_of_its_own_appends_alone(
    redis_url: str, namespace: str
) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=8) as log:
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(40)]
        broken = log.keys.partition_of(jobs[0])
        await command(log.redis, "SET", log.keys.deadlines(broken), "x")
        found = await asyncio.gather(
            *(log.append(job_id, CancelRequested(), epoch=0) for job_id in jobs),
            return_exceptions=True,
        )
        for job_id, outcome in zip(jobs, found, strict=True):
            is_broken = log.keys.partition_of(job_id) == broken
            assert isinstance(outcome, WrongKeyType if is_broken else Appended)


async def test_one_refusal_in_a_batch_is_nobody_else_s(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    outcomes: list[str] = []

    async def attempt(job: str, epoch: int) -> None:
        try:
            await log.append(job, Started(attempt=1), epoch=epoch)
            outcomes.append("appended")
        except (Fenced, JobUnknown) as error:
            outcomes.append(type(error).__name__)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(attempt, job_id, 9)
            tasks.start_soon(attempt, "nobody", 0)
            tasks.start_soon(attempt, job_id, 0)
    assert {name: outcomes.count(name) for name in set(outcomes)} == {
        "Fenced": 10,
        "JobUnknown": 10,
        "appended": 10,
    }


@pytest.mark.parametrize("victim", range(6))
async def test_a_cancelled_caller_never_blocks_the_others(log: Log, victim: int) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    scopes = [anyio.CancelScope() for _ in range(6)]
    done: list[int] = []

    async def append(number: int) -> None:
        with scopes[number]:
            await ask(log, job_id)
            done.append(number)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(append, number)
            for _ in range(victim + 1):
                await anyio.lowlevel.checkpoint()
            scopes[victim].cancel()
        await ask(log, job_id)
    assert set(range(6)) - {victim} <= set(done)
    seqs = [record.seq for record in await job_events(log, job_id)]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("turns", range(1, 12))
@pytest.mark.parametrize("victim", [0, 1, 8])
async def test_asyncio_s_own_cancellation_blocks_nobody_either(
    log: Log, victim: int, turns: int
) -> None:
    # Web frameworks cancel like this, and no shield of anyio's holds it off.
    job_id = (await log.submit(GRAPH)).job_id
    with anyio.fail_after(10):
        tasks = [asyncio.create_task(ask(log, job_id)) for _ in range(10)]
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks[victim].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await ask(log, job_id)
    failed = [i for i, outcome in enumerate(outcomes) if outcome is not None]
    assert failed in ([], [victim])
    seqs = [record.seq for record in await job_events(log, job_id)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) in (11, 12)


async def test_a_repeated_batch_leaves_out_whom_was_cancelled_meanwhile() -> None:
    batches: list[list[str]] = []
    gates = [anyio.Event() for _ in range(3)]

    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        batches.append([event.event_id for event in events])
        number = len(batches)
        await gates[number - 1].wait()
        if number == 2:
            raise Unavailable("its reply was lost")
        return [Appended(int(event.event_id), "1-0") for event in events]

    def batch_is_sent(number: int) -> Callable[[], bool]:
        return lambda: len(batches) == number

    commit = GroupCommit(write, retry_for_s=9)
    events = [NewEvent(job_id="a", event_id=str(number), payload=b"") for number in range(7)]
    tasks = [asyncio.create_task(commit.append(events[0]))]
    await eventually(batch_is_sent(1))
    tasks += [asyncio.create_task(commit.append(event)) for event in events[1:]]
    await asyncio.sleep(0)
    tasks[6].cancel()
    await asyncio.sleep(0)
    gates[0].set()
    await eventually(batch_is_sent(2))
    for number in (3, 1):
        tasks[number].cancel()
    await asyncio.sleep(0)
    for gate in gates:
        gate.set()
    with anyio.fail_after(5):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert batches == [["0"], ["1", "2", "3", "4", "5"], ["2", "4", "5"]]
    assert [o.seq for o in outcomes if isinstance(o, Appended)] == [0, 2, 4, 5]


async def test_callers_that_are_cancelled_one_after_the_other_block_nobody(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    tasks = [asyncio.create_task(ask(log, job_id)) for _ in range(30)]
    with anyio.fail_after(10):
        for victim in tasks[:20]:
            await asyncio.sleep(0)
            victim.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await ask(log, job_id)
    assert outcomes[20:] == [None] * 10
    seqs = [record.seq for record in await job_events(log, job_id)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert 12 <= len(seqs) <= 32


async def test_the_time_to_retry_is_counted_from_each_caller_s_own_start() -> None:
    calls: list[int] = []

    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        calls.append(len(events))
        raise Unavailable("away")

    commit = GroupCommit(write, retry_for_s=0.3)
    ended_s: dict[str, float] = {}

    async def append(name: str) -> None:
        began_s = anyio.current_time()
        with pytest.raises(Unavailable):
            await commit.append(NewEvent(job_id=name, event_id=name, payload=b""))
        ended_s[name] = anyio.current_time() - began_s

    async with anyio.create_task_group() as tasks:
        tasks.cancel_scope.deadline = anyio.current_time() + 20
        tasks.start_soon(append, "first")
        await eventually(lambda: len(calls) >= 3)
        tasks.start_soon(append, "second")
    assert all(waited_s >= 0.3 for waited_s in ended_s.values()), ended_s


async def test_a_silent_server_is_waited_for_once_and_not_once_per_batch() -> None:
    batches: list[int] = []

    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        batches.append(len(events))
        await anyio.sleep(0.15)  # the time-out of a command
        raise Unavailable("silent")

    commit = GroupCommit(write, retry_for_s=0.1)
    events = [NewEvent(job_id="one", event_id=str(number), payload=b"") for number in range(100)]
    outcomes = await asyncio.gather(*map(commit.append, events), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 100
    assert batches == [PER_JOB_LIMIT]


async def test_appends_of_the_same_moment_travel_in_one_call() -> None:
    batches: list[int] = []

    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        batches.append(len(events))
        await anyio.lowlevel.checkpoint()
        return [Appended(1, "1-0") for _ in events]

    commit = GroupCommit(write, retry_for_s=1)

    async def append_twice(job_id: str) -> None:
        for number in range(2):
            await commit.append(NewEvent(job_id=job_id, event_id=str(number), payload=b""))

    async with anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(append_twice, f"job-{number}")
    assert batches == [60, 60]


@pytest.mark.parametrize("after", ["before the call", "during the call"])
async def test_the_first_caller_may_be_cancelled_and_the_others_are_served(after: str) -> None:
    sent = anyio.Event()

    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        sent.set()
        await anyio.sleep(0.01)
        return [Appended(int(event.event_id), "1-0") for event in events]

    commit = GroupCommit(write, retry_for_s=1)
    events = [NewEvent(job_id=str(n), event_id=str(n), payload=b"") for n in range(3)]
    tasks = [asyncio.create_task(commit.append(event)) for event in events]
    await asyncio.sleep(0)
    if after == "during the call":
        await sent.wait()
    tasks[0].cancel()
    with anyio.fail_after(5):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert (await commit.append(events[1])).seq == 1
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert [o.seq for o in outcomes[1:] if isinstance(o, Appended)] == [1, 2]


@pytest.mark.parametrize("limit", [BATCH_LIMIT, PER_JOB_LIMIT])
async def test_a_batch_has_its_limits(limit: int) -> None:
    batches: list[list[str]] = []

    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        batches.append([event.job_id for event in events])
        await anyio.lowlevel.checkpoint()
        return [Appended(1, "1-0") for _ in events]

    commit = GroupCommit(write, retry_for_s=1)
    async with anyio.create_task_group() as tasks:
        for number in range(3 * limit):
            job_id = "one" if limit == PER_JOB_LIMIT else f"job-{number}"
            new = NewEvent(job_id=job_id, event_id=str(number), payload=b"")
            tasks.start_soon(commit.append, new)
    assert sum(map(len, batches)) == 3 * limit
    assert max(map(len, batches)) == limit


async def test_what_nobody_foresaw_reaches_every_caller() -> None:
    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        await anyio.lowlevel.checkpoint()
        raise ZeroDivisionError

    commit = GroupCommit(write, retry_for_s=1)
    for _ in range(2):
        outcomes = await asyncio.gather(
            *(commit.append(NewEvent(job_id="a", event_id="b", payload=b"")) for _ in range(20)),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 20


async def test_many_progress_events_of_one_job_keep_their_order(log: Log) -> None:
    await log.submit(GRAPH)
    [lease] = await Producer(log, "r").claim()
    async with anyio.create_task_group() as tasks:
        for step in range(50):
            event = Progressed(attempt=1, value=step / 100, nodes_done=step, nodes_total=50)
            tasks.start_soon(partial(log.append, lease.job_id, event, epoch=lease.epoch))
    steps = [r.event.nodes_done for r in await job_events(log, lease.job_id, 2)]  # type: ignore[union-attr]
    assert steps == list(range(50))
