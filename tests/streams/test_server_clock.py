"""The scripts that look at the server's clock and put right what a step of it would have broken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.errors import ServerRefusesAccess, WrongKeyType
from everfold.streams.events.event import CancelRequested, Failure, Policy, Released, Retried
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.redis import scripts
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_time_ms
from tests.streams.stored import everything
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
LANES = all_lanes(["default"])
HOUR_MS = 3_600_000


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def shift(log: Log, step_ms: int, known_ms: int = 0, anew_ms: int = 0) -> str:
    keys = log.keys
    await scripts.restart_leases(log.redis, queues=keys.queues(0), tag=keys.tag(0))
    return await scripts.shift_times(
        log.redis,
        keys=(keys.clock(0), keys.later(0), keys.deadlines(0)),
        tag=keys.tag(0),
        step_ms=step_ms,
        known_ms=known_ms,
        anew_ms=anew_ms,
    )


async def scores(log: Log, key: str) -> dict[str, int]:
    rows = cast("list[bytes]", await command(log.redis, "ZRANGE", key, 0, -1, "WITHSCORES"))
    return {
        name.decode(): int(float(score)) for name, score in zip(rows[::2], rows[1::2], strict=True)
    }


async def test_retries_and_limits_move_and_times_that_were_asked_for_stay(log: Log) -> None:
    now_ms = await server_time_ms(log.redis)
    limited = Policy(queue_deadline_s=60.0)
    retried = (await log.submit(GRAPH)).job_id
    dispatch = Dispatch(log, "r1")
    (lease,) = await dispatch.claim(0, LANES, 1)
    due_ms = now_ms + 60_000
    failure = Failure(code="x", message="y")
    await dispatch.release(lease, Retried(attempt=1, failure=failure, not_before_ms=due_ms))
    asked_for = (await log.submit(GRAPH, run_at_ms=due_ms, policy=limited)).job_id
    waiting = (await log.submit(GRAPH, policy=limited)).job_id
    later, deadlines = log.keys.later(0), log.keys.deadlines(0)
    before = await scores(log, deadlines)

    assert await shift(log, -HOUR_MS) == "shifted"
    assert await scores(log, later) == {retried: due_ms - HOUR_MS, asked_for: due_ms}
    assert await scores(log, deadlines) == {
        waiting: before[waiting] - HOUR_MS,
        asked_for: before[asked_for],
    }


async def test_what_was_written_after_a_step_forward_stays(log: Log) -> None:
    """A job that waits for a time, and a cancel of a waiting one, by the clock as it is now."""
    limited = Policy(queue_deadline_s=60.0)
    retried, canceled = [(await log.submit(GRAPH, policy=limited)).job_id for _ in range(2)]
    dispatch = Dispatch(log, "r1")
    (lease,) = await dispatch.claim(0, LANES, 1)
    assert lease.job_id == retried
    stepped_ms = await server_time_ms(log.redis)
    await anyio.sleep(0.01)
    await dispatch.release(lease, Released(reason="postponed"), wait_s=5.0)
    await log.append(canceled, CancelRequested(), epoch=0)
    later, deadlines = log.keys.later(0), log.keys.deadlines(0)
    before = await scores(log, later), await scores(log, deadlines)

    assert await shift(log, HOUR_MS, anew_ms=stepped_ms + 5) == "shifted"
    assert await scores(log, later) == before[0]
    after = await scores(log, deadlines)
    assert after[canceled] == before[1][canceled]
    assert after.get(retried, 0) in (0, before[1].get(retried, 0) + HOUR_MS)


async def test_a_job_that_a_step_makes_due_keeps_its_time_to_wait(log: Log) -> None:
    now_ms = await server_time_ms(log.redis)
    limited = Policy(queue_deadline_s=60.0)
    # As after a step of an hour: its time and its deadline lie behind.
    job_id = (await log.submit(GRAPH, run_at_ms=now_ms + 1_000, policy=limited)).job_id
    due = ("ZADD", log.keys.later(0), now_ms - HOUR_MS // 2, job_id)
    await command(log.redis, *due)
    await command(log.redis, "ZADD", log.keys.deadlines(0), now_ms - HOUR_MS // 2 + 60_000, job_id)
    assert await shift(log, HOUR_MS) == "shifted"
    (deadline_ms,) = (await scores(log, log.keys.deadlines(0))).values()
    assert abs(deadline_ms - now_ms - 60_000) < 10_000


async def test_leases_begin_anew_and_released_jobs_stay_released(log: Log) -> None:
    dispatch = Dispatch(log, "r1")
    for _ in range(2):
        await log.submit(GRAPH)
    held, released = await dispatch.claim(0, LANES, 2)
    await dispatch.release(released, Released(reason="drain"))
    stream = log.keys.dispatch(0, "default", "normal")
    claim = ("XCLAIM", stream, "runners", "r1", 0, held.dispatch_id, "IDLE", 10 * HOUR_MS, "JUSTID")
    await command(log.redis, *claim)
    assert await shift(log, HOUR_MS) == "shifted"
    rows = cast(
        "list[list[bytes]]", await command(log.redis, "XPENDING", stream, "runners", "-", "+", 9)
    )
    idle_ms = {row[0].decode(): int(row[2]) for row in rows}
    assert idle_ms[held.dispatch_id] < 1000
    assert idle_ms[released.dispatch_id] > HOUR_MS
    _, leases = await Dispatch(log, "r2").take_over(0, ("default", "normal"), idle_limit_s=10.0)
    assert [lease.job_id for lease in leases] == [released.job_id]


async def test_a_step_counts_once(log: Log) -> None:
    assert await shift(log, -HOUR_MS) == "shifted"
    assert await shift(log, -HOUR_MS) == "known"
    assert await shift(log, -HOUR_MS, known_ms=-HOUR_MS) == "shifted"
    recorded = await read_hash(log.redis, log.keys.clock(0))
    assert (recorded[b"steps"], recorded[b"stepped_ms"]) == (b"2", b"%d" % (-2 * HOUR_MS))


async def test_a_process_that_stood_still_cannot_shift_what_others_have_seen(log: Log) -> None:
    await Dispatch(log, "r1").promote(0)
    assert await shift(log, HOUR_MS) == "refused"


async def test_nothing_is_promoted_or_taken_by_a_clock_that_is_ahead(log: Log) -> None:
    await log.submit(GRAPH, run_at_ms=1)
    keys, now_ms = log.keys, await server_time_ms(log.redis)
    promoted = await scripts.promote(
        log.redis,
        later=keys.later(0),
        deadlines=keys.deadlines(0),
        clock=keys.clock(0),
        tag=keys.tag(0),
        most=9,
        wake_channel="x",
        wake_message="y",
        latest_ms=now_ms - HOUR_MS,
    )
    taken = await scripts.take_over(
        log.redis,
        log=keys.log(0),
        dispatch=keys.dispatch(0, "default", "normal"),
        tag=keys.tag(0),
        runner="r2",
        idle_limit_ms=0,
        cursor="-",
        suspect="",
        latest_ms=now_ms - HOUR_MS,
        payloads=[b"{}", b"{}"],
    )
    assert (promoted, taken) == (None, None)
    assert await scores(log, keys.later(0)) != {}


@pytest.mark.parametrize("key", ["clock", "later", "deadlines", "queues"])
async def test_a_key_of_another_type_means_an_error_and_nothing_written(log: Log, key: str) -> None:
    await log.submit(GRAPH, policy=Policy(queue_deadline_s=60.0))
    name = f"{log.keys.tag(0)}:{key}"
    await command(log.redis, "DEL", name)
    await command(log.redis, "SET", name, "x")
    before = await everything(log)
    with pytest.raises(WrongKeyType):
        await shift(log, -HOUR_MS)
    assert await everything(log) == before


@pytest.mark.parametrize("right", ["hset", "zadd", "xclaim"])
async def test_a_missing_right_means_an_error_and_nothing_written(
    own_server: StartServer, right: str
) -> None:
    async with Log.open(own_server().url, namespace="x", partitions=1) as log:
        await log.submit(GRAPH, policy=Policy(queue_deadline_s=60.0))
        before = await everything(log)
        await command(log.redis, "ACL SETUSER", "default", f"-{right}")
        with pytest.raises(ServerRefusesAccess):
            await shift(log, -HOUR_MS)
        assert await everything(log) == before
