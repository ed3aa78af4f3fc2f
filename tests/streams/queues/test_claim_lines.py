"""Claims and looks in several partitions at once: one order, exact limits, and no partition suffers
from what is wrong with another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.errors import WrongKeyType
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.queues.limits import Limit, set_limit
from everfold.streams.queues.queue_control import pause_queue
from everfold.streams.queues.waiting_jobs import WaitingJob, WaitingPage, in_order, peek_pages
from everfold.streams.redis.each import each_together
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.rounds import Rounds
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
QUEUE = "default"


@pytest.fixture(params=[False, True], ids=["shared", "spread"])
async def log(redis_url: str, namespace: str, request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    spread = request.param
    async with Log.open(redis_url, namespace=namespace, partitions=8, spread=spread) as log:
        if not log.redis.is_one_server:
            pytest.skip("a call is of one server")
        yield log


async def submitted(log: Log, count: int, **more: str) -> list[str]:
    return [(await log.submit(GRAPH, **more)).job_id for _ in range(count)]  # type: ignore[arg-type]


async def waiting(log: Log, queue: str = QUEUE) -> list[WaitingJob]:
    pages = await peek_pages(log, dict.fromkeys(range(log.keys.partitions), 0), queue)
    return in_order(pages.values())


async def claimed(log: Log, jobs: list[WaitingJob]) -> list[str]:
    lines = [(job.partition, job.line, job.place) for job in jobs]
    return [lease.job_id for _, lease in await Dispatch(log, "r1").claim_lines(QUEUE, lines)]


async def test_one_look_shows_the_jobs_of_all_partitions_in_their_order(log: Log) -> None:
    jobs = await submitted(log, 40, user="ada")

    assert [job.job_id for job in await waiting(log)] == jobs


async def test_one_claim_takes_jobs_of_many_partitions_in_its_order(log: Log) -> None:
    jobs = await submitted(log, 40, user="ada")

    assert await claimed(log, (await waiting(log))[:30]) == jobs[:30]
    assert [job.job_id for job in await waiting(log)] == jobs[30:]


async def test_no_more_are_claimed_at_once_than_a_limit_allows(log: Log) -> None:
    jobs = await submitted(log, 20, user="ada")
    await set_limit(log, Limit("running", "user", "ada", 5))

    assert await claimed(log, await waiting(log)) == jobs[:5]
    assert await claimed(log, await waiting(log)) == []


async def test_nothing_of_a_paused_queue_is_shown_or_claimed(log: Log) -> None:
    await submitted(log, 20)
    seen = await waiting(log)
    await pause_queue(log, QUEUE)

    assert await waiting(log) == []
    assert await claimed(log, seen) == []


async def test_nothing_is_claimed_where_one_partition_is_broken_and_then_all_but_that(
    log: Log,
) -> None:
    jobs = await submitted(log, 40)
    seen = await waiting(log)
    broken = seen[0].partition
    await command(log.redis, "DEL", log.keys.lines(broken, QUEUE))
    await command(log.redis, "SET", log.keys.lines(broken, QUEUE), "x")

    with pytest.raises(WrongKeyType):
        await claimed(log, seen)
    with pytest.raises(WrongKeyType):
        await waiting(log)

    async def claim(partitions: Sequence[int]) -> dict[int, list[str]]:
        asked = [job for job in seen if job.partition in partitions]
        return dict.fromkeys(partitions, await claimed(log, asked))

    async with Rounds(log) as rounds:
        outcomes = await rounds.together(claim)
    found = {job_id for jobs_of_one in outcomes.values.values() for job_id in jobs_of_one}
    assert isinstance(outcomes.errors.pop(broken), WrongKeyType)
    assert not outcomes.errors
    assert found == {job.job_id for job in seen if job.partition != broken}
    assert found < set(jobs)


async def test_a_look_at_all_shows_the_rest_where_one_partition_is_broken(log: Log) -> None:
    await submitted(log, 40)
    await command(log.redis, "SET", log.keys.waiting(3, "other"), "x")

    async def look(partitions: Sequence[int]) -> dict[int, WaitingPage]:
        return await peek_pages(log, dict.fromkeys(partitions, 0), "other")

    outcomes = await each_together(log, look, range(8))

    assert sorted(outcomes.values) == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(outcomes.errors[3], WrongKeyType)


async def test_a_partition_that_failed_is_asked_by_itself_until_it_answers(log: Log) -> None:
    calls, broken = list[tuple[int, ...]](), {3}

    async def act(partitions: Sequence[int]) -> dict[int, int]:
        calls.append(tuple(partitions))
        if broken.intersection(partitions):
            raise WrongKeyType("of partition 3")
        return dict.fromkeys(partitions, 0)

    rest = tuple(partition for partition in range(8) if partition != 3)
    async with Rounds(log) as rounds:
        first = await rounds.together(act)
        assert sorted(calls[1:]) == [(partition,) for partition in range(8)]
        assert (sorted(first.values), sorted(first.errors)) == ([*rest], [3])
        for _ in range(2):
            calls.clear()
            assert (await rounds.together(act)).values.keys() >= {*rest}
            await eventually_equal(calls, [rest, (3,)])
            broken.clear()
        calls.clear()
        await rounds.together(act)
        assert calls == [tuple(range(8))]


async def eventually_equal(calls: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> None:
    async def is_so() -> bool:
        return sorted(calls) == sorted(wanted)

    await eventually(is_so)
