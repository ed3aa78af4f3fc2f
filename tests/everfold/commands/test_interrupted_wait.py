"""A job that was submitted and waited for is named, however the wait for it ends."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from tests.everfold.running import Everfold, ended, objects
from tests.projector.jobs import assert_projected, projecting
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

FAST = str(Path(__file__).parents[2] / "data" / "workflows" / "fast_success.json")
NAMED = re.compile(r"everfold: job (\S+) goes on: `everfold jobs wait \1` waits")


async def test_ctrl_c_while_it_is_waited_for_names_the_job(everfold: Everfold, log: Log) -> None:
    waiting = everfold("submit", FAST, "--wait")
    await eventually(lambda: "no runner" in "".join(waiting.error_lines), 20)
    waiting.send(signal.SIGINT)
    assert await waiting.end(within_s=20) == 130
    found = NAMED.search("\n".join(waiting.error_lines))
    assert found, waiting
    async with projecting(log):
        await assert_projected(log, [found[1]])
        assert [job["job_id"] for job in await objects(everfold("jobs", "ls", "--json"))] == [
            found[1]
        ]


@pytest.mark.long
async def test_a_server_that_is_lost_meanwhile_leaves_the_name_of_the_job(
    everfold: Everfold, log: Log, server: OwnServer
) -> None:
    waiting = everfold("submit", FAST, "--wait")
    await eventually(lambda: "no runner" in "".join(waiting.error_lines), 20)
    server.kill()
    await ended(waiting, code=4)
    assert NAMED.search("\n".join(waiting.error_lines)), waiting
