"""A server of its own for each test of a command, and the commands on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from tests.everfold.running import Everfold
from tests.support.network.s3_server import S3Server, s3_server, settings
from tests.support.programs.programs import Program, StartProgram
from tests.support.servers import OwnServer, StartServer


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    return own_server()


@pytest.fixture
def everfold(start_program: StartProgram, server: OwnServer) -> Everfold:
    def start(*arguments: str, **environ: str) -> Program:
        named = {"REDIS_URL": server.url, **environ}
        return start_program("-m", "everfold", *arguments, environ=named)

    return start


@pytest.fixture
async def log(server: OwnServer) -> AsyncIterator[Log]:
    async with Log.open(server.url) as log:
        yield log


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def named_server(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The server, which the environment names; what is sent there waits below `tmp_path`."""
    for name, value in settings(s3.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "waiting"))
    return s3
