"""The order of waiting jobs: first in, first out for one user, fair between users."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from random import Random

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import (
    InvalidName,
    JobClosed,
    JobLeased,
    JobUnknown,
    QueueFull,
)
from everfold.streams.events.event import Canceled, Failure, Retried, Succeeded
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.producer import Producer
from everfold.streams.queues.limits import Limit, limits, remove_limit, set_limit
from everfold.streams.queues.queue_control import (
    change_priority,
    pause_queue,
    paused_queues,
    resume_queue,
)
from everfold.streams.queues.waiting_jobs import in_order, peek_all, position, queue_length
from everfold.streams.redis.keys import PRIORITIES
from everfold.streams.redis.redis_errors import command

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
OTHER = {"1": {"class_type": "LoadImage", "inputs": {}}}
DONE = Succeeded(attempt=1, outputs={})


@pytest.fixture(params=[False, True], ids=["shared", "spread"])
async def log(redis_url: str, namespace: str, request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    spread = request.param
    async with Log.open(redis_url, namespace=namespace, partitions=8, spread=spread) as log:
        yield log


async def submit(log: Log, user: str = "", **more: str) -> str:
    return (await log.submit(GRAPH, user=user, **more)).job_id  # type: ignore[arg-type]


async def taken(log: Log, count: int) -> list[str]:
    """Take jobs one by one, as a runner with one slot does; return them in that order."""
    producer, order = Producer(log, "r1"), list[str]()
    for _ in range(count):
        leases = await producer.claim()
        for lease in leases:
            order.append(lease.job_id)
            await producer.finish(lease, DONE)
    return order


async def test_one_user_s_jobs_are_taken_in_the_order_of_their_submits(log: Log) -> None:
    jobs = [await submit(log, "ada") for _ in range(60)]
    assert await taken(log, 60) == jobs


async def test_many_users_with_one_job_each_are_served_as_they_came(log: Log) -> None:
    jobs = [await submit(log, f"user-{number}") for number in range(60)]
    assert await taken(log, 60) == jobs


async def test_another_user_s_job_is_the_second_behind_forty_of_one(log: Log) -> None:
    of_ada = [await submit(log, "ada") for _ in range(40)]
    of_bob = await submit(log, "bob")
    order = await taken(log, 41)
    assert order == [of_ada[0], of_bob, *of_ada[1:]]


async def test_who_worked_alone_for_long_is_not_behind_who_comes_later(log: Log) -> None:
    for _ in range(40):
        await submit(log, "ada")
    await taken(log, 40)
    first = [await submit(log, user) for user in ("ada", "bob", "ada", "bob")]
    order = await taken(log, 4)
    assert set(order[:2]) == set(first[:2])


async def test_shares_decide_how_often_a_user_is_served(log: Log) -> None:
    await set_limit(log, Limit("share", "user", "ada", 3))
    users = {await submit(log, user): user for _ in range(24) for user in ("ada", "bob")}
    order = [users[job_id] for job_id in await taken(log, 24)]
    assert 17 <= order.count("ada") <= 19


async def test_urgent_jobs_are_never_overtaken_by_others(log: Log) -> None:
    random = Random(5)
    jobs = {
        await submit(log, random.choice("abc"), priority=priority): PRIORITIES.index(priority)
        for priority in random.choices(PRIORITIES, k=60)
    }
    order = [jobs[job_id] for job_id in await taken(log, 60)]
    assert order == sorted(order)


async def test_a_retried_job_keeps_its_place(log: Log) -> None:
    jobs = [await submit(log) for _ in range(6)]
    producer = Producer(log, "r1")
    first, second = [(await producer.claim())[0] for _ in range(2)]
    failure = Failure(code="out_of_memory", message="")
    await producer.release(first, Retried(attempt=1, failure=failure, not_before_ms=1))
    await producer.finish(second, DONE)
    assert await taken(log, 5) == [jobs[0], *jobs[2:]]


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_comes_no_user_waits_longer_than_a_fair_share(log: Log, seed: int) -> None:
    """Between two turns of a user who has jobs waiting, no other user has more than two."""
    random = Random(seed)
    users, waiting = "abcd", dict[str, list[str]]()
    of_job: dict[str, str] = {}
    since: dict[str, dict[str, int]] = {user: {} for user in users}
    producer = Producer(log, "r1")
    for _ in range(160):
        if random.random() < 0.55:
            user = random.choices(users, (8, 2, 1, 1))[0]
            for _ in range(random.choice((1, 1, 6))):
                job_id = await submit(log, user)
                of_job[job_id] = user
                if not waiting.setdefault(user, []):
                    since[user] = {}
                waiting[user].append(job_id)
        elif leases := await producer.claim():
            user = of_job[leases[0].job_id]
            assert waiting[user].pop(0) == leases[0].job_id  # first in, first out
            since[user] = {}
            for other in users:
                if other != user and waiting.get(other):
                    since[other][user] = since[other].get(user, 0) + 1
                    assert since[other][user] <= 2, (seed, other, user)
            await producer.finish(leases[0], DONE)


async def test_several_runners_displace_no_job_by_more_than_their_slots(log: Log) -> None:
    jobs = [await submit(log) for _ in range(60)]
    producers = [Producer(log, f"r{number}") for number in range(3)]
    order: list[str] = []
    while len(order) < 60:
        for producer in producers:
            for lease in await producer.claim(most=2):
                order.append(lease.job_id)
                await producer.finish(lease, DONE)
    assert max(abs(order.index(job_id) - place) for place, job_id in enumerate(jobs)) <= 6


async def test_so_do_runners_that_look_at_the_same_moment(log: Log) -> None:
    jobs = [await submit(log) for _ in range(120)]
    order: list[str] = []

    async def work(name: str) -> None:
        producer = Producer(log, name)
        while leases := await producer.claim(most=2):
            order.extend(lease.job_id for lease in leases)
            for lease in leases:
                await producer.finish(lease, DONE)

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(work, f"r{number}")
    assert sorted(order) == sorted(jobs)
    assert max(abs(order.index(job_id) - place) for place, job_id in enumerate(jobs)) <= 6


# Positions.


async def test_the_position_of_a_job_is_how_many_stand_before_it(log: Log) -> None:
    jobs = [await submit(log, random) for random in "aaabbacab"]
    urgent = await submit(log, priority="high")
    order = in_order(await peek_all(log, range(8), "default"))
    assert next(job.job_id for job in order) == urgent
    for place, job in enumerate(order):
        assert await position(log, job.job_id) == place
    assert await queue_length(log, "default") == len(jobs) + 1
    assert await taken(log, 10) == [job.job_id for job in order]
    assert await position(log, jobs[0]) is None
    assert await position(log, "nobody") is None


# Priorities, pauses.


async def test_a_waiting_job_gets_another_priority(log: Log) -> None:
    first, second = await submit(log), await submit(log)
    assert await change_priority(log, second, "high") == "normal"
    assert await change_priority(log, second, "high") == "high"
    assert await position(log, second) == 0
    assert await taken(log, 2) == [second, first]
    with pytest.raises(JobClosed):
        await change_priority(log, first, "low")
    with pytest.raises(JobUnknown):
        await change_priority(log, "nobody", "low")
    with pytest.raises(InvalidName):
        await change_priority(log, first, "urgent")


async def test_a_job_that_a_runner_has_keeps_its_priority(log: Log) -> None:
    job_id = await submit(log)
    await Producer(log, "r1").claim()
    with pytest.raises(JobLeased):
        await change_priority(log, job_id, "high")


async def test_nothing_is_taken_of_a_paused_queue(log: Log) -> None:
    await submit(log)
    await log.submit(GRAPH, queue="video")
    assert await pause_queue(log, "default", "maintenance")
    assert not await pause_queue(log, "default")
    assert set(await paused_queues(log)) == {"default"}
    producer = Producer(log, "r1", ["default", "video"])
    assert [lease.queue for lease in await producer.claim(most=9)] == ["video"]
    assert await resume_queue(log, "default")
    assert not await resume_queue(log, "default")
    assert len(await producer.claim(most=9)) == 1


# Limits.


async def held(log: Log, most: int = 99) -> list[Lease]:
    return await Producer(log, "r1").claim(most=most)


async def test_no_more_jobs_of_a_user_run_than_may(log: Log) -> None:
    await set_limit(log, Limit("running", "user", "*", 2))
    await set_limit(log, Limit("running", "user", "bob", 1))
    for user in ("ada", "bob", "", ""):
        for _ in range(5):
            await submit(log, user)
    leases = await held(log)
    users = [await user_of(log, lease) for lease in leases]
    assert (users.count("ada"), users.count("bob"), users.count("")) == (2, 1, 10)
    done = leases[users.index("ada")]
    await Producer(log, "r1").finish(done, DONE)
    assert [await user_of(log, lease) for lease in await held(log)] == ["ada"]


async def user_of(log: Log, lease: Lease) -> str:
    found = await command(log.redis, "HGET", log.keys.head(lease.job_id), "user")
    return found.decode() if isinstance(found, bytes) else ""


@pytest.mark.parametrize("scope", ["kind", "queue"])
async def test_no_more_jobs_of_a_kind_or_queue_run_than_may(log: Log, scope: str) -> None:
    name = {"kind": "video", "queue": "default"}[scope]
    await set_limit(log, Limit("running", scope, name, 3))  # type: ignore[arg-type]
    for _ in range(9):
        await submit(log, kind="video")
    leases = await held(log)
    assert len(leases) == 3
    await Dispatch(log, "r1").release(leases[0], retried(), wait_s=3600)
    assert len(await held(log)) == 1
    await set_limit(log, Limit("running", scope, name, 5))  # type: ignore[arg-type]
    assert len(await held(log)) == 2
    await remove_limit(log, "running", scope, name)  # type: ignore[arg-type]
    assert len(await held(log)) == 3


def retried() -> Retried:
    return Retried(attempt=1, failure=Failure(code="x", message=""), not_before_ms=1)


async def test_a_limit_that_is_set_while_jobs_run_counts_them(log: Log) -> None:
    for _ in range(4):
        await submit(log, "ada")
    await held(log, most=2)
    await set_limit(log, Limit("running", "user", "ada", 2))
    assert await held(log) == []


async def test_a_job_that_was_lost_while_it_ran_does_not_count_for_ever(log: Log) -> None:
    await set_limit(log, Limit("running", "user", "ada", 1))
    gone = await submit(log, "ada")
    await submit(log, "ada")
    await held(log, most=1)
    await command(log.redis, "DEL", log.keys.head(gone))
    assert len(await held(log)) + len(await held(log)) == 1


async def test_others_are_taken_past_thousands_that_are_at_their_limit(log: Log) -> None:
    await set_limit(log, Limit("running", "user", "ada", 1))
    for _ in range(300):
        await submit(log, "ada")
    assert len(await held(log)) == 1
    others = [await submit(log, "bob") for _ in range(3)]
    assert [(await held(log, most=1))[0].job_id for _ in range(3)] == others


async def test_a_full_queue_takes_no_job_and_says_so(log: Log) -> None:
    await set_limit(log, Limit("waiting", "queue", "*", 3))
    jobs = [await submit(log) for _ in range(3)]
    with pytest.raises(QueueFull, match="3 jobs wait, the limit is 3") as full:
        await submit(log)
    assert (full.value.queue, full.value.waiting, full.value.limit) == ("default", 3, 3)
    await log.append(jobs[0], Canceled(), epoch=-1)
    await submit(log)
    await log.submit(GRAPH, queue="other")


@pytest.mark.parametrize(
    "limit",
    [
        Limit("running", "user", "", 1),
        Limit("running", "user", "ada", -1),
        Limit("waiting", "user", "ada", 1),
        Limit("share", "user", "*", 1),
        Limit("share", "user", "ada", 0),
        Limit("running", "job", "ada", 1),  # type: ignore[arg-type]
    ],
)
async def test_a_limit_that_cannot_be_meant_is_refused(log: Log, limit: Limit) -> None:
    with pytest.raises(InvalidName):
        await set_limit(log, limit)
    assert await limits(log) == []


async def test_limits_are_listed_and_removed(log: Log) -> None:
    some: Sequence[Limit] = [
        Limit("running", "kind", "video", 2),
        Limit("share", "user", "a b", 0.5),
        Limit("waiting", "queue", "*", 9),
    ]
    for limit in some:
        await set_limit(log, limit)
    await command(log.redis, "HSET", log.keys.limits(), "odd", "x", "running user x", "many")
    assert await limits(log) == list(some)
    assert await remove_limit(log, "share", "user", "a b")
    assert not await remove_limit(log, "share", "user", "a b")
