"""Whatever happens in whatever order, the projection is the fold of the log.

Schedules are drawn: appends, reads, commits, deaths before and after a commit, stalls, take-overs,
redelivery, expired states. Afterwards one owner catches up, and an oracle that shares no line with
the product says what must be stored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everfold.projector.job.state import from_fields
from everfold.streams.appending.log import Log
from everfold.streams.events.event import Claimed, Event
from everfold.streams.redis.redis_errors import command, read_hash
from tests.projector.assignment.actors import PARTITION, Owner, Writer, deliver_all_again
from tests.projector.oracle import shown, state_of
from tests.support.histories import SUBMITTED, histories

STEPS = (
    *("append",) * 4,
    *("work",) * 4,
    *("read", "commit", "take", "start_over", "die"),
    *("deliver_again", "expire", "expire"),
)
SCHEDULES = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), min_size=10, max_size=60)

Play = Callable[[int], Awaitable[None]]


async def play(
    redis_url: str, stories: list[list[Event]], schedule: Sequence[tuple[str, int]]
) -> None:
    async with Log.open(redis_url, namespace=f"test-{uuid4().hex[:8]}", partitions=1) as log:
        writer, owners = Writer(log, stories), [Owner(log, "a"), Owner(log, "b")]
        expired = set[str]()
        try:
            for step, number in schedule:
                await _moves(log, writer, owners[number > 3], expired)[step](number)
            await writer.append_all()
            await _catch_up(owners[0])
            await _check(log, writer, expired)
        finally:
            for owner in owners:
                await owner.aclose()


def _moves(log: Log, writer: Writer, owner: Owner, expired: set[str]) -> dict[str, Play]:
    async def expire(number: int) -> None:
        job_id = writer.jobs[number % len(writer.jobs)]
        expired.add(job_id)
        await command(log.redis, "DEL", log.keys.job(job_id))

    return {
        "append": writer.append,
        "work": owner.work,
        "read": lambda number: owner.read(number + 1),
        "commit": lambda _: owner.commit(),
        "take": lambda _: owner.take(),
        "start_over": lambda _: owner.start_over(),
        "die": lambda _: owner.die(),
        "deliver_again": lambda _: deliver_all_again(log),
        "expire": expire,
    }


async def _catch_up(owner: Owner) -> None:
    await owner.take()
    await owner.start_over()
    await owner.read(10_000)
    await owner.commit()


async def _check(log: Log, writer: Writer, expired: set[str]) -> None:
    active = await _members(log, log.keys.active(PARTITION))
    ended = await _members(log, log.keys.ended(PARTITION))
    for job_id, told in writer.told.items():
        stored = from_fields(await read_hash(log.redis, log.keys.job(job_id)))
        if stored is None:
            assert job_id in expired
            continue
        expected = state_of(told)
        seen = shown(stored)
        assert {name: seen[name] for name in expected} == expected
        assert (job_id in active, job_id in ended) == (not stored.is_terminal, stored.is_terminal)
    summary = await command(log.redis, "XPENDING", log.keys.log(PARTITION), "projector")
    assert summary[0] == 0  # type: ignore[index]


async def _members(log: Log, key: str) -> set[str]:
    return {name.decode() for name in await command(log.redis, "ZRANGE", key, 0, -1)}  # type: ignore[attr-defined]


@pytest.mark.slow
def test_any_interleaving_leaves_the_fold_of_the_log(redis_url: str, full_length: bool) -> None:
    @settings(
        max_examples=500 if full_length else 60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(st.lists(histories(), min_size=1, max_size=4), SCHEDULES)
    def run(stories: list[list[Event]], schedule: list[tuple[str, int]]) -> None:
        anyio.run(play, redis_url, stories, schedule)

    run()


@pytest.mark.anyio
async def test_the_check_itself_sees_a_state_that_is_not_the_fold(redis_url: str) -> None:
    async with Log.open(redis_url, namespace=f"test-{uuid4().hex[:8]}", partitions=1) as log:
        owner, writer = Owner(log, "a"), Writer(log, [[SUBMITTED, Claimed(owner="r1")]])
        await writer.append_all()
        await _catch_up(owner)
        await _check(log, writer, set())
        await command(log.redis, "HSET", log.keys.job(writer.jobs[0]), "retried", 7)
        with pytest.raises(AssertionError):
            await _check(log, writer, set())
        await owner.aclose()
