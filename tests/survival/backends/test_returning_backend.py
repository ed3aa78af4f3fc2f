"""A server that returns after an absence gets work within a second."""

from __future__ import annotations

import time

import anyio
import pytest

from tests.support.programs.stack import Comfy, Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

AWAY_S = 4.0
"""By then a back-off that doubles would have come to pauses of several seconds."""


LONG_AWAY_S = 7.0
"""By then the websocket's pauses between two tries are so long that it tells nothing in time."""


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
    # The slowest of them says how busy the machine of the test is, too; on a calm one each is below
    # a second.
    assert min(waits_s) < 2.5, waits_s


async def test_a_job_that_a_server_has_lost_is_looked_at_when_the_server_is_back(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, truth_every_s=60.0)
    job_id = await stack.submit(seconds=1.0)
    await stack.until(job_id, "running")
    comfy.kill()
    await anyio.sleep(LONG_AWAY_S)
    comfy.ledger.unlink(missing_ok=True)
    assert await first_execution_s(comfy) < 5.0
    await stack.until_event(job_id, "lost")
