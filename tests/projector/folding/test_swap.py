"""A swap takes the same time for any number of states, and what it leaves to do may be left."""

from __future__ import annotations

import pytest

from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.moving import move_states
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.folding.stored_jobs import read_stored_job, read_stored_jobs
from everfold.projector.job.fold import fold
from everfold.projector.reading.queries import get, list_jobs
from everfold.streams.appending.log import Log
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_info
from tests.projector.folding.test_rebuild import damage, keys_of_rebuild
from tests.projector.jobs import (
    PARTITIONS,
    assert_projected,
    caught_up,
    make_jobs,
    projecting,
    work,
)
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

SWAPS = 7

MOVING = ("rename", "unlink", "exists", "del", "type", "copy", "zadd", "zrange", "zscan", "scan")
"""What one could swap by; the others are for hashes, which other parts of a process use, too."""

_STATES = """
for i = 1, ARGV[1] do
  local state = KEYS[1] .. 'j' .. i
  if i <= 1000 then redis.call('HSET', state, 'seq', 1, 'job_id', 'j' .. i, 'status', 'queued') end
  redis.call('ZADD', KEYS[2], i, 'j' .. i)
  redis.call('HSET', KEYS[3], 'j' .. i, 'o')
  redis.call('ZADD', KEYS[4], 0, '#j' .. i)
end
"""


class Ended(JobsProjection):
    """Its swaps leave everything to be done afterwards, as of a process that was killed then."""

    async def move_states(self, log: Log, partition: int, *, older_than_s: float = 0.0) -> None: ...


async def fill(log: Log, partition: int, states: int) -> None:
    """Index so many states of a live projection, and of one that is rebuilt; a thousand of them
    are there, as a swap touches none by its own key."""
    for rebuilding in (False, True):
        keys = log.keys.jobs(partition, rebuilding=rebuilding)
        touched = (keys.job(""), keys.active(), keys.indexed(), keys.index())
        for first in range(0, states, 1_000):
            script = _STATES.replace("1, ARGV[1]", f"{first + 1}, {min(states, first + 1_000)}")
            await command(log.redis, "EVAL", script, 4, *touched)


async def ready_to_swap(log: Log, partition: int) -> None:
    for rebuilding in (False, True):
        keys = log.keys.jobs(partition, rebuilding=rebuilding)
        fields = ("owner", "one", "checkpoint", "5-0", "folded", 5)
        await command(log.redis, "HSET", keys.projector(), *fields)
        await command(log.redis, "HDEL", keys.projector(), "moving")


async def main_thread_us(server: PipeliningRedis) -> int:
    """Return the CPU time of the thread that executes commands: no other process counts."""
    told = await server_info(server, "cpu")
    names = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")
    return int(sum(float(told[name]) for name in names) * 1e6)


async def calls_of_scripts(server: PipeliningRedis) -> dict[str, int]:
    """Return how often the server has executed each command that a swap may send."""
    told = await server_info(server, "commandstats")
    calls = {name: told.get(f"cmdstat_{name}", "calls=0").partition(",")[0] for name in MOVING}
    return {name: int(text.removeprefix("calls=")) for name, text in calls.items()}


async def swapped(log: Log, partition: int) -> tuple[dict[str, int], int]:
    """Swap; return the calls of each command by the first swap, which replaces everything, and the
    microseconds of CPU time of the cheapest of several."""
    server = log.redis.at(log.keys.log(partition))
    calls, times_us = dict[str, int](), list[int]()
    for _ in range(SWAPS):
        await ready_to_swap(log, partition)
        before, before_us = await calls_of_scripts(server), await main_thread_us(server)
        await JobsProjection().swap(log, partition, "one")
        times_us.append(await main_thread_us(server) - before_us)
        after = await calls_of_scripts(server)
        calls = calls or {name: after[name] - before[name] for name in MOVING}
    return calls, min(times_us)


@pytest.mark.long
async def test_a_swap_takes_as_long_for_200_000_states_as_for_1_000(log: Log) -> None:
    await fill(log, 0, 1_000)
    await fill(log, 1, 200_000)
    (few, few_us), (many, many_us) = await swapped(log, 0), await swapped(log, 1)
    print(f"1,000 states: {few_us} us, 200,000 states: {many_us} us, {many}")
    assert many == few
    assert many["rename"] == 5
    # Nothing is replaced by RENAME: that would free it on the spot, which UNLINK does not.
    assert many["unlink"] >= many["rename"]
    assert many_us < 5 * few_us + 5_000
    for partition, states in ((0, 1_000), (1, 200_000)):
        active = log.keys.jobs(partition).active()
        assert await command(log.redis, "ZCARD", active) == states
    keys, rebuilt = log.keys.jobs(0), log.keys.jobs(0, rebuilding=True)
    await move_states(log, 0)
    there = [await command(log.redis, "EXISTS", keys.job(job)) for job in ("j1", "j1000")]
    moved = [await command(log.redis, "EXISTS", rebuilt.job(job)) for job in ("j1", "j1000")]
    assert (there, moved) == ([1, 1], [0, 0])


async def test_what_a_swap_left_is_read_at_once_and_written_on(log: Log) -> None:
    """The rebuilding process is gone after the swap: the states that it has made count, wherever
    they stand, before and after their jobs go on."""
    jobs = await make_jobs(log, 20)
    async with projecting(log):
        await work(log)
        await assert_projected(log, jobs)
    await damage(log, jobs)
    await Rebuild(log, Ended()).run()
    for job_id in jobs:
        stored = await read_stored_job(log, job_id)
        assert stored == fold(await job_events(log, job_id))
        assert (await get(log, job_id)) == stored
    listed = {job.job_id: job for job in (await list_jobs(log, limit=100)).jobs}
    assert listed == {job_id: await read_stored_job(log, job_id) for job_id in jobs}
    async with projecting(log):
        jobs += await make_jobs(log, 5)
        await work(log)
        await eventually(lambda: caught_up(log), 15)
        for job_id in jobs:  # some have moved on, and so their states
            assert await read_stored_job(log, job_id) == fold(await job_events(log, job_id))
    for partition in range(PARTITIONS):
        await move_states(log, partition)
    await assert_projected(log, jobs)
    assert await keys_of_rebuild(log) == []
    stored_jobs = await read_stored_jobs(log, jobs)
    assert stored_jobs == [fold(await job_events(log, job_id)) for job_id in jobs]


async def test_the_next_rebuild_does_first_what_the_last_one_left(log: Log) -> None:
    jobs = await make_jobs(log, 20)
    await work(log)
    await Rebuild(log, Ended()).run()
    await Rebuild(log, JobsProjection()).run()
    await assert_projected(log, jobs)
    assert await keys_of_rebuild(log) == []


async def test_a_projector_does_what_a_rebuild_has_left(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everfold.projector.folding.partition_projector.MOVE_AFTER_S", 0.05)
    jobs = await make_jobs(log, 20)
    await work(log)
    await Rebuild(log, Ended()).run()

    async def is_done() -> bool:
        return await keys_of_rebuild(log) == []

    async with projecting(log):
        await eventually(is_done, 20)
    for job_id in jobs:
        assert await read_hash(log.redis, log.keys.job(job_id))
    await assert_projected(log, jobs)


async def test_a_state_that_another_program_has_written_meanwhile_counts(log: Log) -> None:
    """A program that knows nothing of states that are to be moved has committed a later one."""
    (job_id,) = await make_jobs(log, 1)
    await work(log)
    await Rebuild(log, Ended()).run()
    partition = log.keys.partition_of(job_id)
    keys, rebuilt = log.keys.jobs(partition), log.keys.jobs(partition, rebuilding=True)
    last = fold(await job_events(log, job_id))
    await command(log.redis, "COPY", rebuilt.job(job_id), keys.job(job_id))
    await command(log.redis, "HSET", rebuilt.job(job_id), "seq", last.seq - 1)
    assert await read_stored_job(log, job_id) == last
    await move_states(log, partition)
    assert await read_stored_job(log, job_id) == last
    assert await command(log.redis, "EXISTS", rebuilt.job(job_id)) == 0
