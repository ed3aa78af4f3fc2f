"""`everfold health` and /readyz: of one process, in one line, and soon."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from everfold.client import Everfold as Client
from everfold.commands.process.process import RunningProcess
from everfold.health import checks
from everfold.health.asking import ask_address
from everfold.health.checks import FoldsOn, is_registered, server_answers
from everfold.health.hearing import heard_of
from everfold.metrics.surface import Surface
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured, ServerUnreachable
from everfold.streams.leases.registry import RunnerEntry, note_process, register_runner
from everfold.streams.redis.server import server_time_ms
from tests.everfold.running import Everfold, ended, make_namespace
from tests.projector.jobs import GRAPH
from tests.support.programs.programs import Program, StartProgram
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

READY = b'{"is_ready":true,"missing":[],"notes":["it reaches none of its ComfyUI servers"]}'
NOT_READY = b'{"is_ready":false,"missing":["Redis has not answered\\u001b[2J within 2 s"]}'


@asynccontextmanager
async def answering(answer: bytes, delay_s: float = 0) -> AsyncIterator[str]:
    """A process that answers each request with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(delay_s)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "is_healthy", "found"),
    [
        (http("200 OK", b"ok\n"), True, "works"),
        (http("200 OK", READY), True, "note: it reaches none of its ComfyUI servers"),
        (http("503 x", NOT_READY), False, r"Redis has not answered\x1b[2J within 2 s"),
        (http("404 Not Found", b"no"), False, "answers 404"),
        (http("200 OK", b"x" * 200_000), True, "works"),
        (http("503 x", b"{" * 5_000), False, "answers 503"),
        (b"HTTP/1.1\r\n\r\n", False, "cannot be asked: does not answer as it should"),
        (b"SSH-2.0-x\r\n", False, "cannot be asked: does not answer as it should"),
        (b"", False, "cannot be asked: does not answer as it should"),
    ],
)
async def test_what_a_process_answers_is_one_line(
    answer: bytes, is_healthy: bool, found: str
) -> None:
    async with answering(answer) as url:
        told = await ask_address(url, "/readyz")
    assert (told.is_healthy, told.found) == (is_healthy, found)


async def test_a_host_that_nobody_knows_is_told_in_words() -> None:
    told = await ask_address("http://nobody.invalid:1", "/readyz")
    assert told.found.startswith("cannot be asked: no machine is known as nobody.invalid (")
    assert "-" not in told.found
    with pytest.raises(ServerUnreachable, match=r"reached: nobody\.invalid:1: \w+"):
        async with Log.open("redis://nobody.invalid:1"):
            raise AssertionError


async def test_one_that_does_not_answer_is_told_within_a_second() -> None:
    begun = time.monotonic()
    async with answering(http("200 OK", b"ok"), delay_s=60) as url:
        told = await ask_address(url, "/livez")
    assert not told.is_healthy
    assert "has not answered in 0.8 s" in told.found
    assert time.monotonic() - begun < 30
    told = await ask_address("http://127.0.0.1:1", "/livez")
    assert (told.is_healthy, "refused" in told.found) == (False, True)


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:99999", "http://[x", "://"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="is no address"):
        await ask_address(url, "/livez")


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


def entry(name: str, seen_ms: int, host: str = "far") -> RunnerEntry:
    return RunnerEntry(
        runner=name, host=host, pid=1, queues=(), backends=(), since_ms=1, seen_ms=seen_ms
    )


async def test_redis_says_whether_a_process_was_heard_of(log: Log) -> None:
    now_ms, end = await server_time_ms(log.redis), "-7-0123456789abcdef"
    await register_runner(log, entry("gpu-6-0123456789abcdef", now_ms - 60_000))
    await register_runner(log, entry(f"gpu{end}", now_ms))
    await register_runner(log, entry(f"old{end}", now_ms - 60_000))
    await register_runner(log, entry(f"old-2{end}", now_ms))
    await register_runner(log, entry(f"ahead{end}", now_ms + 3_600_000))
    await note_process(log, f"projector-here{end}-01cdef", "reader of jobs")
    cases: list[tuple[dict[str, str], bool]] = [
        ({"runner": "gpu"}, True),
        ({"runner": f"gpu{end}"}, True),
        ({"runner": "gpu-6-0123456789abcdef"}, False),
        ({"runner": "gp"}, False),
        ({"runner": "old"}, False),  # another one, old-2, lives
        ({"runner": "ahead"}, False),  # it was heard of before the clock was set back
        ({"process": "projector-here"}, True),
        ({"process": f"projector-here{end}"}, True),
        ({"process": "projector"}, False),
        ({"process": "sink"}, False),
        ({}, True),  # the projector is on this machine
    ]
    for asked, wanted in cases:
        assert (await heard_of(log, **asked)).is_healthy == wanted, asked


async def test_who_was_heard_of_before_the_clock_was_set_back_is_silent(log: Log) -> None:
    seen_ms = await server_time_ms(log.redis) + 3_600_000
    await register_runner(log, entry("ahead", seen_ms))

    assert "heartbeat has stopped" in await is_registered(log, "ahead")()
    async with Client.connect(str(log.url), namespace=log.keys.namespace) as everfold:
        [runner] = await everfold.runners()
    assert 3_590 < runner.unseen_s < 3_610


async def test_a_process_is_not_ready_before_its_work_begins() -> None:
    process = RunningProcess()
    surface = Surface(process.checks, process.sources)

    before = await surface.readyz()
    process.started()
    after = await surface.readyz()

    assert (before.status, after.status) == (503, 200)
    assert b"it has not begun its work yet" in before.body


class Owner:
    """A projector that has partitions, and does nothing with them."""

    def __init__(self, *partitions: int) -> None:
        self.partitions = list(partitions)


async def test_a_projector_that_folds_nothing_is_not_ready(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "STUCK_S", 0.2)
    monkeypatch.setattr(checks, "BEHIND_S", 0.1)
    owner = Owner(0, 1)
    check = FoldsOn(log, owner)
    assert await check() == ""
    await log.submit(GRAPH)
    assert await check() == ""

    async def told() -> bool:
        return "it folds no events of partition" in await check()

    await eventually(told, 10)
    owner.partitions.clear()
    assert await check() == ""


async def test_a_namespace_that_was_made_anew_is_not_ready(log: Log) -> None:
    check = server_answers(log)
    assert await check() == ""
    await log.redis.execute_command("HSET", log.keys.meta(), "generation", "other")
    assert "start this process again" in await check()


async def ready(url: str) -> tuple[int, dict[str, list[str]]]:
    async with httpx.AsyncClient() as asking:
        answer = await asking.get(f"{url}/readyz")
    return answer.status_code, answer.json()


async def url_of(program: Program) -> str:
    line = await program.line("metrics ")
    return line.split()[-1].removesuffix("/metrics")


async def test_a_runner_and_a_projector_are_asked_by_their_port(
    start_program: StartProgram, server: OwnServer, tmp_path: Path, everfold: Everfold
) -> None:
    environ = {"REDIS_URL": server.url, "COMFYUI_URL": "http://127.0.0.1:1"}
    environ["EVERFOLD_ASSETS"] = str(tmp_path / "assets")
    for words in (("runner", "--name", "gpu"), ("projector",)):
        program = start_program("-m", "everfold", *words, "--metrics-port", "0", environ=environ)
        url = await url_of(program)

        async def is_ready(at: str) -> bool:
            return (await ready(at))[0] == 200

        await eventually(partial(is_ready, url), 30)
        is_runner = words[0] == "runner"
        notes = ["it reaches none of its ComfyUI servers"] if is_runner else []
        assert (await ready(url))[1]["notes"] == notes
        (line,) = await ended(everfold("health", url))
        assert line.startswith("✓")
        assert await everfold("health", "--live", "--port", url.rpartition(":")[2]).end(30) == 0
        if is_runner:
            await ended(everfold("health", "--runner", "gpu"))
        program.send(signal.SIGSTOP)
        (line,) = await ended(everfold("health", url), code=1)
        assert "has not answered" in line
        program.send(signal.SIGCONT)
        program.send(signal.SIGTERM)
        await ended(program)
        (line,) = await ended(everfold("health", url), code=1)
        assert "refused" in line


async def test_a_name_that_nobody_has_and_a_server_that_is_away(
    everfold: Everfold, server: OwnServer
) -> None:
    (line,) = await ended(everfold("health"), code=1)
    assert "there is no namespace 'everfold'" in line
    await make_namespace(server.url)
    (line,) = await ended(everfold("health", "--runner", "nobody"), code=1)
    assert line == "✗ runner nobody: nothing was heard of it"
    (line,) = await ended(everfold("health", REDIS_URL="redis://127.0.0.1:1/0"), code=1)
    assert "Redis" in line
