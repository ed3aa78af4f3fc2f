"""Watching: every state once, in order, across slow watchers and restarts of the server."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import pytest

from everfold.projector.job.job import Job
from everfold.projector.reading import watching
from everfold.projector.reading.watching import Watcher
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.errors import BrokenChain, JobUnknown
from everfold.streams.events.event import Canceled, Progressed, Rewound, Started, Succeeded
from everfold.streams.events.record import Recorded
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import end, make_jobs, projecting, work
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


async def tell_all(log: Log, job_id: str, steps: int = 20) -> None:
    producer = Producer(log, "r")
    [lease] = await producer.claim()
    assert lease.job_id == job_id
    await producer.append(lease, Started(attempt=1))
    for step in range(steps):
        await producer.append(
            lease, Progressed(attempt=1, value=step / steps, nodes_done=0, nodes_total=1)
        )
    await producer.finish(lease, Succeeded(attempt=1, outputs={}))


async def collect(watcher: Watcher, job_id: str, into: list[Job], after_seq: int = 0) -> None:
    async for job in watcher.watch(job_id, after_seq):
        into += [job]


async def test_each_state_comes_once_and_in_order_to_every_watcher(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    seen: list[list[Job]] = [[], [], []]
    async with Watcher(log) as watcher, anyio.create_task_group() as tasks:
        for states in seen:
            tasks.start_soon(collect, watcher, job_id, states)
        await tell_all(log, job_id)
    for states in seen:
        assert [job.seq for job in states] == list(range(1, 25))
        assert states[-1].status == "succeeded"


async def test_watches_of_one_job_share_what_one_of_them_reads(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    reads = 0

    async def counted(*of: Any, **more: Any) -> list[Recorded]:
        nonlocal reads
        reads += 1
        return await job_events(*of, **more)

    monkeypatch.setattr(watching, "job_events", counted)
    seen: list[list[Job]] = [[] for _ in range(20)]
    async with Watcher(log) as watcher, anyio.create_task_group() as tasks:
        for states in seen:
            tasks.start_soon(collect, watcher, job_id, states)
        await eventually(lambda: all(seen))
        await anyio.wait_all_tasks_blocked()
        before = reads
        await tell_all(log, job_id, steps=5)
    assert [[job.seq for job in states] for states in seen] == [list(range(1, 10))] * 20
    assert reads - before <= 2 * 8  # one read for each event that is told, or two


async def test_a_state_is_its_callers_own(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    seen: list[list[Job]] = [[] for _ in range(5)]
    async with Watcher(log) as watcher, anyio.create_task_group() as tasks:
        for states in seen:
            tasks.start_soon(collect, watcher, job_id, states)
        await eventually(lambda: all(seen))
        producer = Producer(log, "r")
        [lease] = await producer.claim()
        await producer.finish(lease, Succeeded(attempt=0, outputs={"9": {"text": ["a"]}}))
    for states in seen:
        assert states[-1].outputs == {"9": {"text": ["a"]}}
        cast("dict[str, Any]", states[-1].outputs)["9"] = "changed"


async def test_a_watch_that_is_cancelled_while_it_reads_for_others_holds_none_up(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    reads, reading, reader = 0, anyio.Event(), 0

    async def held(*of: Any, **more: Any) -> list[Recorded]:
        nonlocal reads, reader
        reads += 1
        if reads == 7:  # after three histories, and a first read of each
            reader = anyio.get_current_task().id
            reading.set()
            await anyio.sleep_forever()
        return await job_events(*of, **more)

    monkeypatch.setattr(watching, "job_events", held)
    seen, scopes = dict[int, list[Job]](), dict[int, anyio.CancelScope]()

    async def collect_until_cancelled() -> None:
        task = anyio.get_current_task().id
        states = seen[task] = []
        with anyio.CancelScope() as scopes[task]:
            await collect(watcher, job_id, states)

    async with Watcher(log) as watcher, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(collect_until_cancelled)
        await eventually(lambda: len(seen) == 3 and all(seen.values()))
        tasks.start_soon(tell_all, log, job_id, 5)
        await reading.wait()
        await anyio.wait_all_tasks_blocked()
        scopes[reader].cancel()
    assert [job.seq for job in seen.pop(reader)] == [1]
    assert [[job.seq for job in states] for states in seen.values()] == [list(range(1, 10))] * 2


async def test_a_watch_resumes_at_a_sequence_number(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    await tell_all(log, job_id)
    states: list[Job] = []
    async with Watcher(log) as watcher:
        await collect(watcher, job_id, states, after_seq=20)
        assert [job.seq for job in states] == [21, 22, 23, 24]
        nothing: list[Job] = []
        await collect(watcher, job_id, nothing, after_seq=24)
        assert nothing == []


async def test_what_was_seen_already_is_not_shown_even_if_it_is_yet_to_come(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    states: list[Job] = []
    async with Watcher(log) as watcher, anyio.create_task_group() as tasks:
        tasks.start_soon(collect, watcher, job_id, states, 22)
        await tell_all(log, job_id)
    assert [job.seq for job in states] == [23, 24]


async def test_a_watcher_that_takes_its_time_makes_nobody_wait_and_misses_nothing(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    quick: list[Job] = []
    async with Watcher(log) as watcher:
        slow = watcher.watch(job_id)
        assert (await anext(slow)).seq == 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, watcher, job_id, quick)
            await tell_all(log, job_id)
        assert len(quick) == 24
        assert [job.seq async for job in slow] == list(range(2, 25))


async def test_a_history_that_cannot_be_read_on_is_told_as_such(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    await tell_all(log, job_id, steps=2)
    events = await job_events(log, job_id)
    key = log.keys.log(log.keys.partition_of(job_id))
    await command(log.redis, "XTRIM", key, "MINID", events[2].entry_id)
    async with Watcher(log) as watcher:
        with pytest.raises(BrokenChain):
            await collect(watcher, job_id, [])


async def test_a_watch_has_no_gap_across_a_restart_of_the_server(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="watch", partitions=1) as log:
        job_id = (await log.submit(GRAPH)).job_id
        states: list[Job] = []
        async with Watcher(log) as watcher, anyio.create_task_group() as tasks:
            tasks.start_soon(collect, watcher, job_id, states)
            await anyio.to_thread.run_sync(server.restart, signal.SIGKILL)
            await tell_all(log, job_id)
        assert [job.seq for job in states] == list(range(1, 25))


async def test_waiting_ends_with_the_job_or_with_the_time(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    async with Watcher(log) as watcher:
        with pytest.raises(TimeoutError):
            await watcher.wait(job_id, timeout_s=0.2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell_all, log, job_id)
            assert (await watcher.wait(job_id, timeout_s=20)).status == "succeeded"
        with pytest.raises(JobUnknown):
            await watcher.wait("nobody", timeout_s=5)


async def test_a_watcher_sees_every_state_while_projectors_come_and_go(log: Log) -> None:
    [job_id] = await make_jobs(log, 1)
    seen: list[int] = []

    async def watch() -> None:
        async with Watcher(log) as watcher:
            seen.extend([job.seq async for job in watcher.watch(job_id, after_seq=1)])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        async with projecting(log):
            [lease] = await work(log, finish=False)
        async with projecting(log):
            await end(log, lease)
    assert seen == list(range(2, 11))


async def test_a_watch_from_beyond_what_the_server_has_kept_begins_again(log: Log) -> None:
    [job_id] = await make_jobs(log, 1)
    await log.append(job_id, Rewound(seen_seq=18, found_seq=1), epoch=0)
    await log.append(job_id, Canceled(), epoch=UNLEASED)
    async with Watcher(log) as watcher:
        states: list[Job] = []
        await collect(watcher, job_id, states, after_seq=18)
    assert states[-1].is_terminal
