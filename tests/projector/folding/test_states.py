"""Custom projections: the same guarantees as for jobs, whatever they count."""

from __future__ import annotations

from collections import Counter
from operator import add

import anyio
import pytest
from msgspec import Struct

from everfold.projector.folding.custom_projection import Projection
from everfold.projector.folding.parking import BROKEN, Parked, read_parked
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.job.job import Job
from everfold.projector.projector import Projector
from everfold.projector.reading.lag import lag
from everfold.streams.appending.log import Log
from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Progressed, Submitted, Succeeded
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import all_events
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import make_jobs, work
from tests.support.programs.programs import StartProgram
from tests.support.stored_names import names_like
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


class Sums(Struct, frozen=True):
    jobs: int = 0
    ended: int = 0
    steps: int = 0


def by_user(job: Job, record: Recorded) -> str | None:
    return job.user


def count(sums: Sums | None, job: Job, record: Recorded) -> Sums:
    sums = sums or Sums()
    event = record.event
    return Sums(
        sums.jobs + isinstance(event, Submitted),
        sums.ended + isinstance(event, Succeeded),
        sums.steps + isinstance(event, Progressed),
    )


def together(first: Sums, second: Sums) -> Sums:
    return Sums(first.jobs + second.jobs, first.ended + second.ended, first.steps + second.steps)


PER_USER = Projection(name="per-user", state=Sums, key=by_user, evolve=count, merge=together)


async def truth(log: Log) -> dict[str, Sums]:
    """Count once more, without a projection."""
    users: dict[str, str] = {}
    counts: dict[str, Counter[str]] = {}
    async for record in all_events(log):
        event = record.event
        assert not isinstance(event, Unreadable)
        if isinstance(event, Submitted):
            users[record.job_id] = event.user
        counts.setdefault(users[record.job_id], Counter())[type(event).__name__] += 1
    return {
        user: Sums(told["Submitted"], told["Succeeded"], told["Progressed"])
        for user, told in counts.items()
    }


async def caught_up(log: Log, projection: Projection[Sums] = PER_USER) -> bool:
    return all(row.lag_events == 0 for row in await lag(log, projection))


async def assert_counted(log: Log) -> None:
    await eventually(lambda: caught_up(log), 15)
    assert await PER_USER.states(log) == await truth(log)


async def test_events_that_do_not_name_the_user_are_counted_by_user(log: Log) -> None:
    projector = Projector(log, "test", projection=PER_USER)
    async with anyio.create_task_group() as tasks:
        await tasks.start(projector.run)
        await make_jobs(log, 30)
        await work(log)
        await assert_counted(log)
        await make_jobs(log, 5)
        await assert_counted(log)
        first = await PER_USER.state(log, "u1")
        assert first == (await truth(log))["u1"]
        assert await PER_USER.state(log, "nobody") is None
        tasks.cancel_scope.cancel()


async def test_stops_redelivery_and_sharing_count_nothing_twice(log: Log) -> None:
    for _ in range(4):
        async with anyio.create_task_group() as tasks:
            for name in ("a", "b"):
                await tasks.start(Projector(log, name, projection=PER_USER).run)
            await make_jobs(log, 10)
            await work(log)
            tasks.cancel_scope.cancel()
        for partition in range(log.keys.partitions):
            key = log.keys.log(partition)
            await command(log.redis, "XGROUP DESTROY", key, PER_USER.group)
            await command(log.redis, "XGROUP CREATE", key, PER_USER.group, "0")
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "c", projection=PER_USER).run)
        await assert_counted(log)
        tasks.cancel_scope.cancel()


FOLDING = """
import sys, anyio
from everfold.projector.projector import Projector
from everfold.streams.appending.log import Log
from tests.projector.folding.test_states import PER_USER

async def main(url, namespace):
    async with Log.open(url, namespace=namespace, actor="doomed") as log:
        async with anyio.create_task_group() as tasks:
            await tasks.start(Projector(log, "doomed", projection=PER_USER).run)
            print("folding", flush=True)

anyio.run(main, *sys.argv[1:])
"""


async def test_kills_count_nothing_twice_and_miss_nothing(
    log: Log, start_program: StartProgram
) -> None:
    for _ in range(3):
        program = start_program("-c", FOLDING, log.url.reveal(), log.keys.namespace)
        await program.line("folding")
        await make_jobs(log, 10)
        await work(log)
        program.kill()
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "heir", projection=PER_USER).run)
        await assert_counted(log)
        tasks.cancel_scope.cancel()


async def test_a_rebuild_while_events_arrive_ends_with_the_right_counts(log: Log) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "test", projection=PER_USER).run)
        await make_jobs(log, 20)
        await assert_counted(log)
        key = PER_USER.keys(log.keys, 0).states()
        await command(log.redis, "HSET", key, "u0", b'{"jobs":777}')
        async with anyio.create_task_group() as both:
            both.start_soon(work, log)
            for _ in range(4):
                await Rebuild(log, PER_USER).run()
        await assert_counted(log)
        tasks.cancel_scope.cancel()
    rest = await names_like(log.redis, "{" + log.keys.namespace + ":*}:rebuild*")
    assert rest == []


def explode(sums: Sums | None, job: Job, record: Recorded) -> Sums:
    if job.user == "u1" and isinstance(record.event, Progressed):
        raise ZeroDivisionError("a mistake")
    return count(sums, job, record)


async def test_a_mistake_in_a_function_parks_the_job_and_a_rebuild_brings_it_back(log: Log) -> None:
    broken = Projection(name="per-user", state=Sums, key=by_user, evolve=explode, merge=together)
    jobs = await make_jobs(log, 9)
    await work(log)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "test", projection=broken).run)
        await eventually(lambda: caught_up(log), 15)
        tasks.cancel_scope.cancel()
    parked = dict[str, Parked]()
    for partition in range(log.keys.partitions):
        parked |= await read_parked(log, broken.keys(log.keys, partition).parked())
    assert set(parked) == {jobs[1], jobs[4], jobs[7]}
    assert {why.cause for why in parked.values()} == {BROKEN}
    assert "ZeroDivisionError: a mistake" in parked[jobs[1]].why
    found, right = await broken.states(log), await truth(log)
    assert (found["u0"], found["u2"]) == (right["u0"], right["u2"])
    assert found["u1"] == Sums(jobs=3)
    await Rebuild(log, PER_USER).run()
    await assert_counted(log)
    assert sum([row.parked for row in await lag(log, PER_USER)]) == 0


async def test_a_state_of_none_is_no_state(log: Log) -> None:
    def open_only(state: str | None, job: Job, record: Recorded) -> str | None:
        return None if job.is_terminal else job.status

    projection = Projection(name="open", state=str, key=lambda job, _: job.job_id, evolve=open_only)
    await work(log) if await make_jobs(log, 4) else None
    waiting = await make_jobs(log, 3)
    await Rebuild(log, projection).run()
    assert await projection.states(log) == dict.fromkeys(waiting, "queued")


async def test_one_key_in_several_partitions_asks_for_a_merge(log: Log) -> None:
    projection = Projection(
        name="all", state=int, key=lambda *_: "all", evolve=lambda n, *_: (n or 0) + 1
    )
    await make_jobs(log, 30)
    await Rebuild(log, projection).run()
    with pytest.raises(Misconfigured, match="merge"):
        await projection.states(log)
    merged = Projection(
        name="all", state=int, key=lambda *_: "all", evolve=lambda n, *_: (n or 0) + 1, merge=add
    )
    assert await merged.states(log) == {"all": 30}


def test_a_name_is_one_word_and_not_that_of_the_jobs() -> None:
    for name, error in (("jobs", Misconfigured), ("a b", InvalidName), ("", InvalidName)):
        with pytest.raises(error):
            Projection(name=name, state=int, key=lambda *_: "", evolve=lambda *_: 1)
