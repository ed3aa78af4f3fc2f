"""What processes ask of the server while nothing is to be done, counted in their own heartbeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import pytest

from everfold.projector.assignment.member import NOTE_EVERY_S
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import Subscription
from everfold.runner.config import RunnerConfig
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.remembered import Remembered
from everfold.streams.leases.registry import BEAT_EVERY_S, ProcessEntry, registered_runner
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import GRAPH
from tests.projector.subscribing.listening import consuming
from tests.support import servers
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import PRODUCT_LEASES, Stack
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

QUEUES = tuple(f"q{number}" for number in range(20))
BEATS = 4
AT_EDGES = 4
"""Commands of a beat, which may stand at both ends of the time that is looked at."""
PER_S = 5.0
END = "the end of what is counted"
CLIENT_LISTS = 2
"""Asked every five seconds, and not shown by MONITOR."""


@dataclass
class Idle:
    """What was asked between the first and the last of some heartbeats."""

    asked: list[str]
    seconds: float

    def check(self, unseen: int = 0) -> None:
        """Fail for more than PER_S commands a second, `unseen` by MONITOR among them."""
        counts = Counter(" ".join(text.split()[:2]) for text in self.asked)
        assert len(self.asked) + unseen <= PER_S * self.seconds + AT_EDGES, counts


async def idle(
    url: str, log: Log, seen_ms: Callable[[], Awaitable[int]], asked_here: str, beats: int
) -> Idle:
    """Count what is asked while a process beats so often, once it has done so before.

    `asked_here` is how the commands begin with which this test asks for the heartbeats.
    """
    seen = set[int]()

    async def has_beaten() -> bool:
        seen.add(await seen_ms())
        return len(seen) > beats

    await eventually(has_beaten, within_s=60)  # what comes after the start is over
    seen.clear()
    with servers.client(url) as watching, watching.monitor() as monitor:
        await eventually(has_beaten, within_s=60)
        await command(log.redis, "ECHO", END)
        said = list[dict[str, str]]()
        while END not in (row := monitor.next_command())["command"]:
            said.append(row)
    asked = [row["command"] for row in said if row["client_type"] != "lua"]
    others = [text for text in asked if not text.startswith(asked_here)]
    return Idle(others, (max(seen) - min(seen)) / 1000)


async def test_an_idle_runner_asks_little(
    own_server: StartServer, start_program: StartProgram, tmp_path: Path
) -> None:
    assert RunnerConfig(name="r").sweep_every_s == 0.5
    server = own_server()
    async with Log.open(server.url, namespace="x") as log:
        await log.make()
        stack = Stack(log, start_program, tmp_path, leases=PRODUCT_LEASES)
        await stack.runner(await stack.comfy(), queues=QUEUES)

        async def seen_ms() -> int:
            entry = await registered_runner(log, "runner-2")
            return entry.seen_ms if entry is not None else 0

        found = await idle(server.url, log, seen_ms, "HGET x:runners", BEATS)
    assert found.seconds > (BEATS - 1) * BEAT_EVERY_S
    found.check(CLIENT_LISTS)


async def test_an_idle_projector_asks_little(
    own_server: StartServer, start_program: StartProgram
) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="x") as log:
        await log.make()
        environ = {"REDIS_URL": server.url, "EVERFOLD_NAMESPACE": "x"}
        await start_program("-m", "everfold", "projector", environ=environ).line("projector")
        found = await idle(server.url, log, partial(process_seen_ms, log), "HVALS", BEATS)
    assert found.seconds > (BEATS - 1) * NOTE_EVERY_S
    found.check()


@Subscription("hook")
async def hook(_delivery: Delivery) -> None:
    """Take everything."""


async def test_an_idle_consumer_asks_little(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="x") as log, consuming(log, hook):
        await log.submit(GRAPH)
        log.memory.clear()  # what a client looks for is no consumer's
        found = await idle(server.url, log, partial(process_seen_ms, log), "HVALS", BEATS)
    assert found.seconds > (BEATS - 1) * NOTE_EVERY_S
    found.check()


async def test_what_was_written_lately_is_looked_for_in_one_call(own_server: StartServer) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="x", partitions=6) as log:
        seen: dict[int, list[Remembered]] = {}
        while len(seen) < 6:
            await log.submit(GRAPH)
            seen = log.memory.partitions(log.keys.partition_of)
        await log.memory_watch.put_back.look(seen)  # the server knows the script from now on
        with servers.client(server.url) as watching, watching.monitor() as monitor:
            await log.memory_watch.put_back.look(seen)
            await command(log.redis, "ECHO", END)
            said = list[str]()
            while END not in (row := monitor.next_command())["command"]:
                said += [row["command"].split()[0]] if row["client_type"] != "lua" else []
    assert said.count("EVALSHA_RO") == 1, said


async def process_seen_ms(log: Log) -> int:
    """Return when the one process beside runners was last seen, 0 for never."""
    entries = await command(log.redis, "HVALS", log.keys.processes())
    found = [msgspec.json.decode(text, type=ProcessEntry) for text in entries]  # type: ignore[attr-defined]
    return max((entry.seen_ms for entry in found), default=0)
