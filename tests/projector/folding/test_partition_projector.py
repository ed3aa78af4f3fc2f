"""Folding one partition, with everything that can be odd about its log, group and states."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding import partition_projector as partition_module
from everfold.projector.folding.parking import Parked
from everfold.projector.job.fold import fold
from everfold.projector.job.state import from_fields
from everfold.projector.reading.lag import lag
from everfold.projector.reading.queries import get
from everfold.streams.appending.log import Log
from everfold.streams.events.event import CancelRequested, Event, Started
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.leases.producer import Producer
from everfold.streams.reading import shared_reader
from everfold.streams.reading.reader import job_events
from everfold.streams.reading.readers import group_positions
from everfold.streams.redis.keys import PROJECTOR_GROUP
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_info
from tests.projector.jobs import (
    GRAPH,
    PARTITIONS,
    add_raw,
    all_gone,
    assert_projected,
    caught_up,
    consuming,
    end,
    is_gone,
    make_group_again,
    make_jobs,
    nothing_pending,
    one_job_in_partition,
    projecting,
    work,
)
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

STRANGE = b'{"type":"job.from_the_future","v":1,"id":"x","actor":"y"}'


def encoded(event: Event) -> bytes:
    return msgspec.json.encode(event)


async def test_an_entry_that_a_frozen_owner_was_given_is_found_though_nothing_follows(
    log: Log,
) -> None:
    given: list[Recorded] = []
    async with consuming(log, "frozen", block_s=20) as frozen, projecting(log):
        jobs = [await one_job_in_partition(log, 0)]
        await assert_projected(log, jobs)

        async def block() -> None:
            given.extend(await frozen.read_new(0))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(block)
            reads = 1 if log.redis.is_one_server else PARTITIONS
            await eventually(lambda: blocked(log, reads + 1))
            # Who blocks longest is served first: the projector gets one and queues up behind.
            while not given:
                jobs.append(await one_job_in_partition(log, 0))
                await eventually(lambda: given_or_folded(log, given))
        assert given
        await assert_projected(log, jobs)


async def given_or_folded(log: Log, given: list[Recorded]) -> bool:
    return bool(given) or await caught_up(log)


async def blocked(log: Log, clients: int) -> bool:
    told = [await server_info(node, "clients") for node in log.redis.primaries()]
    return sum(int(one["blocked_clients"]) for one in told) >= clients


async def test_an_entry_without_a_job_parks_itself_and_the_partition_goes_on(log: Log) -> None:
    sound = await one_job_in_partition(log, 0)
    ghost = next(name for name in map(str, range(99)) if log.keys.partition_of(name) == 0)
    await add_raw(log, ghost, 7, encoded(Started(attempt=1)))
    await command(log.redis, "XADD", log.keys.log(0), "*", "not", "ours")
    later = await one_job_in_partition(log, 0)
    async with projecting(log):
        await assert_projected(log, [sound, later])
    parked = await read_hash(log.redis, log.keys.parked(0))
    assert len(parked) == 2
    assert msgspec.json.decode(parked[ghost.encode()], type=Parked).seq == 7


async def test_an_event_nobody_can_read_parks_its_job_and_not_the_partition(log: Log) -> None:
    strange, sound = await one_job_in_partition(log, 1), await one_job_in_partition(log, 1)
    await add_raw(log, strange, 2, STRANGE)
    async with projecting(log):
        await eventually(lambda: caught_up(log))
        parked = await read_hash(log.redis, log.keys.parked(1))
        assert list(parked) == [strange.encode()]
        why = msgspec.json.decode(parked[strange.encode()], type=Parked)
        assert why.seq == 2
        assert "job.from_the_future" in why.why
        assert why.at_ms == int(why.entry_id.partition("-")[0])
        await work(log)
        await eventually(lambda: caught_up(log))
        assert (await get(log, sound)).status == "succeeded"
        assert sum(found.parked for found in await lag(log)) == 1
    stored = from_fields(await read_hash(log.redis, log.keys.job(strange)))
    assert stored is not None
    assert stored.seq == 1


async def test_a_parked_job_stays_parked_for_the_next_projector(log: Log) -> None:
    strange = await one_job_in_partition(log, 1)
    await add_raw(log, strange, 2, STRANGE)
    async with projecting(log):
        await eventually(lambda: caught_up(log))
    await add_raw(log, strange, 3, encoded(Started(attempt=1)))
    async with projecting(log):
        await eventually(lambda: caught_up(log))
    parked = await read_hash(log.redis, log.keys.parked(1))
    assert msgspec.json.decode(parked[strange.encode()], type=Parked).seq == 2


@pytest.mark.parametrize("batch", [3, 1000])
async def test_redelivered_events_do_not_revive_a_state_that_has_expired(
    log: Log, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(partition_module, "BATCH", batch)
    jobs = await make_jobs(log, 6)
    await work(log)
    async with projecting(log, config=ProjectorConfig(terminal_ttl_s=0)):
        await eventually(lambda: caught_up(log))
    before = [found.checkpoint for found in await lag(log)]
    await make_group_again(log)
    async with projecting(log):
        await eventually(lambda: nothing_pending(log))
    assert await all_gone(log, jobs)
    assert [found.checkpoint for found in await lag(log)] == before


async def test_a_late_event_does_not_revive_a_state_that_has_expired(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    await work(log)
    async with projecting(log, config=ProjectorConfig(terminal_ttl_s=0)):
        await eventually(lambda: caught_up(log))
    async with projecting(log):
        [*_, last] = await job_events(log, job_id)
        for seq in (last.seq + 1, last.seq + 2):
            await add_raw(log, job_id, seq, encoded(CancelRequested()))
        await eventually(lambda: caught_up(log))
        assert await is_gone(log, job_id)
        assert await command(log.redis, "ZSCORE", log.keys.ended(0), job_id) is None
        assert await read_hash(log.redis, log.keys.parked(0)) == {}


async def test_a_server_that_lost_a_commit_but_not_its_events_is_projected_again(
    log: Log,
) -> None:
    async with projecting(log):
        job_id = await one_job_in_partition(log, 0)
        [lease] = [lease for lease in await work(log, finish=False) if lease.job_id == job_id]
        await assert_projected(log, [job_id])
        state = await read_hash(log.redis, log.keys.job(job_id))
        await end(log, lease)
        await assert_projected(log, [job_id])
        # What a failover leaves: the log as it is, the last commit undone.
        earlier = fold((await job_events(log, job_id))[:-1])
        await command(log.redis, "HSET", log.keys.projector(0), "checkpoint", earlier.entry_id)
        await command(log.redis, "DEL", log.keys.job(job_id))
        flat = [part for pair in state.items() for part in pair]
        await command(log.redis, "HSET", log.keys.job(job_id), *flat)
        group = (log.keys.log(0), PROJECTOR_GROUP, earlier.entry_id)
        await command(log.redis, "XGROUP SETID", *group)
        await drop_connections(log)
        await assert_projected(log, [job_id])


async def drop_connections(log: Log) -> None:
    """Cut the projector's reading connections, as a restart does."""
    rows = str(await command(log.redis, "CLIENT LIST"), "ascii").splitlines()  # type: ignore[call-overload]
    facts = [dict(fact.split("=", 1) for fact in row.split()) for row in rows]
    for fact in facts:
        if fact["name"] == "everfold:client:projector":
            await command(log.redis, "CLIENT KILL", "ID", fact["id"])


async def test_many_open_jobs_that_have_expired_are_written_again_at_once(log: Log) -> None:
    jobs = await make_jobs(log, 60)
    async with projecting(log, config=ProjectorConfig(job_ttl_s=0.3)):
        await eventually(lambda: caught_up(log))
        await eventually(lambda: all_gone(log, jobs))
        await work(log, finish=False, steps=1)
        await eventually(lambda: caught_up(log))
    for job_id in jobs:
        assert (await get(log, job_id)).status == "running"
    assert sum(found.parked for found in await lag(log)) == 0


async def test_a_state_that_nobody_can_read_is_folded_again(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    async with projecting(log):
        await assert_projected(log, [job_id])
    await command(log.redis, "HSET", log.keys.job(job_id), "policy", "{broken")
    assert (await get(log, job_id)).status == "queued"
    async with projecting(log):
        await work(log)
        await assert_projected(log, [job_id])


async def test_a_lost_group_is_made_again_at_the_checkpoint(log: Log) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 8)
        await eventually(lambda: caught_up(log))
        for partition in range(PARTITIONS):
            key = log.keys.log(partition)
            await command(log.redis, "XGROUP DESTROY", key, PROJECTOR_GROUP)
        await work(log)
        await assert_projected(log, jobs)


async def test_entries_that_went_with_a_deleted_consumer_are_delivered_again(log: Log) -> None:
    async with projecting(log):
        first = await one_job_in_partition(log, 0)
        await assert_projected(log, [first])
    second = await one_job_in_partition(log, 0)
    async with consuming(log, "careless") as group:
        assert await group.read_new(0)
    key = log.keys.log(0)
    await command(log.redis, "XGROUP DELCONSUMER", key, PROJECTOR_GROUP, "careless")
    async with projecting(log):
        await assert_projected(log, [first, second])


async def test_the_group_is_where_the_checkpoint_is_and_nothing_is_pending(log: Log) -> None:
    """Nothing is given out before it is folded: a trim takes only what was committed."""
    async with projecting(log):
        await make_jobs(log, 12)
        await work(log)
        await eventually(lambda: caught_up(log))
    for found in await lag(log):
        key, group = log.keys.log(found.partition), PROJECTOR_GROUP
        assert (await group_positions(log, found.partition))[group] == found.checkpoint
        assert await command(log.redis, "XPENDING", key, group) == [0, None, None, None]


async def test_what_an_earlier_version_was_given_and_has_not_committed_is_folded(
    log: Log,
) -> None:
    jobs = [await one_job_in_partition(log, 0) for _ in range(3)]
    async with consuming(log, "earlier") as group:
        await group.create(0)
        await group.read_new(0)
    async with projecting(log):
        await assert_projected(log, jobs)
        await eventually(lambda: nothing_pending(log))


async def test_an_idle_projector_sees_that_the_server_has_gone_back(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (partition_module, shared_reader):
        monkeypatch.setattr(module, "BLOCK_S", 0.1)
    async with projecting(log):
        job_id = await one_job_in_partition(log, 0)
        await assert_projected(log, [job_id])
        await command(log.redis, "DEL", log.keys.job(job_id))
        await command(log.redis, "HSET", log.keys.projector(0), "checkpoint", NO_ENTRY)
        await eventually(lambda: caught_up(log))
        await assert_projected(log, [job_id])


async def test_consumers_of_dead_processes_are_forgotten_but_none_that_holds_entries(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_module, "DELETE_CONSUMER_AFTER_MS", -1)
    for _ in range(3):
        async with projecting(log):
            await one_job_in_partition(log, 0)
            await eventually(lambda: caught_up(log))
    rows = await command(log.redis, "XINFO CONSUMERS", log.keys.log(0), PROJECTOR_GROUP)
    assert isinstance(rows, list)
    assert len(rows) <= 1


async def test_the_owner_may_hold_states_of_few_jobs_in_memory(log: Log) -> None:
    async with projecting(log, config=ProjectorConfig(cached_jobs=2)):
        jobs = await make_jobs(log, 12)
        await eventually(lambda: caught_up(log))
        await work(log)
        await assert_projected(log, jobs)


async def test_the_projection_begins_at_the_first_event_of_a_new_namespace(log: Log) -> None:
    assert {found.checkpoint for found in await lag(log)} == {NO_ENTRY}
    made = await log.submit(GRAPH)
    await Producer(log, "r").claim()
    async with projecting(log):
        await assert_projected(log, [made.job_id])
