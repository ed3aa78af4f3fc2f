"""Whatever error the server answers, for less than a lease: every process lives, says so in short
lines, and goes on; no job is charged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from everfold.projector.reading.queries import get
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from everfold.streams.errors import WrongKeyType
from everfold.streams.reading.readers import readers
from tests.projector.subscribing.listening import Listener, consuming
from tests.support.network.replies import REPLIES, passed_on
from tests.support.programs.programs import Program, StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.servers import OwnServer, StartServer
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

ARCHIVER = """
import sys
import everfold.commands.stream.archive as archive
from everfold.__main__ import run
archive.EVERY_S = 0.2
sys.exit(run(sys.argv[1:]))
"""

LONGEST_LINE = 800

OUTAGES = [reply for reply in REPLIES if reply.leaf is not WrongKeyType]
"""A key of a wrong type is no outage: it stays so, and hurts the job that it belongs to."""

BY_LEAF = {reply.leaf: reply for reply in OUTAGES}
"""One reply of each leaf."""


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    return own_server(tcp=True)


@pytest.fixture
async def proxy(server: OwnServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
async def stack(
    server: OwnServer,
    proxy: FaultProxy,
    start_program: StartProgram,
    tmp_path: Path,
    leases: Leases,
) -> AsyncIterator[Stack]:
    """A stack whose processes reach the server through a proxy, the test itself directly."""
    async with Log.open(server.url, namespace="replies", partitions=2) as log:
        yield Stack(log, start_program, tmp_path, redis_url=proxy.url, leases=leases)


def assert_lives(programs: list[Program]) -> None:
    for program in programs:
        assert program.exit_code is None, str(program)


def assert_short(programs: list[Program]) -> None:
    """Check that nothing printed a traceback, an unprintable character or a long line."""
    for program in programs:
        for line in program.error_lines:
            assert len(line) < LONGEST_LINE, line
            assert line.isprintable(), repr(line)
            assert "Traceback" not in line, "\n".join(program.error_lines)


async def is_archived(log: Log) -> bool:
    """Say whether an archiver has made its first round."""
    return bool(await readers(log, log.keys.partitions - 1))


async def test_whatever_the_server_answers_every_process_lives_and_goes_on(
    stack: Stack, proxy: FaultProxy, start_program: StartProgram, tmp_path: Path
) -> None:
    backends = [await stack.comfy() for _ in range(2)]
    runner, projector = await stack.runner(*backends, slots=1), await stack.projector()
    options = ("archive", "run", "--archive", str(tmp_path / "archive"))
    names = {"REDIS_URL": proxy.url, "EVERFOLD_NAMESPACE": stack.log.keys.namespace}
    archiver = start_program("-c", ARCHIVER, *options, environ=names)
    await eventually(lambda: is_archived(stack.log), 20)
    programs = [runner, projector, archiver]
    long = await stack.submit(60)
    await stack.until(long, "running")
    listener = Listener()
    subscription = Subscription("notes", types=["job.succeeded"])(listener)
    async with Log.open(proxy.url, namespace="replies") as log, consuming(log, subscription):
        everything = [[reply.text for reply in OUTAGES]] * 2
        for texts in (*everything, *([r.text, *passed_on(r.text)] for r in BY_LEAF.values())):
            rule = proxy.answer_errors(*texts)
            await anyio.sleep(0.25 * stack.leases.ttl_s)  # so long the errors last
            proxy.lift()
            assert rule.hits > 0
            assert_lives(programs)
            short = await stack.submit(0.1)
            await stack.until(short, "succeeded")

            async def told(job_id: str = short) -> bool:
                job = await get(stack.log, job_id)
                return bool(listener.told[job_id]) and job.is_terminal

            await eventually(told, 20)
    job = await stack.until(long, "running")
    assert (job.recovered, job.broken, job.attempt) == (0, 0, 1), await stack.event_text(long)
    assert_lives(programs)
    assert_short(programs)
