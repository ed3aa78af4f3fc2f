"""`everfold doctor` names queues without a runner, paused ones, and limits that block."""

from __future__ import annotations

import pytest

from everfold.client import Everfold as Client
from everfold.diagnosis.finding import Finding
from everfold.diagnosis.queue_check import queue_findings
from everfold.streams.appending.log import Log
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.registry import RunnerEntry, register_runner
from everfold.streams.redis.server import server_time_ms
from tests.everfold.running import Everfold, objects
from tests.support.programs.stack import sleeper
from tests.support.servers import OwnServer

pytestmark = pytest.mark.anyio


async def found(log: Log) -> dict[str, Finding]:
    return {one.what: one async for one in queue_findings(log)}


async def registered(log: Log, *, unseen_s: float = 0.0, is_draining: bool = False) -> None:
    entry = RunnerEntry(
        runner="r1",
        host="h",
        pid=1,
        queues=("default",),
        backends=(),
        since_ms=1,
        seen_ms=await server_time_ms(log.redis) - int(unseen_s * 1000),
        is_draining=is_draining,
    )
    await register_runner(log, entry)


async def test_a_queue_without_a_living_runner_is_named(log: Log) -> None:
    await log.submit(sleeper(1))
    advice = "nobody serves it: start `everfold runner --queue default`"
    assert (await found(log))["queue default"].advice == advice
    await registered(log)
    assert (await found(log))["queue default"].advice == ""
    for state in ({"unseen_s": 60.0}, {"is_draining": True}):
        await registered(log, **state)
        assert (await found(log))["queue default"].advice == advice


async def test_a_paused_queue_is_to_be_changed_where_jobs_wait(server: OwnServer, log: Log) -> None:
    await registered(log)
    async with Client.connect(server.url, actor="ada") as client:
        await client.pause_queue("default", "new disk")
        assert (await found(log))["queue default"] == Finding(
            "queue default", "0 waiting, 0 in flight; paused by ada (new disk)"
        )
        await client.submit(sleeper(1))
        [queue] = (await found(log)).values()
        assert queue.advice == "`everfold queues resume default` lets them start"


async def test_a_limit_that_holds_jobs_back_is_one_line(
    server: OwnServer, log: Log, everfold: Everfold
) -> None:
    await registered(log)
    async with Client.connect(server.url, actor="ada") as client:
        for user in ("ada", "ada", "bob"):
            await client.submit(sleeper(1), user=user)
        await client.set_limit("running", "user", "*", 1)
        await client.set_limit("waiting", "queue", "default", 1)
        assert set(await found(log)) == {"queue default", "limit of queue default"}
        leases = Dispatch(log, "r1")
        for partition in range(log.keys.partitions):
            await leases.claim(partition, ["default"], 9)
        rows = await found(log)
        assert rows["limit of user ada"] == Finding(
            "limit of user ada", "1 of 1 run, and others wait"
        )
        assert "limit of user bob" not in rows
        assert rows["limit of queue default"].found == "1 of 1 jobs wait: submits are refused"
        await client.set_limit("running", "user", "ada", 0)
        advice = (await found(log))["limit of user ada"].advice
        assert "everfold limits set running user ada" in advice
    told = await objects(everfold("doctor", "--json"), 1)
    assert "limit of user ada" in {row["what"] for row in told}
