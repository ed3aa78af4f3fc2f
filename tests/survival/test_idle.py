"""What a runner asks of the server while there is nothing to do, counted in its own heartbeats."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from everfold.runner.config import RunnerConfig
from everfold.streams.appending.log import Log
from everfold.streams.leases.registry import BEAT_EVERY_S, registered_runner
from everfold.streams.redis.redis_errors import command
from tests.support import servers
from tests.support.programs import StartProgram
from tests.support.servers import StartServer
from tests.support.stack import PRODUCT_LEASES, Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

QUEUES = tuple(f"q{number}" for number in range(20))
BEATS = 4
PER_S = 5.0
END = "the end of what is counted"
CLIENT_LISTS = 2
"""Asked every five seconds, and not shown by MONITOR."""


async def test_an_idle_runner_asks_little(
    own_server: StartServer, start_program: StartProgram, tmp_path: Path
) -> None:
    assert RunnerConfig(name="r").sweep_every_s == 0.5
    server = own_server()
    async with Log.open(server.url, namespace="x") as log:
        await log.make()
        stack = Stack(log, start_program, tmp_path, leases=PRODUCT_LEASES)
        await stack.runner(await stack.comfy(), queues=QUEUES)
        beats = set[int]()

        async def has_beaten() -> bool:
            entry = await registered_runner(log, "runner-2")
            beats.add(entry.seen_ms if entry is not None else 0)
            return len(beats) > BEATS

        await eventually(has_beaten, within_s=60)  # what comes after the start is over
        beats.clear()
        with servers.client(server.url) as watching, watching.monitor() as monitor:
            await eventually(has_beaten, within_s=60)
            await command(log.redis, "ECHO", END)
            said = list[dict[str, str]]()
            while END not in (row := monitor.next_command())["command"]:
                said.append(row)
    asked = [row["command"] for row in said if row["client_type"] != "lua"]
    asked = [text for text in asked if not text.startswith("HGET x:runners")]  # of this test
    seconds = (max(beats) - min(beats)) / 1000
    assert seconds > (BEATS - 1) * BEAT_EVERY_S
    counts = Counter(" ".join(text.split()[:2]) for text in asked)
    assert len(asked) + CLIENT_LISTS <= PER_S * seconds, counts
