"""A farm on a private server that listens on TCP and on a Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.rights.farm import Farm, farm_on
from tests.support.network.ciphers import SEAL_KEY
from tests.support.programs.programs import StartProgram
from tests.support.server_choice import ServerChoice
from tests.support.servers import OwnServer, own_server


@pytest.fixture(scope="module")
def server(server_choice: ServerChoice) -> Iterator[OwnServer]:
    engine = server_choice.engine
    if engine is None:
        pytest.fail("this test needs redis-server or valkey-server on PATH, or the embedded extra")
    with own_server(engine, tcp=True, unixsocket="socket") as server:
        yield server


@pytest.fixture
async def farm(
    server: OwnServer,
    start_program: StartProgram,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Farm]:
    monkeypatch.setenv("EVERFOLD_SEAL_KEY", SEAL_KEY)
    async with farm_on(server, start_program, tmp_path) as farm:
        yield farm
