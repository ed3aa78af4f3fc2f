"""Several consumers of one subscription: shared partitions, sudden deaths, trims, resets."""

from __future__ import annotations

import json
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from everfold.projector.subscribing.admin import create, remove, reset
from everfold.projector.subscribing.status import held_jobs, subscription_status, subscriptions
from everfold.projector.subscribing.subscription import GiveUp, Subscription
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured
from everfold.streams.reading.reader import job_events, last_entry_ids, log_size
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.trimming import trim
from tests.projector.jobs import make_jobs, work
from tests.projector.subscribing.listening import SOON_S, Listener, all_taken, consuming, taken
from tests.support.programs.programs import Program, StartProgram
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

EVENTS_PER_JOB = 10

NOTES = """
import random, sys, anyio
from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log

url, namespace, path, seed = sys.argv[1:]
chance = random.Random(seed)

@Subscription("notes", retry_s=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5))
async def notes(delivery):
    await anyio.sleep(chance.random() * 0.01)
    if chance.random() < 0.1:
        raise ValueError("bad luck")
    with open(path, "a") as file:
        file.write(f'["{delivery.record.job_id}", {delivery.record.seq}]\\n')

async def main():
    async with Log.open(url, namespace=namespace) as log:
        async with anyio.create_task_group() as tasks:
            await tasks.start(Consumer(log, "notes", notes).run)
            print("consuming", flush=True)

anyio.run(main)
"""


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=4) as log:
        yield log


async def start(start_program: StartProgram, log: Log, path: Path, seed: int) -> Program:
    names = (log.url.reveal(), log.keys.namespace, str(path), str(seed))
    program = start_program("-c", NOTES, *names)
    await program.line("consuming", within_s=20)
    return program


def noted(path: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for line in path.read_text().splitlines() if path.exists() else []:
        job_id, seq = json.loads(line)
        found[job_id].append(seq)
    return found


async def test_killed_and_frozen_consumers_lose_nothing_and_keep_each_job_s_order(
    log: Log, start_program: StartProgram, tmp_path: Path
) -> None:
    chance = random.Random(7)
    path = tmp_path / "notes"
    jobs: list[str] = []
    running = [await start(start_program, log, path, seed) for seed in range(2)]
    for seed in range(2, 6):
        jobs += await make_jobs(log, 10)
        await work(log)
        victim = running.pop(chance.randrange(2))
        if seed % 2:
            victim.kill()
        else:
            victim.send(signal.SIGSTOP)
        running.append(await start(start_program, log, path, seed))
    await eventually(lambda: all_taken(log, "notes"), 60)
    told = noted(path)
    for job_id in jobs:
        firsts = list(dict.fromkeys(told[job_id]))
        assert firsts == list(range(1, EVENTS_PER_JOB + 1)), told[job_id]


async def test_consumers_share_the_partitions_and_each_event_goes_to_one(log: Log) -> None:
    first, second = Listener(), Listener()
    async with (
        consuming(log, Subscription("shared")(first), "a") as a,
        consuming(log, Subscription("shared")(second), "b") as b,
    ):
        await eventually(lambda: len(a.partitions) == len(b.partitions) == 2, 15)
        jobs = await make_jobs(log, 24)
        await work(log)
        await taken(log, "shared")
    assert first.count + second.count == len(jobs) * EVENTS_PER_JOB
    assert not set(first.told) & set(second.told)
    assert min(first.count, second.count) > 0


async def test_a_subscription_begins_where_it_is_told_and_stays_where_it_is(log: Log) -> None:
    await make_jobs(log, 4)
    listener = Listener()
    async with consuming(log, Subscription("late", start="now")(listener)):
        later = await make_jobs(log, 2)
        await taken(log, "late")
    assert sorted(listener.told) == sorted(later)
    missed = await make_jobs(log, 2)
    async with consuming(log, Subscription("late", start="now")(listener)):
        await taken(log, "late")
    assert sorted(listener.told) == sorted(later + missed)


@pytest.mark.parametrize("start", ["yesterday", "5-18446744073709551616", "\u0661"])
async def test_a_place_that_makes_no_sense_is_refused(log: Log, start: str) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with consuming(log, Subscription("odd", start=start)(Listener())):
            pass
    assert isinstance(raised.value.exceptions[0], Misconfigured)
    assert not await subscriptions(log)


async def test_after_a_reset_everything_after_the_place_is_delivered_again(log: Log) -> None:
    before = await make_jobs(log, 3)
    moment = max(int(end.partition("-")[0]) for end in (await last_entry_ids(log)).values())
    listener = Listener()
    listener.fails = lambda d: GiveUp("no") if d.record.job_id == before[0] else None
    async with consuming(log, Subscription("back")(listener)):
        await eventually(lambda: held_jobs(log, "back", only_parked=True), 10)
        await anyio.sleep(0.005)  # so that what follows has a later millisecond
        after = await make_jobs(log, 3)
        await eventually(lambda: listener.count == 5, 10)
        listener.fails = lambda _: None
        assert await reset(log, "back", str(moment + 1)) == 1
        await eventually(lambda: all(len(listener.told[j]) >= 2 for j in after), 10)
        assert [len(listener.told[job_id]) for job_id in before] == [0, 1, 1]
        await reset(log, "back", "beginning")
        await eventually(lambda: all(len(listener.told[j]) >= 3 for j in after), 10)
        await taken(log, "back")
    assert [len(listener.told[job_id]) for job_id in before] == [1, 2, 2]


async def test_what_is_not_taken_or_held_is_not_trimmed(log: Log) -> None:
    jobs = await make_jobs(log, 8)
    await work(log)
    async with consuming(log, Subscription("old")(Listener())):
        await taken(log, "old")
    listener = Listener()
    listener.fails = lambda d: GiveUp("no") if d.record.job_id == jobs[0] else None
    async with consuming(log, Subscription("holds", retry_s=SOON_S)(listener)):
        await eventually(lambda: held_jobs(log, "holds", only_parked=True), 10)
        await eventually(lambda: listener.count == 70, 10)
    more = await make_jobs(log, 8)
    await work(log, runner="s")
    for partition in range(4):
        await trim(log, partition, retention_s=0, needs_archive=False)
    assert len(await job_events(log, jobs[0])) == EVENTS_PER_JOB
    for job_id in more:
        assert len(await job_events(log, job_id)) == EVENTS_PER_JOB
    await remove(log, "holds")
    await remove(log, "old")
    for partition in range(4):
        await trim(log, partition, retention_s=0, needs_archive=False)
        assert await log_size(log, partition) == 0
    assert not await subscriptions(log)


async def test_what_comes_after_a_new_subscription_waits_for_its_first_consumer(log: Log) -> None:
    listener = Listener()
    subscription = Subscription("s", start="now")(listener)
    await create(log, subscription)  # and the process dies
    jobs = await make_jobs(log, 4)
    await work(log, steps=0)
    for partition in range(log.keys.partitions):
        await trim(log, partition, 0.0, needs_archive=False)
    async with consuming(log, subscription):
        await eventually(lambda: set(listener.told) == set(jobs))
        await taken(log, "s")
    assert listener.count == 4 * 5
    await remove(log, "s")


async def test_jobs_whose_beginning_was_trimmed_before_are_left_out_and_counted(
    log: Log,
) -> None:
    jobs = await make_jobs(log, 6)
    await work(log)
    partition = log.keys.partition_of(jobs[0])
    of_it = [job_id for job_id in jobs if log.keys.partition_of(job_id) == partition]
    cut = (await job_events(log, jobs[0]))[4].entry_id
    # As a trim by retention would: the jobs are over, and the cut is in the middle of one.
    await command(log.redis, "XTRIM", log.keys.log(partition), "MINID", "=", cut)
    key = log.keys.trimmed(partition)
    last = (await job_events(log, jobs[0]))[0].previous
    await command(log.redis, "HSET", key, "to", last)
    listener = Listener()
    async with consuming(log, Subscription("partly")(listener)):
        await taken(log, "partly")
    rows = await subscription_status(log, "partly")
    assert rows[partition].left_out >= 6
    assert all(row.left_out == 0 for row in rows if row.partition != partition)
    assert set(listener.told) >= set(jobs) - set(of_it)
    assert jobs[0] not in listener.told


async def test_a_lost_group_is_made_again_where_it_was(log: Log) -> None:
    listener = Listener()
    jobs = await make_jobs(log, 6)
    async with consuming(log, Subscription("lost")(listener)):
        await taken(log, "lost")
        for partition in range(4):
            key = log.keys.log(partition)
            await command(log.redis, "XGROUP DESTROY", key, "subscription:lost")
        jobs += await make_jobs(log, 6)
        await eventually(lambda: len(listener.told) == 12, 20)
    assert all(seqs == [(1, "submitted")] for seqs in listener.told.values())


async def test_a_restart_of_the_server_costs_nothing(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="restart", partitions=2) as log:
        listener = Listener()
        async with consuming(log, Subscription("lives")(listener)):
            jobs = await make_jobs(log, 6)
            await anyio.to_thread.run_sync(server.restart, signal.SIGKILL)
            await work(log)
            # Some may be told twice: what counts is that each was told.
            every = EVENTS_PER_JOB
            await eventually(lambda: all(len(set(listener.told[j])) == every for j in jobs), 30)
        for job_id in jobs:
            seqs = list(dict.fromkeys(seq for seq, _ in listener.told[job_id]))
            assert seqs == list(range(1, EVENTS_PER_JOB + 1))
