"""A gateway for each test, before a namespace of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from everfold import Everfold
from everfold.streams.appending.log import Log
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack
from tests.web.site import Site, client_of, serving


@pytest.fixture
async def stack(
    redis_url: str, namespace: str, start_program: StartProgram, tmp_path: Path
) -> AsyncIterator[Stack]:
    async with Log.open(redis_url, namespace=namespace) as log:
        environ = {"EVERFOLD_ASSETS": str(tmp_path / "assets")}
        yield Stack(log, start_program, tmp_path, environ=environ)


@pytest.fixture
async def everfold(stack: Stack, tmp_path: Path) -> AsyncIterator[Everfold]:
    log = stack.log
    async with Everfold.connect(
        log.url, namespace=log.keys.namespace, assets=tmp_path / "assets"
    ) as everfold:
        yield everfold


@pytest.fixture
async def site(everfold: Everfold, stack: Stack) -> AsyncIterator[Site]:
    async with serving(everfold, stack) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(site) as client:
        yield client
