"""The checker sees what is wrong, and nothing else: a checker that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest
from hypothesis import given

from projector.invariants import Trace, check
from projector.projector import Projector
from projector.verify import Report, verify
from streams.border import command
from streams.codec import encode
from streams.events import Event, Lost, Progressed, Started, Submitting, Succeeded
from streams.log import Log
from streams.outcomes import Lease
from streams.producer import Producer
from tests.support.histories import SUBMITTED, histories, records_of

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


def invariants_broken(events: list[Event], spoil: int | None = None, **fields: object) -> set[int]:
    trace, found = Trace(job_id="job"), set[int]()
    for index, record in enumerate(records_of(events)):
        if index == spoil:
            record = type(record)(**{**_values(record), **fields})  # type: ignore[arg-type]
        trace, differences = check(trace, record)
        found |= {difference.invariant for difference in differences}
    return found


def _values(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}  # type: ignore[attr-defined]


@given(histories())
def test_sequence_ends_and_epochs_of_a_sensible_history_are_sound(events: list[Event]) -> None:
    assert not invariants_broken(events) & {1, 2, 3}


def begin(number: int) -> Submitting:
    return Submitting(attempt=number, backend="b", boot="m", prompt_id="p", client_id="c")


LOST = Lost(attempt=1, backend="b", cause="never_arrived")
SOUND: list[Event] = [SUBMITTED, begin(1), Started(attempt=1), LOST, begin(2), Started(attempt=2)]


def test_each_broken_law_is_named_by_its_number() -> None:
    assert invariants_broken(SOUND) == set()
    assert invariants_broken(SOUND, 3, seq=5) == {1}
    assert invariants_broken(SOUND, 3, previous="7-7") == {1}
    assert invariants_broken(SOUND, 2, epoch=9) == {3}
    assert invariants_broken([*SOUND, Succeeded(attempt=2, outputs={}), Started(attempt=2)]) == {2}
    assert invariants_broken([SUBMITTED, begin(1), begin(2)]) == {6}
    assert invariants_broken([SUBMITTED, begin(1), LOST, begin(1)]) == {6}
    assert invariants_broken([SUBMITTED, begin(1), LOST, begin(3)]) == {6}


async def scene(log: Log) -> list[Lease]:
    """Two running jobs, one that waits, one that has ended."""
    for _ in range(4):
        await log.submit(GRAPH)
    producer = Producer(log, "r")
    leases = await producer.claim(most=3)
    for lease in leases:
        await producer.append(lease, begin(1))
    await producer.finish(leases[2], Succeeded(attempt=1, outputs={}))
    return leases


async def test_a_sound_namespace_is_called_sound_while_it_changes(log: Log) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "p").run)
        leases = await scene(log)

        async def change() -> None:
            for step in range(300):
                event = Progressed(attempt=1, value=step / 300, nodes_done=0, nodes_total=1)
                await log.append(leases[0].job_id, event, epoch=leases[0].epoch)

        tasks.start_soon(change)
        for _ in range(5):
            report = await verify(log)
            assert report.differences == []
            assert (report.jobs, report.open_jobs) == (4, 3)
        tasks.cancel_scope.cancel()


Spoil = Callable[[Log, list[Lease]], Awaitable[object]]


async def _forge_event(log: Log, leases: list[Lease]) -> None:
    forged = encode(Started(attempt=1))
    entry = ("j", leases[2].job_id, "s", 9, "e", 0, "p", "0-0", "d", forged)
    await command(log.redis, "XADD", log.keys.log(0), "*", *entry)


async def _lose_dispatch_entry(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "XDEL", log.keys.dispatch(0, "default", "normal"), leases[0].ticket)


async def _add_dispatch_entry(log: Log, leases: list[Lease]) -> None:
    key = log.keys.dispatch(0, "default", "normal")
    await command(log.redis, "XADD", key, "*", "j", leases[2].job_id)


async def _change_head(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "HSET", log.keys.head(leases[0].job_id), "seq", 99)


async def _change_state(log: Log, leases: list[Lease]) -> None:
    fields = ("job_id", leases[0].job_id, "seq", 3, "status", "failed")
    await command(log.redis, "HSET", log.keys.job(leases[0].job_id), *fields)


async def _also_wait_for_later(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "ZADD", log.keys.later(0), 9_999_999_999_999, leases[1].job_id)


SPOILS: dict[str, tuple[Spoil, int]] = {
    "an event after the end": (_forge_event, 2),
    "an open job without a dispatch entry": (_lose_dispatch_entry, 5),
    "a closed job in dispatch": (_add_dispatch_entry, 5),
    "a guard ahead of the log": (_change_head, 1),
    "a state that is not the fold": (_change_state, 4),
    "a job in two places": (_also_wait_for_later, 5),
}


@pytest.mark.parametrize("name", SPOILS)
async def test_what_was_spoiled_is_found_and_named(log: Log, name: str) -> None:
    spoil, invariant = SPOILS[name]
    leases = await scene(log)
    before: Report = await verify(log)
    assert before.is_sound
    await spoil(log, leases)
    report = await verify(log)
    assert invariant in {difference.invariant for difference in report.differences}
    named = {difference.job_id for difference in report.differences}
    assert named <= {lease.job_id for lease in leases}
    assert all("expected" in str(difference) for difference in report.differences)
