"""A server of its own for each test of a command, and the commands on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import Log
from tests.everfold.running import Everfold
from tests.support.programs import Program, StartProgram
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
