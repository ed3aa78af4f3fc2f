"""How many calls carry the appends of one moment: one while few wait, two while many do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
import pytest

from everfold.streams.appending.group_commit import CALLS, MANY, GroupCommit, Outcome
from everfold.streams.appending.outcomes import Appended
from everfold.streams.redis.scripts import NewEvent
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_while_many_wait_there_are_two_calls_and_no_job_is_in_both() -> None:
    under_way: list[set[str]] = []
    most, written = 0, dict[str, list[str]]()

    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        nonlocal most
        jobs = {event.job_id for event in events}
        assert not any(jobs & others for others in under_way)
        under_way.append(jobs)
        most = max(most, len(under_way))
        await anyio.sleep(0.001)
        under_way.remove(jobs)
        for event in events:
            written.setdefault(event.job_id, []).append(event.event_id)
        return [Appended(1, "1-0") for _ in events]

    commit = GroupCommit(write, retry_for_s=1)
    jobs, numbers = [f"job-{number}" for number in range(4 * MANY)], list("012345")
    sent = [(job, number) for number in numbers for job in jobs]
    events = [NewEvent(job_id=job, event_id=number, payload=b"") for job, number in sent]
    await asyncio.gather(*map(commit.append, events))
    assert written == dict.fromkeys(jobs, numbers)
    assert most == CALLS


@pytest.mark.parametrize(("count", "calls_at_once"), [(10, 1), (4 * MANY, CALLS)])
async def test_few_wait_for_the_call_in_flight_and_travel_together(
    count: int, calls_at_once: int
) -> None:
    calls: list[int] = []
    gate = anyio.Event()

    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        calls.append(len(events))
        await gate.wait()
        return [Appended(1, "1-0") for _ in events]

    commit = GroupCommit(write, retry_for_s=1)
    events = [NewEvent(job_id=str(n), event_id=str(n), payload=b"") for n in range(1 + count)]
    sent = [commit.append_soon(events[0])]
    await eventually(lambda: calls == [1])
    sent += [commit.append_soon(event) for event in events[1:]]
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(calls) == calls_at_once
    gate.set()
    await asyncio.gather(*sent)
    assert sum(calls) == 1 + count
    assert len(calls) <= 3


async def test_whoever_a_reply_wakes_travels_with_the_others() -> None:
    calls: list[int] = []

    async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
        calls.append(len(events))
        await anyio.sleep(0.001)
        return [Appended(1, "1-0") for _ in events]

    commit = GroupCommit(write, retry_for_s=1)

    async def append(job_id: str, turns: int) -> None:
        for number in range(3):
            await commit.append(NewEvent(job_id=job_id, event_id=str(number), payload=b""))
            for _ in range(turns):
                await asyncio.sleep(0)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(append, f"job-{number}", number % 4)
    assert calls == [8, 8, 8]
