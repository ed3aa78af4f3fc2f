"""A client whose clock is hours behind or ahead: its jobs run and expire by the server's time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from tests.support.wall_clock import WallClock

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(WallClock.why_not() != "", reason=WallClock.why_not() or "-"),
]

HOURS = 6 * 3600
MINUTES_MS = 600_000

CLIENT = """
import asyncio, sys, time
from everfold.streams.appending.log import Log
from everfold.streams.events.event import Policy

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}

async def main(url, namespace, run_at_ms):
    async with Log.open(url, namespace=namespace, partitions=1) as log:
        limited = Policy(queue_deadline_s=600.0)
        await log.submit(GRAPH, job_id="now", policy=limited)
        await log.submit(GRAPH, job_id="later", policy=limited, run_at_ms=int(run_at_ms))
        await log.submit(GRAPH, job_id="late", policy=Policy(queue_deadline_s=0.001))
    print(time.time())

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


@pytest.mark.parametrize("offset_s", [HOURS, -HOURS])
async def test_the_clock_of_a_client_changes_nothing(
    log: Log, redis_url: str, tmp_path: Path, offset_s: int
) -> None:
    clock = WallClock(tmp_path)
    clock.build()
    clock.step(offset_s)
    before_ms = await server_time_ms(log.redis)
    run_at_ms = before_ms + MINUTES_MS
    asked = [sys.executable, "-c", CLIENT, redis_url, log.keys.namespace, str(run_at_ms)]
    done = await anyio.run_process(
        asked, env={**os.environ, **clock.environ}, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout.decode()
    assert abs(float(done.stdout) - time.time() - offset_s) < 600, "its clock was not set"

    after_ms = await server_time_ms(log.redis)
    keys = log.keys
    deadline_ms = {
        job_id: int(float(await command(log.redis, "ZSCORE", keys.deadlines(0), job_id) or 0))  # type: ignore[arg-type]
        for job_id in ("now", "later", "late")
    }
    assert before_ms <= deadline_ms["now"] - MINUTES_MS <= after_ms
    assert before_ms <= deadline_ms["late"] <= after_ms + 1
    assert deadline_ms["later"] == run_at_ms + MINUTES_MS
    dispatch = Dispatch(log, "r1")
    promotion = await dispatch.promote(0)
    assert promotion.overdue == ("late",)
    assert promotion.next_due_ms == run_at_ms
    leases = await dispatch.claim(0, ["default"], 9)
    assert [lease.job_id for lease in leases] == ["now", "late"]
