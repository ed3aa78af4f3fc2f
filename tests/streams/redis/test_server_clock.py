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
from tests.streams.events.stored import everything
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
LANES = all_lanes(["default"])
QUEUES = ["default"]
HOUR_MS = 3_600_000


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def shift(log: Log, step_ms: int, known_ms: int = 0, anew_ms: int = 0) -> str:
    outcome = await begin_to_shift(log, step_ms, known_ms, anew_ms)
    while await move_page(log):
        pass
    return outcome


async def begin_to_shift(log: Log, step_ms: int, known_ms: int = 0, anew_ms: int = 0) -> str:
    keys, cursor = log.keys, ("", "")
    while True:
        _, cursor = await scripts.restart_leases(
            log.redis, queues=keys.queues(0), tag=keys.tag(0), cursor=cursor, most=1
        )
        if not cursor[0]:
            break
    return await scripts.shift_times(
        log.redis,
        keys=touched(log),
        tag=keys.tag(0),
        step_ms=step_ms,
        known_ms=known_ms,
        anew_ms=anew_ms,
    )


async def move_page(log: Log, most: int = 1) -> bool:
    return await scripts.move_times(log.redis, keys=touched(log), tag=log.keys.tag(0), most=most)


def touched(log: Log) -> tuple[str, str, str]:
    return log.keys.clock(0), log.keys.later(0), log.keys.deadlines(0)


async def scores(log: Log, key: str) -> dict[str, int]:
    rows = cast("list[bytes]", await command(log.redis, "ZRANGE", key, 0, -1, "WITHSCORES"))
    return {
        name.decode(): int(float(score)) for name, score in zip(rows[::2], rows[1::2], strict=True)
    }


async def test_retries_and_limits_move_and_times_that_were_asked_for_stay(log: Log) -> None:
    now_ms = await server_time_ms(log.redis)
    limited = Policy(queue_deadline_s=7_200.0)
    retried = (await log.submit(GRAPH)).job_id
    dispatch = Dispatch(log, "r1")
    (lease,) = await dispatch.claim(0, QUEUES, 1)
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


async def test_a_job_that_was_submitted_after_a_step_back_does_not_expire_at_once(log: Log) -> None:
    """Its deadline is one by the clock as it is now, although its entry id looks older."""
    limited = Policy(queue_deadline_s=60.0)
    await log.submit(GRAPH, policy=limited)
    before = await scores(log, log.keys.deadlines(0))
    assert await shift(log, -HOUR_MS) == "shifted"
    assert await scores(log, log.keys.deadlines(0)) == before


async def test_what_was_written_after_a_step_forward_stays(log: Log) -> None:
    """A job that waits for a time, and a cancel of a waiting one, by the clock as it is now."""
    limited = Policy(queue_deadline_s=60.0)
    retried, canceled = [(await log.submit(GRAPH, policy=limited)).job_id for _ in range(2)]
    dispatch = Dispatch(log, "r1")
    (lease,) = await dispatch.claim(0, QUEUES, 1)
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
    held, released = await dispatch.claim(0, QUEUES, 2)
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


async def test_what_is_moved_in_pages_is_moved_once(log: Log) -> None:
    """By two processes at once, while jobs are canceled, released again and submitted."""
    limited, failure = Policy(queue_deadline_s=7_200.0), Failure(code="x", message="y")
    jobs = [(await log.submit(GRAPH, policy=limited)).job_id for _ in range(12)]
    dispatch = Dispatch(log, "r1")
    leases = await dispatch.claim(0, QUEUES, 8)
    due_ms = await server_time_ms(log.redis) + 10 * HOUR_MS
    retried = Retried(attempt=1, failure=failure, not_before_ms=due_ms)
    for lease in leases:
        await dispatch.release(lease, retried)
    later, deadlines = log.keys.later(0), log.keys.deadlines(0)
    before = await scores(log, later), await scores(log, deadlines)

    assert await begin_to_shift(log, -HOUR_MS) == "shifted"
    await move_page(log, 3)
    await log.append(jobs[-1], CancelRequested(), epoch=0)
    await command(log.redis, "ZADD", later, due_ms + 1, leases[0].job_id)
    await log.submit(GRAPH, job_id="new", run_at_ms=due_ms, policy=limited)
    new = (await scores(log, deadlines))["new"]
    canceled = (await scores(log, deadlines))[jobs[-1]]
    assert (await dispatch.promote(0)).promoted == 0  # it moves what is left

    assert not await move_page(log)
    assert await scores(log, later) == {
        **{job_id: at_ms - HOUR_MS for job_id, at_ms in before[0].items()},
        leases[0].job_id: due_ms + 1,
        "new": due_ms,
    }
    after = {job_id: at_ms - HOUR_MS for job_id, at_ms in before[1].items()}
    assert (await scores(log, deadlines)) == {**after, jobs[-1]: canceled, "new": new}


async def test_nothing_is_promoted_or_overdue_before_all_is_moved(log: Log) -> None:
    limited = Policy(queue_deadline_s=60.0)
    job_id = (await log.submit(GRAPH, policy=limited)).job_id
    deadlines = log.keys.deadlines(0)
    late_ms = await server_time_ms(log.redis) - HOUR_MS // 2
    await command(log.redis, "ZADD", deadlines, late_ms, job_id)
    assert await begin_to_shift(log, HOUR_MS) == "shifted"
    assert await begin_to_shift(log, HOUR_MS, known_ms=HOUR_MS) == "moving"
    asked = {
        "later": log.keys.later(0),
        "deadlines": deadlines,
        "clock": log.keys.clock(0),
        "tag": log.keys.tag(0),
        "wake_channel": "x",
        "wake_message": "y",
    }
    assert await scripts.promote(log.redis, most=9, latest_ms=0, **asked) is None
    while await move_page(log):
        pass
    reply = await scripts.promote(log.redis, most=9, latest_ms=0, **asked)
    assert reply is not None
    assert reply[3:] == []
    assert await scores(log, deadlines) == {job_id: late_ms + HOUR_MS}


async def test_a_process_that_dies_while_it_moves_times_is_followed_by_another(log: Log) -> None:
    job_id = (await log.submit(GRAPH, policy=Policy(queue_deadline_s=60.0))).job_id
    before = await scores(log, log.keys.deadlines(0))
    assert await begin_to_shift(log, HOUR_MS) == "shifted"
    await Dispatch(log, "r2").clock.look(0)
    assert await scores(log, log.keys.deadlines(0)) == {job_id: before[job_id] + HOUR_MS}
    assert await read_hash(log.redis, log.keys.clock(0)) != {}
    assert b"moving" not in await read_hash(log.redis, log.keys.clock(0))


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


@pytest.mark.parametrize("right", ["hset", "copy", "xclaim"])
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
