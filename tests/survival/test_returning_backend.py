"""A server that returns after an absence gets work within a second."""

from __future__ import annotations

import time
from statistics import median

import anyio
import pytest

from tests.support.stack import Comfy, Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

AWAY_S = 4.0
"""By then a back-off that doubles would have come to pauses of several seconds."""


async def first_execution_s(comfy: Comfy) -> float:
    """Bring the server up; return how long after that it begins an execution."""
    await comfy.up()
    listening_s = time.monotonic()

    async def begun() -> bool:
        return len(await comfy.executions()) > 0

    await eventually(begun, 20)
    return time.monotonic() - listening_s


async def test_a_server_that_is_back_gets_a_waiting_job_within_a_second(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    waits_s = list[float]()
    for _ in range(3):
        comfy.kill()
        job_id = await stack.submit(seconds=0.1)
        await anyio.sleep(AWAY_S)
        comfy.ledger.unlink(missing_ok=True)
        waits_s.append(await first_execution_s(comfy))
        await stack.until(job_id, "succeeded")
    print("first execution after", waits_s)
    assert median(waits_s) < 1.0
