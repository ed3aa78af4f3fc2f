"""What systemd is told, by a socket as systemd has it; and what a hostile environment does."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from everfold.health.supervisor import tell, watchdog_s, watched
from tests.support.programs.programs import StartProgram
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


class Supervisor:
    """The service supervisor's end."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.heard = list[str]()

    def read(self) -> list[str]:
        with suppress(BlockingIOError):
            while True:
                self.heard.append(self.socket.recv(4096).decode())
        return self.heard


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Supervisor]:
    abstract = f"@everfold-{secrets.token_hex(4)}"
    made = Supervisor(abstract if request.param == "abstract" else str(tmp_path / "notify"))
    yield made
    made.socket.close()


async def test_a_loop_that_turns_gives_signs_of_life_until_it_ends(supervisor: Supervisor) -> None:
    environ = {**supervisor.environ, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": str(os.getpid())}
    async with watched(environ):
        await eventually(lambda: supervisor.read().count("WATCHDOG=1") >= 3, 10)
    assert supervisor.read()[-1] == "STOPPING=1"


async def test_a_frozen_loop_gives_none(supervisor: Supervisor) -> None:
    async with watched({**supervisor.environ, "WATCHDOG_USEC": "200000"}):
        await eventually(lambda: bool(supervisor.read()), 10)
        before = len(supervisor.read())
        time.sleep(0.6)  # noqa: ASYNC251  # the loop is to stand still
        assert len(supervisor.read()) == before
        await eventually(lambda: len(supervisor.read()) > before, 10)


async def test_without_a_watchdog_none_are_given(supervisor: Supervisor) -> None:
    async with watched(supervisor.environ):
        await anyio.sleep(0.3)
    assert supervisor.read() == ["STOPPING=1"]


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({"WATCHDOG_USEC": "9" * 40}, None),
        ({"WATCHDOG_USEC": "1"}, 0.1),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "900000000"}, 60.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_how_often_they_are_wanted(environ: dict[str, str], wanted: float | None) -> None:
    assert watchdog_s(environ) == wanted


@pytest.mark.parametrize(
    "name",
    ["", "@", "relative", "/no/such/socket", "vsock:2:1", "/a\0b", "/" + "x" * 300, "@\ud800"],
)
def test_a_wrong_socket_fails_nothing(name: str) -> None:
    assert not tell("READY=1", {"NOTIFY_SOCKET": name})


def test_a_supervisor_that_reads_nothing_blocks_nobody(supervisor: Supervisor) -> None:
    begun = time.monotonic()
    for _ in range(5_000):
        tell("WATCHDOG=1", supervisor.environ)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("command", ["projector", "runner"])
async def test_a_service_says_when_its_work_begins_and_when_it_ends(
    start_program: StartProgram, server: OwnServer, tmp_path: Path, command: str
) -> None:
    supervisor = Supervisor(str(tmp_path / "notify"))
    environ = {"REDIS_URL": server.url, "COMFYUI_URL": "http://127.0.0.1:1", **supervisor.environ}
    environ |= {"WATCHDOG_USEC": "400000", "EVERFOLD_ASSETS": str(tmp_path / "assets")}
    program = start_program("-m", "everfold", command, environ=environ)
    await eventually(lambda: "READY=1" in supervisor.read(), 30)
    before = supervisor.heard.count("WATCHDOG=1")
    await eventually(lambda: supervisor.read().count("WATCHDOG=1") > before, 10)
    program.send(signal.SIGTERM)
    assert await program.end(within_s=30) == 0
    assert supervisor.read().count("READY=1") == 1
    assert supervisor.heard[-1] == "STOPPING=1"
    supervisor.socket.close()
