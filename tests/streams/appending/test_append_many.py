"""Many events at once: each has an answer of its own, and a repeat counts once.

Rule: what one event or one job has to fear is nobody else's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from everfold.streams.appending.group_commit import PER_JOB_LIMIT
from everfold.streams.appending.log import Log
from everfold.streams.appending.many import appends
from everfold.streams.appending.outcomes import Appended, Lease
from everfold.streams.errors import Fenced, JobClosed, Refused
from everfold.streams.events.event import Event, Progressed, Succeeded
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import job_events

pytestmark = [pytest.mark.anyio, pytest.mark.server]

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
JOBS = 5


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=3) as log:
        yield log


async def held(log: Log) -> tuple[Producer, list[Lease]]:
    for _ in range(JOBS):
        await log.submit(GRAPH)
    producer = Producer(log, "r1")
    return producer, await producer.claim(JOBS)


def step(log: Log, number: int) -> Event:
    return log.stamp(Progressed(attempt=1, value=0.5, nodes_done=1, nodes_total=2, step=number))


async def test_each_event_of_many_jobs_has_its_place_and_a_repeat_finds_it(log: Log) -> None:
    producer, leases = await held(log)
    count = 3 * PER_JOB_LIMIT + 1
    given = [(lease, step(log, number)) for number in range(count) for lease in leases]

    first = await producer.append_many(given)
    again = await producer.append_many(given)

    for index, lease in enumerate(leases):
        mine = [one for one in first[index::JOBS] if isinstance(one, Appended)]
        assert [one.seq for one in mine] == list(range(3, 3 + count))
        told = [one.event for one in await job_events(log, lease.job_id)][2:]
        assert [one.step for one in told if isinstance(one, Progressed)] == list(range(count))
    places = [(one.seq, one.entry_id) for one in first if isinstance(one, Appended)]
    assert [(one.seq, one.entry_id) for one in again if isinstance(one, Appended)] == places
    assert all(isinstance(one, Appended) and one.duplicate for one in again)


async def test_what_one_event_is_refused_for_stops_no_other(log: Log) -> None:
    producer, (fenced, ended, wrong, *others) = await held(log)
    await producer.finish(ended, Succeeded(attempt=1, outputs={}))
    old = replace(fenced, runner="r2")
    unreadable = Progressed(attempt=1, value=float("nan"), nodes_done=1, nodes_total=2)

    outcomes = await producer.append_many(
        [
            (old, step(log, 1)),
            (ended, step(log, 1)),
            (wrong, unreadable),
            *((lease, step(log, 1)) for lease in (fenced, wrong, *others)),
        ]
    )

    assert [type(one) for one in outcomes[:2]] == [Fenced, JobClosed]
    assert isinstance(outcomes[2], Refused)
    assert [one.seq for one in outcomes[3:] if isinstance(one, Appended)] == [3] * 4


async def test_an_end_among_many_closes_the_job_for_what_follows(log: Log) -> None:
    producer, (lease, *_) = await held(log)
    done = Succeeded(attempt=1, outputs={})

    outcomes = await producer.append_many(
        [(lease, step(log, 1)), (lease, step(log, 2)), (lease, done), (lease, step(log, 3))]
    )

    assert [one.seq for one in outcomes if isinstance(one, Appended)] == [3, 4, 5]
    assert isinstance(outcomes[3], JobClosed)
    kinds = [type(one.event) for one in await job_events(log, lease.job_id)][2:]
    assert kinds == [Progressed, Progressed, Succeeded]


async def test_the_same_event_twice_in_one_call_is_stored_once(log: Log) -> None:
    producer, (lease, *_) = await held(log)
    one, other = step(log, 1), step(log, 2)

    outcomes = await producer.append_many([(lease, one), (lease, other), (lease, one)])

    assert [made.seq for made in outcomes if isinstance(made, Appended)] == [3, 4, 3]
    assert isinstance(outcomes[2], Appended)
    assert outcomes[2].duplicate


async def test_more_than_are_encoded_in_one_turn_leave_turns_to_others(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appends, "SLICE", 10)
    producer, leases = await held(log)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        outcomes = await producer.append_many((leases[0], step(log, n)) for n in range(200))
        tasks.cancel_scope.cancel()
    assert [one.seq for one in outcomes if isinstance(one, Appended)] == list(range(3, 203))
    assert turns >= 20


async def test_none_at_all_is_nothing_to_do(log: Log) -> None:
    assert await Producer(log, "r1").append_many([]) == []
