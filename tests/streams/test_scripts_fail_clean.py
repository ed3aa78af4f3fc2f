"""Scripts that cannot finish write nothing at all: a key of a wrong type, a command not allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease, Submission
from everfold.streams.errors import (
    BrokenHead,
    EverfoldError,
    JobLeased,
    ServerRefusesAccess,
    WrongKeyType,
)
from everfold.streams.events.event import (
    CancelRequested,
    Failure,
    Policy,
    Progressed,
    Released,
    Retried,
    Rewound,
    Succeeded,
)
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.trimming import trim
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
LANES = all_lanes(["default"])
NORMAL = ("default", "normal")
JOB = "job-1"
LEASES: dict[str, Lease] = {}
"""Namespace -> the lease of its leased job."""
DONE = Succeeded(attempt=1, outputs={})
RETRIED = Retried(attempt=1, failure=Failure(code="x", message="y"), not_before_ms=2**41)


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        log.retry_for_s = 0.0
        yield log


async def everything(log: Log) -> dict[bytes, object]:
    """Return each key of the namespace with its value, as DUMP writes it."""
    pattern = f"*{log.keys.namespace}*"
    keys = cast("list[bytes]", await command(log.redis, "KEYS", pattern))
    return {key: await command(log.redis, "DUMP", key.decode()) for key in keys}


async def submit(log: Log) -> Submission:
    policy = Policy(queue_deadline_s=60.0)
    return await log.submit(GRAPH, job_id="job-2", policy=policy)


async def submit_for_later(log: Log) -> object:
    return await log.submit(GRAPH, job_id="job-2", run_at_ms=2**41)


async def end(log: Log) -> object:
    return await log.append(JOB, DONE, epoch=1)


async def cancel(log: Log) -> object:
    return await log.append(JOB, CancelRequested(), epoch=0)


async def claim(log: Log) -> object:
    return await Dispatch(log, "r2").claim(0, LANES, 5)


async def take_over(log: Log) -> object:
    return await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=0, suspect="r1")


async def release(log: Log) -> object:
    return await Dispatch(log, "r1").release(LEASES[log.keys.namespace], Released(reason="drain"))


async def retry(log: Log) -> object:
    return await Dispatch(log, "r1").release(LEASES[log.keys.namespace], RETRIED)


async def block(log: Log) -> object:
    lease = LEASES[log.keys.namespace]
    return await Dispatch(log, "r1").release(
        lease, Released(reason="cannot_read"), unreadable_for_s=60
    )


async def promote_blocked(log: Log) -> object:
    return await Dispatch(log, "r1").promote_blocked(0)


async def promote(log: Log) -> object:
    return await Dispatch(log, "r1").promote(0)


async def trim_all(log: Log) -> object:
    return await trim(log, 0, 0, needs_archive=False)


Call = Callable[[Log], Awaitable[object]]
SPOILT: list[tuple[Call, str]] = [
    *[
        (call, key)
        for call in (submit, submit_for_later)
        for key in (
            "log",
            "head:job-2",
            "workflows",
            "dispatch:default:normal",
            "later",
            "deadlines",
            "queues",
        )
    ],
    *[
        (end, key)
        for key in ("log", "later", "workflows", "head:job-1", "dispatch:default:normal", "graph")
    ],
    *[(cancel, key) for key in ("log", "later", "workflows", "head:job-1")],
    *[(claim, key) for key in ("log", "dispatch:default:normal")],
    *[(take_over, "log")],
    *[
        (call, key)
        for call in (release, retry)
        for key in ("log", "head:job-1", "dispatch:default:normal", "later")
    ],
    *[(block, key) for key in ("log", "head:job-1", "dispatch:default:normal", "later", "blocked")],
    *[(claim, key) for key in ("later", "blocked")],
    *[(promote, key) for key in ("later", "deadlines", "clock")],
    *[(promote_blocked, key) for key in ("later", "blocked")],
    *[(trim_all, key) for key in ("readers", "trimmed", "log")],
]


async def prepare(log: Log) -> None:
    """One job leased to r1, another that waits."""
    await log.submit(GRAPH, job_id=JOB)
    [LEASES[log.keys.namespace]] = await Dispatch(log, "r1").claim(0, LANES, 1)
    await log.submit(GRAPH, job_id="waiting")


def shown(value: object) -> str:
    return str(getattr(value, "__name__", value))


@pytest.mark.parametrize(("call", "key"), SPOILT, ids=shown)
async def test_a_key_of_another_type_means_an_error_and_nothing_written(
    log: Log, call: Call, key: str
) -> None:
    await prepare(log)
    name = f"{log.keys.tag(0)}:{key}"
    if key == "graph":
        found = cast("list[bytes]", await command(log.redis, "HKEYS", log.keys.workflows(0)))
        name = log.keys.workflow(0, found[0].decode())
    await command(log.redis, "DEL", name)
    await command(log.redis, "GEOADD", name, 1, 1, "x")
    if key in ("later", "deadlines", "blocked"):
        await command(log.redis, "DEL", name)
        await command(log.redis, "SET", name, "x")
    before = await everything(log)
    with pytest.raises((WrongKeyType, BrokenHead)):
        await call(log)
    assert await everything(log) == before


RIGHTS: list[tuple[Call, str]] = [
    *[(submit, name) for name in ("xadd", "hset", "set", "hincrby", "sadd", "zadd")],
    *[(end, name) for name in ("xadd", "hset", "xdel", "xack", "hincrby", "hdel", "pexpire")],
    *[(claim, name) for name in ("xadd", "hset", "xreadgroup")],
    *[(take_over, name) for name in ("xadd", "hset", "xclaim", "hincrby")],
    *[(release, name) for name in ("xadd", "hset", "xclaim")],
    *[(retry, name) for name in ("xadd", "hset", "zadd", "xack", "xdel")],
    *[(block, name) for name in ("xadd", "hset", "zadd", "xack", "xdel")],
    *[(promote_blocked, name) for name in ("zrem", "hset", "xadd")],
    *[(trim_all, name) for name in ("xtrim", "hset", "del")],
]


@pytest.mark.parametrize(("call", "right"), RIGHTS, ids=shown)
async def test_a_missing_right_means_an_error_and_nothing_written(
    own_server: StartServer, call: Call, right: str
) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="x", partitions=1) as log:
        log.retry_for_s = 0.0
        await prepare(log)
        before = await everything(log)
        await command(log.redis, "ACL SETUSER", "default", f"-{right}")
        with pytest.raises(ServerRefusesAccess):
            await call(log)
        assert await everything(log) == before


async def test_a_hint_that_may_not_be_published_does_not_stop_a_submit(
    own_server: StartServer,
) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="x", partitions=1) as log:
        await command(log.redis, "ACL SETUSER", "default", "resetchannels", "-publish")
        assert (await submit(log)).created


async def test_a_broken_head_fails_its_own_event_only(log: Log) -> None:
    jobs = [(await log.submit(GRAPH)).job_id for _ in range(10)]
    head = log.keys.head(jobs[4])
    await command(log.redis, "DEL", head)
    await command(log.redis, "SET", head, "x")

    async def outcome(job_id: str) -> object:
        try:
            return await log.append(job_id, CancelRequested(), epoch=0)
        except EverfoldError as error:
            return type(error)

    found = await asyncio.gather(*map(outcome, jobs))
    assert found[4] is BrokenHead
    assert BrokenHead not in found[:4] + found[5:]


async def test_what_needs_a_lease_is_refused_without_one(log: Log) -> None:
    await prepare(log)
    event = Progressed(attempt=1, value=0.5, nodes_done=0, nodes_total=1)
    with pytest.raises(JobLeased):
        await log.append(JOB, event, epoch=0)
    await log.append(JOB, Rewound(seen_seq=4, found_seq=2), epoch=0)
    first = await log.append(JOB, CancelRequested(), epoch=0)
    again = await log.append(JOB, CancelRequested(reason="impatient"), epoch=0)
    assert (again.seq, again.entry_id, again.duplicate) == (first.seq, first.entry_id, True)


async def test_an_append_is_stored_once_however_late_it_is_repeated(log: Log) -> None:
    await prepare(log)
    event = log.stamp(Progressed(attempt=1, value=0.5, nodes_done=0, nodes_total=1))
    first = await log.append(JOB, event, epoch=1)
    for number in range(40):
        rewound = Rewound(seen_seq=4, found_seq=2, actor=f"other{number}")
        await log.append(JOB, rewound, epoch=0)
        other = Progressed(attempt=1, value=0.5, nodes_done=number, nodes_total=1)
        await log.append(JOB, other, epoch=1)
    again = await log.append(JOB, event, epoch=1)
    assert (again.seq, again.entry_id, again.duplicate) == (first.seq, first.entry_id, True)
    late = Progressed(id=event.id[:-1] + "!", attempt=1, value=0.1, nodes_done=0, nodes_total=1)
    assert not (await log.append(JOB, late, epoch=1)).duplicate


async def test_a_job_that_moves_while_it_is_trimmed_keeps_its_events(log: Log) -> None:
    await prepare(log)
    await retry(log)
    told = await trim(log, 0, 0, needs_archive=False)
    assert (told.count, told.held_by) == (0, "an open, parked or held job")


async def test_a_job_to_be_canceled_does_not_wait_for_its_retry(log: Log) -> None:
    await prepare(log)
    await cancel(log)
    await retry(log)
    _, [taken] = await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=9)
    assert taken.job_id == JOB
