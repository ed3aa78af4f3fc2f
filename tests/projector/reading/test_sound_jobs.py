"""The look at many jobs finds all that are sound, and not one that is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest

from everfold.projector.job.invariants import Trace, check
from everfold.projector.job.overdue import MARGIN_S
from everfold.projector.reading.sound_jobs import not_sound
from everfold.projector.reading.verify import verify
from everfold.projector.reading.walk import Walk
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.events.codec import encode
from everfold.streams.events.event import Canceled, CancelRequested, Policy
from everfold.streams.reading.reader import partition_events
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import assert_projected, projecting
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
ENDED, WAITING, DELAYED = "ended", "waits", "later"
JOBS = [ENDED, WAITING, DELAYED]


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    """A namespace with a job that has ended, one that waits and one that is due later."""
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        async with projecting(log):
            await log.submit(GRAPH, job_id=ENDED, user="ada")
            await log.append(ENDED, Canceled(reason="done"), epoch=UNLEASED)
            await log.submit(GRAPH, job_id=WAITING, user="ada")
            await log.submit(GRAPH, job_id=DELAYED, delay_s=600.0)
            await assert_projected(log, JOBS)
        yield log


async def walks(log: Log) -> list[Walk]:
    found: dict[str, Walk] = {}
    async for record in partition_events(log, 0):
        walk = found.setdefault(record.job_id, Walk(Trace(job_id=record.job_id)))
        walk.trace, wrong = check(walk.trace, record)
        assert wrong == []
        walk.keep(record)
    return [*found.values()]


async def not_sound_of(log: Log, margin_s: float = MARGIN_S) -> list[str]:
    return [walk.trace.job_id for walk in await not_sound(log, 0, await walks(log), margin_s)]


async def test_jobs_that_are_sound_are_found_so(log: Log) -> None:
    assert await not_sound_of(log) == []


async def _set_head(log: Log, job_id: str, name: str, value: str) -> None:
    await command(log.redis, "HSET", log.keys.head(job_id), name, value)


async def _set_state(log: Log, job_id: str, name: str, value: str) -> None:
    await command(log.redis, "HSET", log.keys.jobs(0).job(job_id), name, value)


async def _lose_a_member(log: Log, job_id: str) -> None:
    assert await command(log.redis, "ZREM", log.keys.jobs(0).index(), f"#{job_id}") == 1


async def _change_its_entry(log: Log, job_id: str) -> None:
    await command(log.redis, "HSET", log.keys.jobs(0).indexed(), job_id, "o\nuser=bob")


async def _lose_its_entry(log: Log, job_id: str) -> None:
    assert await command(log.redis, "HDEL", log.keys.jobs(0).indexed(), job_id) == 1


async def _stand_in_later(log: Log, job_id: str) -> None:
    if not await command(log.redis, "ZADD", log.keys.later(0), 1, job_id):
        await command(log.redis, "ZREM", log.keys.later(0), job_id)


async def _stand_in_waiting(log: Log, job_id: str) -> None:
    key = log.keys.waiting(0, "default")
    if not await command(log.redis, "ZADD", key, 1, job_id):
        await command(log.redis, "ZREM", key, job_id)


async def _move_in_waiting(log: Log, job_id: str) -> None:
    await command(log.redis, "ZINCRBY", log.keys.waiting(0, "default"), 1, job_id)


async def _stand_in_dispatch(log: Log, job_id: str) -> None:
    key = log.keys.dispatch(0, "default", "normal")
    entry = await command(log.redis, "XADD", key, "*", "j", job_id)
    assert isinstance(entry, bytes)
    await _set_head(log, job_id, "dispatch", entry.decode())


async def _ask_for_its_end(log: Log, job_id: str) -> None:
    """An event that the walk has not seen: the head is ahead of it."""
    await log.append(job_id, CancelRequested(), epoch=UNLEASED)


async def _lose(log: Log, key: str) -> None:
    assert await command(log.redis, "DEL", key) == 1


Spoil = Callable[[Log, str], Awaitable[None]]
SPOILS: Mapping[str, Spoil] = {
    "seq of its head": lambda log, job: _set_head(log, job, "seq", "9"),
    "epoch of its head": lambda log, job: _set_head(log, job, "epoch", "4"),
    "last entry of its head": lambda log, job: _set_head(log, job, "last", "1-1"),
    "status of its head": lambda log, job: _set_head(log, job, "status", "failed"),
    "no head": lambda log, job: _lose(log, log.keys.head(job)),
    "a field of its state": lambda log, job: _set_state(log, job, "user", "bob"),
    "a state that cannot be read": lambda log, job: _set_state(log, job, "seq", "x"),
    "a member of the index": _lose_a_member,
    "its entry of the index": _change_its_entry,
    "no entry of the index": _lose_its_entry,
    "later": _stand_in_later,
    "waiting": _stand_in_waiting,
    "dispatch": _stand_in_dispatch,
}


@pytest.mark.parametrize("job_id", JOBS)
@pytest.mark.parametrize("name", SPOILS)
async def test_a_job_that_is_not_sound_is_found(log: Log, job_id: str, name: str) -> None:
    await SPOILS[name](log, job_id)
    assert await not_sound_of(log) == [job_id]


async def test_a_job_at_two_places_of_its_line_is_found(log: Log) -> None:
    await _move_in_waiting(log, WAITING)
    assert await not_sound_of(log) == [WAITING]


async def test_a_job_with_an_event_after_those_that_were_read_is_found(log: Log) -> None:
    read = await walks(log)
    await _ask_for_its_end(log, WAITING)
    assert [w.trace.job_id for w in await not_sound(log, 0, read, MARGIN_S)] == [WAITING]


async def test_a_job_whose_history_is_not_known_is_found(log: Log) -> None:
    read = [Walk(walk.trace) if walk.trace.job_id == ENDED else walk for walk in await walks(log)]
    assert [w.trace.job_id for w in await not_sound(log, 0, read, MARGIN_S)] == [ENDED]


async def test_a_job_past_its_bounds_is_found(log: Log) -> None:
    policy = Policy(queue_deadline_s=0.001, stop_within_s=0.001)
    await log.submit(GRAPH, job_id="late", policy=policy)
    assert await not_sound_of(log) == []

    async def is_late() -> bool:
        return await not_sound_of(log, margin_s=0.0) == ["late"]

    await eventually(is_late)


async def test_a_job_that_ends_twice_is_found(log: Log) -> None:
    """What follows its end looks like a job whose beginning was trimmed."""
    [read] = [walk for walk in await walks(log) if walk.trace.job_id == ENDED]
    assert len(await not_sound(log, 0, [read, read], MARGIN_S)) == 2
    payload = encode(Canceled(id="forged", reason="again"))
    fields = ("j", ENDED, "s", 7, "e", 0, "p", "5-5", "d", payload)
    await command(log.redis, "XADD", log.keys.log(0), "*", *fields)
    report = await verify(log)
    assert "expected seq 7, found seq 2" in " ".join(map(str, report.differences))


@pytest.mark.shared_layout
async def test_events_in_the_log_of_another_partition_are_found(
    redis_url: str, namespace: str
) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(8)]
        for job_id in jobs:
            await log.append(job_id, Canceled(reason="done"), epoch=UNLEASED)
        one, two = log.keys.log(0), log.keys.log(1)
        for key, other in ((one, f"{one}:swapped"), (two, one), (f"{one}:swapped", two)):
            await command(log.redis, "RENAME", key, other)
        report = await verify(log)
    assert {difference.job_id for difference in report.differences} == set(jobs)


async def test_an_index_that_is_not_complete_is_not_compared(log: Log) -> None:
    await command(log.redis, "HDEL", log.keys.projector(0), "indexes")
    for job_id in JOBS:
        await _change_its_entry(log, job_id)
    assert await not_sound_of(log) == []
